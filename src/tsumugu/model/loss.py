"""The output projection and its cross-entropy in one, chunk by chunk.

The logits of 51,200 pieces are the largest thing in a training step: for 8 sequences of 2,048
tokens 3.4 GB in float32, and their gradient once more. Here they exist for a few hundred tokens at
a time, and since a loss knows its own gradient, the gradients of the hidden states and of the
matrix are made on the spot: the three products are the same as without chunks, none is repeated.

With a process group every process holds some rows of the matrix (Shoeybi et al. 2019, section 3):
the softmax is put together from two small all-reduces per chunk.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from tsumugu.model.products import product

IGNORED = -100
"""Targets with this id do not count."""
_CHUNK_ELEMENTS = {"cpu": 2**21, "cuda": 2**26}
"""Logits at a time: few enough for a CPU's caches, many enough to keep a GPU busy."""
_SMALLEST_CHUNK = 512
"""Tokens; fewer make thin matrix products, which are slow."""


def linear_cross_entropy(
    hidden: Tensor,
    weight: Tensor,
    targets: Tensor,
    *,
    z_loss: float = 0.0,
    group: dist.ProcessGroup | None = None,
    chunk: int | None = None,
) -> Tensor:
    """Sum over the tokens of `-log softmax(hidden @ weight.T)[target] + z_loss * log(denominator)**2`.

    Args:
        hidden: `[N, D]`.
        weight: `[V, D]`; with a group, this process's rows of it, the rows of rank 0 first.
        targets: `int64 [N]`; those that are `IGNORED` do not count.
        z_loss: see PaLM (Chowdhery et al. 2022), section 5.
        group: the processes that share the matrix's rows. The gradient of `hidden` is then this
            process's part of a sum over the group.
        chunk: tokens at a time; as many as suit the device unless given.

    Returns:
        `float32 []`, in nats.
    """
    elements = _CHUNK_ELEMENTS.get(hidden.device.type, 2**24)
    size = chunk or max(_SMALLEST_CHUNK, elements // weight.shape[0])
    if torch.is_autocast_enabled(hidden.device.type):
        dtype = torch.get_autocast_dtype(hidden.device.type)
        hidden, weight = hidden.to(dtype), weight.to(dtype)
    with torch.autocast(hidden.device.type, enabled=False):
        loss: Tensor = _LinearCrossEntropy.apply(
            hidden, weight, targets, z_loss, group, size, torch.is_grad_enabled()
        )  # type: ignore[no-untyped-call]
    return loss


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        z_loss: float,
        group: dist.ProcessGroup | None,
        size: int,
        with_gradients: bool,
    ) -> Tensor:
        first_row = 0 if group is None else dist.get_rank(group) * weight.shape[0]
        loss = torch.zeros((), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if with_gradients else None
        # float32: it is a sum over many chunks.
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if with_gradients else None
        for states, wanted, start in _chunks(hidden, targets, size):
            logits = product(states, weight).float()  # [n, V]
            counted = wanted != IGNORED
            row = wanted - first_row
            here = counted & (row >= 0) & (row < weight.shape[0])
            row = torch.where(here, row, 0)[:, None]
            largest = logits.amax(dim=1)
            if group is not None:
                dist.all_reduce(largest, dist.ReduceOp.MAX, group)
            logits -= largest[:, None]
            found = torch.where(here, logits.gather(1, row)[:, 0], 0)
            exponentials = logits.exp_()
            sums = exponentials.sum(dim=1)
            if group is not None:
                both = torch.stack([sums, found])
                dist.all_reduce(both, group=group)
                sums, found = both.unbind()
            log_sums = sums.log()
            losses = log_sums - found
            if z_loss:
                losses = losses + z_loss * (log_sums + largest).square()
            loss += torch.where(counted, losses, 0).sum()
            if grad_hidden is None or grad_weight is None:
                continue
            factors = torch.where(counted, 1 / sums, 0)
            if z_loss:
                factors = factors * (1 + 2 * z_loss * (log_sums + largest))
            gradient = exponentials.mul_(factors[:, None])
            gradient.scatter_add_(1, row, -here.float()[:, None])
            gradient = gradient.to(hidden.dtype)
            grad_hidden[start : start + len(states)] = product(gradient, weight.t())
            grad_weight += product(gradient.t(), states.t())
        if grad_weight is not None:
            # The sum is done; a pipeline keeps it until the backward pass, of several micro-batches at once.
            grad_weight = grad_weight.to(weight.dtype)
        ctx.save_for_backward(grad_hidden, grad_weight)
        return loss

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        # In float32: a rounded `grad` would be the same error in every number. Not in place: a
        # pipeline that splits the backward pass comes here twice.
        of_hidden = (grad_hidden.float() * grad).to(grad_hidden.dtype) if ctx.needs_input_grad[0] else None
        of_weight = (grad_weight.float() * grad).to(grad_weight.dtype) if ctx.needs_input_grad[1] else None
        return of_hidden, of_weight, None, None, None, None, None


def _chunks(hidden: Tensor, targets: Tensor, size: int) -> list[tuple[Tensor, Tensor, int]]:
    starts = range(0, len(hidden), size)
    return list(zip(torch.split(hidden, size), torch.split(targets, size), starts, strict=True))
