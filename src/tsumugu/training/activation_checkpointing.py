"""Activation checkpointing: what a block keeps for the backward pass, and what it computes again.

`full` keeps a block's input and computes the rest again (Chen et al. 2016). `selective` keeps the
results of attention and of the matrix products beside it, and computes norms, activations and the
MLP's first product again (after Korthikanti et al. 2022): a number of that product is as cheap to
compute as one of the others, and there are as many of them as of all others together. The MLP's
last product is neither kept nor computed again: nothing in the block's backward pass reads it.
Losses and gradients are the same to the bit in all modes.
"""

from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.utils.checkpoint import (
    CheckpointPolicy,
    checkpoint,
    create_selective_checkpoint_contexts,
)

from tsumugu.model.decoder import Block, Decoder, Positions
from tsumugu.training.config import ActivationCheckpointingConfig
from tsumugu.training.local import local_part

_PRODUCTS = {
    torch.ops.aten.mm.default: 1,
    torch.ops.aten.addmm.default: 2,
    torch.ops.aten._scaled_mm.default: 1,  # of float8
    torch.ops.tsumugu.linear.default: 1,
}
"""Matrix products, and which of their arguments is the weight."""
_KEPT = {
    torch.ops.aten._scaled_dot_product_flash_attention.default,
    torch.ops.aten._scaled_dot_product_efficient_attention.default,
    torch.ops.aten._scaled_dot_product_cudnn_attention.default,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default,
    # Communication is dearer than memory.
    torch.ops._c10d_functional.reduce_scatter_tensor.default,
}


def apply_activation_checkpointing(part: Decoder, config: ActivationCheckpointingConfig) -> None:
    """Let the blocks of `part` that `config` chooses compute again instead of keeping, in place."""
    if config.mode == "none":
        return
    for name, block in part.layers.items():
        if int(name) % config.every:
            continue
        assert isinstance(block, Block)
        contexts = None
        if config.mode == "selective":
            policy = partial(_policy, _sides(block.mlp.up.weight))  # type: ignore[union-attr,arg-type]
            contexts = partial(create_selective_checkpoint_contexts, policy)
        block.__class__ = CheckpointedBlock
        block.contexts = contexts  # type: ignore[assignment]


class CheckpointedBlock(Block):
    """A block that computes again what it did not keep."""

    contexts: Callable[[], Any] | None
    inner: Callable[..., Tensor] | None = None
    """A compiled `Block.forward` of this block, where the checkpoint must stand around it."""
    _options: ClassVar[dict[str, Any]] = {"use_reentrant": False, "preserve_rng_state": True}

    def forward(self, x: Tensor, where: Positions) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        options = dict(self._options)
        if self.contexts is not None:
            options["context_fn"] = self.contexts
        out: Tensor = checkpoint(self.inner or super().forward, x, where, **options)
        return out


def _policy(of_mlp: set[int], context: Any, op: Any, *args: Any, **kwargs: Any) -> CheckpointPolicy:
    if op in _PRODUCTS:
        kept = set(args[_PRODUCTS[op]].shape) != of_mlp
    else:
        kept = op in _KEPT or op == _varlen_attention()
    return CheckpointPolicy.MUST_SAVE if kept else CheckpointPolicy.PREFER_RECOMPUTE


def _varlen_attention() -> Any:
    namespace = getattr(torch.ops, "torch_attn", None)
    found = getattr(namespace, "_varlen_attn", None)
    return getattr(found, "default", None)


def _sides(weight: Tensor) -> set[int]:
    """Rows and columns of what this process has of a matrix.

    One of them would not tell matrices apart: a share of an MLP may be as wide as the model.
    """
    return set(local_part(weight).shape)
