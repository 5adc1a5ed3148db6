"""The first weights: their statistics, and that they do not depend on who draws them."""

import copy
import math

import pytest
import torch

from decoders import KINDS, VOCABULARY
from tsumugu.model.config import Architecture, Initialization, ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.model.initialization import canonical_name, initialize


def initialized(config: ModelConfig, seed: int = 0) -> Decoder:
    model = Decoder(config, VOCABULARY)
    initialize(model, seed)
    return model


@pytest.mark.parametrize("architecture", ["gpt2", "gpt-neox", "llama"])
@pytest.mark.parametrize(("method", "std"), [("small", math.sqrt(2 / (5 * 256))), ("gpt2", 0.02)])
def test_matrices_have_the_deviation_of_the_method(
    method: Initialization, std: float, architecture: Architecture
) -> None:
    model = Decoder(
        ModelConfig(
            architecture=architecture,
            initialization=method,
            num_hidden_layers=8,
            hidden_size=256,
            num_attention_heads=4,
            tie_word_embeddings=False,
        ),
        1000,
    )
    initialize(model, 0)
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            # Back into the residual stream: divided by the root of the number of such additions.
            narrow = name.endswith(("attention.output.weight", "mlp.down.weight"))
            expected = std / math.sqrt(2 * 8) if narrow else std
            assert parameter.std().item() == pytest.approx(expected, rel=0.02), name
            assert parameter.mean().item() == pytest.approx(0, abs=0.02 * expected), name


def test_embeddings_and_deep_models_have_the_deviations_that_are_asked_for() -> None:
    model = initialized(
        ModelConfig(
            architecture="gpt2",
            num_hidden_layers=8,
            hidden_size=256,
            num_attention_heads=4,
            tie_word_embeddings=False,
            embedding_std=1.0,
            depth_scaled_initialization=False,
        )
    )
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            expected = 1.0 if "embedding" in name else math.sqrt(2 / (5 * 256))
            assert parameter.std().item() == pytest.approx(expected, rel=0.02), name


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())
def test_norms_begin_as_the_identity_and_biases_as_nothing(config: ModelConfig) -> None:
    for name, parameter in initialized(config).named_parameters():
        if parameter.dim() == 1:
            assert set(parameter.tolist()) == {float(name.endswith("norm.weight"))}, name


@pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())
def test_a_part_begins_with_the_weights_that_it_has_in_the_whole(config: ModelConfig) -> None:
    whole = dict(initialized(config).named_parameters())
    part = Decoder(config, VOCABULARY)
    part.embedding = part.position_embedding = None
    del part.layers["0"]
    initialize(part, 0)
    names = [name for name, _ in part.named_parameters()]
    assert "layers.1.attention.qkv.weight" in names
    assert "head.weight" in names
    for name, parameter in part.named_parameters():
        assert torch.equal(parameter, whole[canonical_name(name, config)]), name


def test_no_two_matrices_nor_rows_nor_seeds_draw_the_same_numbers() -> None:
    config = KINDS["gpt-neox, untied, other sizes"]
    one, other = initialized(config), initialized(config, seed=1)
    rows = [
        tuple(row.tolist())
        for model in (one, other)
        for parameter in model.parameters()
        if parameter.dim() == 2
        for row in parameter[:, :32]
    ]
    assert len(set(rows)) == len(rows)


def test_the_same_seed_draws_the_same_weights_whatever_was_drawn_before() -> None:
    config = KINDS["llama"]
    one = initialized(config)
    other = copy.deepcopy(one)
    torch.manual_seed(5)
    initialize(other, 7)
    initialize(other, 0)
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert torch.equal(a, b)
