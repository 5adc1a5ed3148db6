"""From parts of many matrices on every process to some whole matrices on each, and back.

Every mesh dimension that cuts the matrices is undone by one all-to-all, which cuts the stack of
matrices instead: a process sends as much as it holds, once per dimension, and receives as much.
"""

import math
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.tensor import DTensor, Shard
from torch.distributed.tensor.placement_types import _StridedShard


@dataclass(frozen=True)
class Cut:
    """One dimension of a mesh that cuts a tensor."""

    dim: int
    """Of the tensor."""
    size: int
    """Along that dimension, of what is cut."""
    group: dist.ProcessGroup
    """The processes that have the parts, in their order."""


def cuts_of(tensor: Tensor) -> list[Cut]:
    """The cuts that lead from the parts to the whole, in the order in which they are undone.

    A mesh dimension that holds copies is not among them: every copy is computed where it is.
    """
    if not isinstance(tensor, DTensor):
        return []
    mesh, placements = tensor.device_mesh, tensor.placements
    # FSDP cuts what tensor parallelism left, but stands before it in the mesh; such a cut is "strided".
    outermost_first = sorted(range(mesh.ndim), key=lambda index: isinstance(placements[index], _StridedShard))
    shape = list(tensor.shape)
    cuts = []
    for index in outermost_first:
        placement = placements[index]
        if placement.is_replicate() or mesh.size(index) == 1:
            continue
        assert isinstance(placement, (Shard, _StridedShard)), f"a parameter is {placement}"
        cuts.append(Cut(placement.dim, shape[placement.dim], mesh.get_group(index)))
        shape[placement.dim] = _share(cuts[-1].size, cuts[-1].group)
    return cuts[::-1]


def owner_count(cuts: list[Cut]) -> int:
    """The processes that can each have a whole matrix."""
    return math.prod(cut.group.size() for cut in cuts)


def to_owners(parts: Tensor, cuts: list[Cut]) -> Tensor:
    """Parts of n matrices to some of the n matrices.

    Args:
        parts: `[n, rows here, columns here]`, those of the same n matrices on all processes.
        cuts: of one of these matrices.

    Returns:
        `[n here, rows, columns]`; with n at most `owner_count(cuts)`, one matrix or none.
    """
    for cut in cuts:
        parts = _exchange(parts, join=cut.dim + 1, size=cut.size, split=0, group=cut.group)
    return parts


def from_owners(whole: Tensor, count: int, cuts: list[Cut]) -> Tensor:
    """The way back: `[n here, rows, columns]` to `[count, rows here, columns here]`."""
    counts = []
    for cut in cuts:
        counts.append(count)
        count = _share(count, cut.group)
    for cut, size in zip(reversed(cuts), reversed(counts), strict=True):
        whole = _exchange(whole, join=0, size=size, split=cut.dim + 1, group=cut.group)
    return whole


def _exchange(tensor: Tensor, *, join: int, size: int, split: int, group: dist.ProcessGroup) -> Tensor:
    """A tensor that is whole along `split`, and cut along `join`, to the same the other way round.

    Args:
        tensor: this process's part.
        join: the dimension that becomes whole.
        size: its size then.
        split: the dimension that is cut.
        group: the processes.
    """
    pieces = torch.split(tensor, _shares(tensor.shape[split], group), dim=split)
    shapes = []
    for share in _shares(size, group):
        shape = list(pieces[group.rank()].shape)
        shape[join] = share
        shapes.append(shape)
    lengths = [math.prod(shape) for shape in shapes]
    sent = torch.cat([piece.flatten() for piece in pieces])
    received = sent.new_empty(sum(lengths))
    dist.all_to_all_single(received, sent, lengths, [piece.numel() for piece in pieces], group=group)
    parts = [part.view(shape) for part, shape in zip(torch.split(received, lengths), shapes, strict=True)]
    return torch.cat(parts, dim=join)


def _shares(size: int, group: dist.ProcessGroup) -> list[int]:
    """How DTensor cuts a dimension: equal parts, the last ones smaller or empty."""
    part = -(-size // group.size())
    return [max(0, min(part, size - part * rank)) for rank in range(group.size())]


def _share(size: int, group: dist.ProcessGroup) -> int:
    return _shares(size, group)[group.rank()]
