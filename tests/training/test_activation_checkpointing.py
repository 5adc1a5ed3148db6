"""What is computed again is what was there before: losses and gradients to the bit, in every mode."""

from collections import Counter
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.checkpoint import CheckpointPolicy

from decoders import KINDS, VOCABULARY, some_tokens
from tsumugu.model import products
from tsumugu.model.config import ModelConfig
from tsumugu.training.activation_checkpointing import _policy, _sides
from tsumugu.training.blocks import prepare_blocks
from tsumugu.training.config import PretrainConfig
from tsumugu.training.layout import Layout
from tsumugu.training.parallelize import MicroBatch, ParallelModel, Settings, build_model

CPU = torch.device("cpu")
LENGTH = 32
FAMILIES = ("gpt2", "gpt-neox", "gpt-neox, parallel residual", "llama, grouped, norms on queries and keys")
MODES: dict[str, dict[str, Any]] = {
    "selective": {"mode": "selective"},
    "full": {"mode": "full"},
    "full, every 2nd layer": {"mode": "full", "every": 2},
}


def build(kind: str, *, dropout: float = 0.0, **more: Any) -> ParallelModel:
    config = PretrainConfig.model_validate(
        {
            "steps": 1,
            "global_batch_size": 2,
            "sequence_length": LENGTH,
            "dropout": dropout,
            "optimizer": {"learning_rate": 1e-3},
            **more,
        }
    )
    settings = Settings(seed=3, dropout=dropout, prepare_blocks=lambda part: prepare_blocks(part, config))
    model = build_model(shape(kind), VOCABULARY, layout=Layout(), mesh=None, device=CPU, settings=settings)
    model.train()
    return model


def shape(kind: str) -> ModelConfig:
    return KINDS[kind].model_copy(update={"num_hidden_layers": 3})


def gradients(model: ParallelModel) -> tuple[float, dict[str, Tensor]]:
    """Loss and gradients of two micro-batches."""
    torch.manual_seed(5)
    batches = []
    for seed in (1, 2):
        tokens = some_tokens(2, LENGTH + 1, seed=seed)
        batches.append(MicroBatch(tokens[:, :-1], tokens[:, 1:], torch.arange(LENGTH)[None], None))
    loss = model.forward_backward(batches)
    found = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return loss.item(), found


@pytest.mark.parametrize("smallest", [0, 2**62], ids=["oneDNN", "MKL"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("kind", FAMILIES)
def test_losses_and_gradients_are_the_same_to_the_bit(
    kind: str, mode: str, smallest: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(products, "_SMALLEST", smallest)
    loss, grads = gradients(build(kind, dropout=0.1))
    found, found_grads = gradients(build(kind, dropout=0.1, activation_checkpointing=MODES[mode]))
    assert found == loss
    assert found_grads.keys() == grads.keys()
    assert all(torch.equal(found_grads[name], grad) for name, grad in grads.items())


def test_compiled_layers_compute_the_same_with_checkpointing() -> None:
    loss, grads = gradients(build("gpt-neox"))
    torch.compiler.reset()
    model = build("gpt-neox", compile=True, activation_checkpointing=MODES["selective"])
    found, found_grads = gradients(model)
    assert found == pytest.approx(loss, rel=1e-5)
    for name, grad in grads.items():
        torch.testing.assert_close(found_grads[name], grad, rtol=1e-5, atol=1e-5 * float(grad.abs().max()))


class Counted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts operators by the shape of their matrix."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.found: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name = func.__name__.removesuffix(".default")
        if name in ("mm", "addmm"):
            self.found[f"product {tuple(args[-1].shape)}"] += 1
        elif name.startswith("_scaled_dot_product") and "backward" not in name:
            self.found["attention"] += 1
        elif name == "gelu":
            self.found["gelu"] += 1
        return func(*args, **(kwargs or {}))


def count(mode: str) -> Counter[str]:
    """Operators of forward and backward pass through one layer of the width of 32."""
    config = KINDS["gpt-neox"].model_copy(update={"num_hidden_layers": 1})
    (part,) = build("gpt-neox", activation_checkpointing={"mode": mode}).parts
    layer = part.layers["0"]
    x = torch.randn(2, LENGTH, config.hidden_size, requires_grad=True)
    where = part._positions(torch.arange(LENGTH)[None], None, x, None)
    with Counted() as counted:
        layer(x, where).sum().backward()
    found: Counter[str] = counted.found
    return found


def test_only_what_is_cheap_to_compute_is_computed_again() -> None:
    none, selective, full = count("none"), count("selective"), count("full")
    # [in, out] of the MLP's first product, whose result is as large as all others' together.
    up = "product (32, 128)"
    assert selective - none == Counter({up: 1, "gelu": 1})
    # `full` computes everything again but the layer's last product, whose result nobody reads.
    assert full - none == Counter(
        {up: 1, "gelu": 1, "attention": 1, "product (32, 96)": 1, "product (32, 32)": 1}
    )


def test_matrices_are_told_apart_where_the_share_of_the_mlp_is_as_wide_as_the_model() -> None:
    """Of a layer of width 32, a fourth: 32 of the MLP's 128, and 24 of the 96 queries, keys and values."""
    of_mlp = _sides(torch.empty(32, 32))
    for shape, kept in {(32, 32): False, (32, 24): True, (8, 32): True}.items():
        found = _policy(of_mlp, None, torch.ops.aten.mm.default, torch.empty(2, shape[0]), torch.empty(shape))
        assert found == (CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE), shape
