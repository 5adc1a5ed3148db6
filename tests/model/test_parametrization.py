"""Maximal update parametrization: which power of the width goes where, and that a base is the standard."""

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from decoders import KINDS, VOCABULARY, some_tokens
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.model.initialization import initialize
from tsumugu.model.parametrization import (
    EMBEDDING,
    HIDDEN,
    INTO_RESIDUAL,
    LAST_NORM,
    OUTPUT,
    TABLE,
    VECTOR,
    row_of,
)
from tsumugu.training.config import OptimizerConfig
from tsumugu.training.layout import Layout
from tsumugu.training.muon import orthogonal_update
from tsumugu.training.optimizer import build_optimizer, set_learning_rate
from tsumugu.training.parallelize import MicroBatch, ParallelModel, Settings, build_model
from tsumugu.training.step import compute_gradients

ADAMW = OptimizerConfig(learning_rate=0.01, weight_decay=0.2)
MUON = OptimizerConfig(name="muon", learning_rate=0.01, muon_learning_rate=0.03, weight_decay=0.2)
WAYS = pytest.mark.parametrize("optimizer", [ADAMW, MUON], ids=["adamw", "muon"])


def wide(**keys: object) -> ModelConfig:
    """Four times as wide as its base."""
    shape = {"num_hidden_layers": 2, "hidden_size": 256, "num_attention_heads": 16, "mup_base_width": 64}
    return ModelConfig.model_validate({**shape, "max_position_embeddings": 64, **keys})


def initialized(config: ModelConfig) -> Decoder:
    model = Decoder(config, VOCABULARY)
    initialize(model, 0)
    return model


def single(config: ModelConfig) -> ParallelModel:
    """On one process."""
    return build_model(
        config,
        VOCABULARY,
        layout=Layout(),
        mesh=None,
        device=torch.device("cpu"),
        settings=Settings(seed=0),
    )


def settings(config: ModelConfig, optimizer: OptimizerConfig) -> dict[str, tuple[float, float, float]]:
    """Rate, its ratio to the schedule's, and decay of every parameter."""
    model = initialized(config)
    groups = build_optimizer(model.named_parameters(), optimizer, model=config).param_groups
    return {
        name: (group["lr"], group["lr_ratio"], group["weight_decay"])
        for name, parameter in model.named_parameters()
        for group in groups
        if any(parameter is own for own in group["params"])
    }


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())
def test_every_parameter_has_its_row(config: ModelConfig) -> None:
    tied = config.tie_word_embeddings
    rows = {
        "embedding.weight": EMBEDDING,
        "position_embedding.weight": EMBEDDING,
        "norm.weight": LAST_NORM if tied else VECTOR,
        "norm.bias": LAST_NORM if tied else VECTOR,
        # Of a pipeline's last stage, where embeddings are tied.
        "head.weight": EMBEDDING if tied else OUTPUT,
    }
    into_heads = ("attention.qkv.weight", "mlp.up.weight", "mlp.gate.weight")
    into_residual = ("attention.output.weight", "mlp.down.weight")
    part = Decoder(config, VOCABULARY)
    part.embedding = None
    for name, parameter in [*Decoder(config, VOCABULARY).named_parameters(), *part.named_parameters()]:
        if name in rows:
            expected = rows[name]
        elif parameter.dim() == 2:
            assert name.endswith(into_heads + into_residual), name
            expected = HIDDEN if name.endswith(into_heads) else INTO_RESIDUAL
        else:
            expected = VECTOR
        assert row_of(name, config) is expected, name


def test_names_of_wrapped_layers_are_understood() -> None:
    name = "_orig_mod.layers.0._checkpoint_wrapped_module.mlp._orig_mod.down.weight"
    assert row_of(name, KINDS["llama"]) is INTO_RESIDUAL


def test_rate_times_decay_is_the_same_at_every_width() -> None:
    for row in TABLE:
        for rate, decay in ((row.adamw, row.adamw_decay), (row.muon, row.muon_decay)):
            assert decay is None or (rate is not None and rate + decay == 0), row.kind


@WAYS
@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())
def test_a_model_as_wide_as_its_base_is_the_standard_one(
    config: ModelConfig, optimizer: OptimizerConfig
) -> None:
    base = config.model_copy(update={"mup_base_width": config.hidden_size})
    assert settings(base, optimizer) == settings(config, optimizer)
    tokens = some_tokens(2, 9)
    weights = []
    for each in (config, base):
        model = initialized(each)
        updates = build_optimizer(model.named_parameters(), optimizer, model=each)
        for _ in range(2):
            model(tokens[:, :-1], tokens[:, 1:]).backward()
            updates.step()
            updates.zero_grad()
        weights.append(list(model.parameters()))
    assert all(torch.equal(one, other) for one, other in zip(*weights, strict=True))


@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_first_weights_are_those_of_the_base_times_powers_of_the_width(architecture: str, tied: bool) -> None:
    config = wide(architecture=architecture, tie_word_embeddings=tied)
    at_base = math.sqrt(2 / (5 * 64))
    for name, parameter in initialized(config).named_parameters():
        row = row_of(name, config)
        if parameter.dim() == 2:
            expected = at_base * 4**row.first / (2 if row is INTO_RESIDUAL else 1)
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
        elif name.endswith("weight"):
            assert set(parameter.tolist()) == {0.25 if name == "norm.weight" and tied else 1.0}, name


@WAYS
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_rates_and_decay_are_those_of_the_base_times_powers_of_the_width(
    tied: bool, optimizer: OptimizerConfig
) -> None:
    config = wide(architecture="gpt2", tie_word_embeddings=tied)
    found = settings(config, optimizer)
    quarter, same = (0.0025, 0.25, 0.0), (0.01, 1.0, 0.0)
    matrix = (0.0025, 0.25, 0.8) if optimizer is ADAMW else (0.015, 1.5, 0.4)
    expected = {
        "embedding.weight": same,
        "position_embedding.weight": same,
        "layers.1.attention.qkv.weight": matrix,
        "layers.1.attention.qkv.bias": same,
        "layers.1.mlp.down.weight": matrix,
        "layers.1.mlp_norm.weight": same,
        "norm.weight": quarter if tied else same,
        "norm.bias": quarter if tied else same,
        "head.weight": quarter,
    }
    for name in expected.keys() & found.keys():
        assert found[name] == pytest.approx(expected[name]), name
    assert tied == ("head.weight" not in found)
    model = initialized(config)
    updates = build_optimizer(model.named_parameters(), optimizer, model=config)
    set_learning_rate(updates, 0.001)
    rates = {group["lr"] for group in updates.param_groups}
    assert sorted(rates) == pytest.approx(sorted({rate / 10 for rate, _, _ in found.values()}))


def test_an_update_of_muon_s_keeps_its_spectral_norm_when_both_sides_grow() -> None:
    norms = []
    for width in (64, 256):
        # To the MLP: what comes out is four times what goes in, so the root of that is aimed at.
        gradient = torch.randn(4 * width, width, generator=torch.Generator().manual_seed(0))
        rate = (width / 64) ** (HIDDEN.muon or 0)
        norms.append(float(torch.linalg.matrix_norm(rate * orthogonal_update(gradient, None, 5), 2)))
    assert norms[1] == pytest.approx(norms[0], rel=0.05)


class Multiplied(Decoder):
    """Table 8 of the paper for tied embeddings, written down: logits times 1/m, and a norm like others."""

    multiplier: float

    def forward(self, x: Tensor, targets: Tensor | None = None, **where: object) -> Tensor:
        assert self.head is not None
        assert targets is not None
        logits = self.multiplier * F.linear(self.hidden(x), self.head.weight)
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="sum")


@pytest.mark.parametrize("architecture", ["gpt-neox", "llama"])
def test_the_last_norm_carries_the_multiplier_of_tied_embeddings(architecture: str) -> None:
    config = wide(architecture=architecture)
    optimizer = OptimizerConfig(learning_rate=0.01, eps=1e-20)
    ours, theirs = single(config), single(config)
    model = Multiplied(config, VOCABULARY)
    model.multiplier = 0.25
    initialize(model, 0)
    torch.nn.init.ones_(model.norm.weight)  # type: ignore[union-attr, arg-type]
    # As for embeddings of their own the norm is one like others, and its gradient counts as it is.
    model.config = config.model_copy(update={"tie_word_embeddings": False})
    theirs.parts = [model]
    tokens = some_tokens(4, 17)
    for each in (ours, theirs):
        updates = build_optimizer(each.named_parameters(), optimizer, model=each.parts[0].config)
        for _ in range(6):
            batch = MicroBatch(tokens[:, :-1], tokens[:, 1:], torch.arange(16)[None], None)
            result = compute_gradients(each, [batch], max_grad_norm=0.1)
            updates.step()
            updates.zero_grad()
        assert result.grad_norm > 0.1, "nothing was clipped"
        if each is ours:
            reached = result
    assert reached.loss == pytest.approx(result.loss, rel=1e-4)
    assert reached.grad_norm == pytest.approx(result.grad_norm, rel=1e-4)
    other = dict(model.named_parameters())
    for name, parameter in ours.named_parameters():
        expected = other[name] * (0.25 if row_of(name, config) is LAST_NORM else 1)
        torch.testing.assert_close(parameter, expected, rtol=1e-3, atol=1e-4, msg=name)
