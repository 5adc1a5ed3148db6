"""One optimizer step: from the rows of a batch to gradients of the mean loss, clipped.

Losses are summed, over tokens, micro-batches and processes; the division by the number of targets
comes last, together with clipping. So a batch gives the same gradient in however many parts it is
computed, even when padding leaves some parts with fewer targets than others.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Replicate

from tsumugu.model.attention import documents_of
from tsumugu.model.loss import IGNORED
from tsumugu.model.parametrization import carried
from tsumugu.tokens.loader import Batch
from tsumugu.training.context_parallel import context_places
from tsumugu.training.local import local_part
from tsumugu.training.parallelize import MicroBatch, ParallelModel


@dataclass(frozen=True)
class StepResult:
    """What a step was like, the same on all processes."""

    loss: float
    """Mean over the targets, in nats."""
    grad_norm: float
    """Of the mean loss's gradient, before clipping."""
    targets: int
    """Tokens that were predicted."""
    signals: int
    """Processes that were asked to stop."""

    @property
    def is_finite(self) -> bool:
        """Whether the loss and the gradient are numbers."""
        return math.isfinite(self.loss) and math.isfinite(self.grad_norm)


def micro_batches(batch: Batch, size: int, model: ParallelModel) -> list[MicroBatch]:
    """The rows of this process in parts of `size` rows, the last one filled up with rows that do not count.

    Under context parallelism only this process's tokens of every row.
    """
    length = batch.tokens.shape[1] - 1
    places = None
    if model.mesh is not None and model.layout.context > 1:
        rank = model.mesh.get_local_rank("context")
        places = context_places(length, processes=model.layout.context, rank=rank)
    starts = range(0, len(batch.tokens), size)
    return [_micro_batch(batch, start, size, places, model.device) for start in starts]


def _micro_batch(
    batch: Batch, start: int, size: int, places: Tensor | None, device: torch.device
) -> MicroBatch:
    rows = slice(start, start + size)
    length = batch.tokens.shape[1] - 1
    whole = torch.from_numpy(batch.tokens[rows])
    tokens, targets = whole[:, :-1], whole[:, 1:]
    if batch.loss_mask is not None:
        targets = targets.masked_fill(~torch.from_numpy(batch.loss_mask[rows]), IGNORED)
    positions = torch.arange(length)[None]
    if batch.position_ids is not None:
        positions = torch.from_numpy(batch.position_ids[rows])
    missing = size - len(whole)
    if missing:
        tokens = torch.cat([tokens, tokens.new_zeros(missing, length)])
        targets = torch.cat([targets, targets.new_full((missing, length), IGNORED)])
        if batch.position_ids is not None:
            positions = torch.cat([positions, torch.arange(length)[None].expand(missing, -1)])
    documents = None
    if batch.cu_seqlens is not None:
        first, last = start * length, min(start + size, len(batch.tokens)) * length
        inside = (batch.cu_seqlens >= first) & (batch.cu_seqlens <= last)
        begins = torch.from_numpy(batch.cu_seqlens[inside] - first)
        more = torch.arange(1, missing + 1, dtype=begins.dtype) * length + (last - first)
        documents = documents_of(torch.cat([begins, more]).to(device, non_blocking=True), (size, length))
    if places is not None:
        tokens, targets, positions = tokens[:, places], targets[:, places], positions[:, places]
    return MicroBatch(
        tokens.contiguous().to(device, non_blocking=True),
        targets.contiguous().to(device, non_blocking=True),
        positions.to(device, non_blocking=True),
        documents,
    )


def compute_gradients(
    model: ParallelModel,
    batches: list[MicroBatch],
    *,
    max_grad_norm: float,
    stop: Callable[[], bool] = lambda: False,
) -> StepResult:
    """Leave the clipped gradient of the mean loss in the parameters' `.grad`.

    Args:
        model: with no gradients, or with zeros.
        batches: this process's share of the batch.
        max_grad_norm: longer gradients are shortened to this length.
        stop: whether this process was asked to stop, looked at as late as possible; all learn of it.
    """
    loss = model.forward_backward(batches)
    loss_sum, square, targets, signals = _summed(model, loss, batches, squared_norm(model), stop)
    targets = max(1.0, targets)
    result = StepResult(loss_sum / targets, math.sqrt(square) / targets, int(targets), int(signals))
    if result.is_finite:
        clip = min(1.0, max_grad_norm / (result.grad_norm + 1e-6))
        torch._foreach_mul_([local_part(grad) for _, grad in _gradients(model)], clip / targets)
    return result


def mean_loss(
    model: ParallelModel, batches: list[MicroBatch], *, stop: Callable[[], bool] = lambda: False
) -> StepResult:
    """The mean loss without gradients; `stop` as in `compute_gradients`."""
    loss = model.loss(batches)
    none = torch.zeros((), device=model.device)
    loss_sum, _, targets, signals = _summed(model, loss, batches, none, stop)
    return StepResult(loss_sum / max(1.0, targets), 0.0, int(targets), int(signals))


def squared_norm(model: ParallelModel) -> Tensor:
    """This process's share of the squared length of the gradient, `float32 []`.

    What several processes hold is divided among them, and a copied embedding counts once; so the sum
    over all processes is the square of the whole. What carries a multiplier (`parametrization.py`) counts as
    it would beside one, or it would outweigh all else in wide models.
    """
    shares: dict[tuple[int, float], list[Tensor]] = {}
    for name, grad in _gradients(model):
        if not model.is_copy(name):
            key = _copies(grad), carried(name, model.parts[0].config)
            shares.setdefault(key, []).append(local_part(grad))
    total = torch.zeros((), device=model.device)
    for (copies, multiplier), grads in shares.items():
        norms = multiplier * torch.stack(torch._foreach_norm(grads))
        total += norms.square().sum() / copies
    return total


def _gradients(model: ParallelModel) -> list[tuple[str, Tensor]]:
    return [(name, p.grad) for name, p in model.named_parameters() if p.grad is not None]


def _summed(
    model: ParallelModel,
    loss: Tensor,
    batches: list[MicroBatch],
    square: Tensor,
    stop: Callable[[], bool],
) -> list[float]:
    """Sums over all processes of the loss, the square, the targets and the signals."""
    counted = torch.stack([(batch.targets != IGNORED).sum() for batch in batches]).sum()
    # The processes of a tensor group compute the same loss, those of a pipeline one loss together.
    speaks = model.mesh is None or (
        model.mesh.get_local_rank("tensor") == 0 and any(part.head is not None for part in model.parts)
    )
    values = [loss if speaks else loss * 0, square, counted * speaks, torch.tensor(float(stop()))]
    vector = torch.stack([value.to(model.device, torch.float64) for value in values])
    if dist.is_initialized():
        dist.all_reduce(vector)
    found: list[float] = vector.tolist()
    return found


def _copies(grad: Tensor) -> int:
    if not isinstance(grad, DTensor):
        return 1
    copies = 1
    for dimension, placement in enumerate(grad.placements):
        if isinstance(placement, Replicate):
            copies *= grad.device_mesh.size(dimension)
    return copies
