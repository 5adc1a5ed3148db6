"""Tensor parallelism with sequence parallelism (Shoeybi et al. 2019; Korthikanti et al. 2022).

Every process of the group holds some heads, some columns of the MLP, and some rows of the
embeddings. Between blocks, where nothing mixes tokens, each has some tokens of every sequence:
a norm gathers them in front of attention and MLP, and their last matrix product scatters the sums.

A module changes its class and nothing else: a `nn.Linear` becomes a `ColumnParallelLinear`, its
parameters become DTensors, its name stays. Computation is on plain local tensors; gradients of
parameters that every process holds whole are declared as the partial sums that they are.
"""

import re
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed._functional_collectives import (
    all_gather_single_autograd,
    reduce_scatter_single_autograd,
    wait_tensor,
)
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.tensor import DTensor, Partial, Placement, Replicate, Shard, distribute_tensor

from tsumugu.model.decoder import Decoder, Head

_TOKENS = 1
"""The dimension of tokens in `[B, T, D]`."""


def apply_tensor_parallel(part: Decoder, mesh: DeviceMesh) -> None:
    """Shard `part` over `mesh` (one dimension), in place; tied embeddings stay tied."""
    tied = part.embedding is not None and part.head is not None and part.head.weight is part.embedding.weight
    for name, module in list(part.named_modules()):
        for pattern, kind in _PLAN.items():
            if re.fullmatch(pattern, name):
                _become(module, kind, mesh)
    if tied:
        assert part.embedding is not None
        assert part.head is not None
        part.head.weight = part.embedding.weight


class ColumnParallelLinear(nn.Linear):
    """Whole inputs to some of the outputs."""

    placements: ClassVar[dict[str, Placement]] = {"weight": Shard(0), "bias": Shard(0)}

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, D' / n]`."""
        return F.linear(x, _own(self.weight), None if self.bias is None else _own(self.bias))


class RowParallelLinear(nn.Linear):
    """Some of the inputs to whole outputs of some of the tokens."""

    placements: ClassVar[dict[str, Placement]] = {"weight": Shard(1), "bias": Replicate()}

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, D' / n]` to `[B, T / n, D]`."""
        out = _sum_and_scatter(F.linear(x, _own(self.weight)), _mesh(self.weight))
        return out if self.bias is None else out + _partial(self.bias)


class GatheringLayerNorm(nn.LayerNorm):
    """The norm of some of the tokens, then all of them."""

    placements: ClassVar[dict[str, Placement]] = {"weight": Replicate(), "bias": Replicate()}

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T / n, D]` to `[B, T, D]`."""
        normed = F.layer_norm(x, self.normalized_shape, _partial(self.weight), _partial(self.bias), self.eps)
        return _gather(normed, _mesh(self.weight))


class GatheringRMSNorm(nn.RMSNorm):
    """The norm of some of the tokens, then all of them."""

    placements: ClassVar[dict[str, Placement]] = {"weight": Replicate()}

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T / n, D]` to `[B, T, D]`."""
        normed = F.rms_norm(x, tuple(self.normalized_shape), _partial(self.weight), self.eps)
        return _gather(normed, _mesh(self.weight))


class HeadwiseRMSNorm(nn.RMSNorm):
    """The norm of queries or keys, on the heads that are here."""

    placements: ClassVar[dict[str, Placement]] = {"weight": Replicate()}

    def forward(self, x: Tensor) -> Tensor:
        """`[B, H / n, T, K]` to the same."""
        return F.rms_norm(x, tuple(self.normalized_shape), _partial(self.weight), self.eps)


class VocabularyParallelEmbedding(nn.Embedding):
    """Some rows of the matrix; the rest of the tokens are zero here and come from the others."""

    placements: ClassVar[dict[str, Placement]] = {"weight": Shard(0)}

    def forward(self, tokens: Tensor) -> Tensor:
        """`int64 [B, T]` to `[B, T / n, D]`."""
        weight, mesh = _own(self.weight), _mesh(self.weight)
        row = tokens - mesh.get_local_rank() * weight.shape[0]
        here = (row >= 0) & (row < weight.shape[0])
        found = F.embedding(torch.where(here, row, 0), weight) * here[..., None]
        return _sum_and_scatter(found, mesh)


class SequenceParallelPositions(nn.Embedding):
    """Learned positions, of this process's tokens."""

    placements: ClassVar[dict[str, Placement]] = {"weight": Replicate()}

    def forward(self, positions: Tensor) -> Tensor:
        """`int64 [B or 1, T]` to `[B or 1, T / n, D]`."""
        mesh = _mesh(self.weight)
        mine = positions.chunk(mesh.size(), dim=_TOKENS)[mesh.get_local_rank()]
        return F.embedding(mine, _partial(self.weight))


class VocabularyParallelHead(Head):
    """Some rows of the output embedding, and the loss put together from all of them."""

    placements: ClassVar[dict[str, Placement]] = {"weight": Shard(0)}

    def forward(self, hidden: Tensor, targets: Tensor | None) -> Tensor:
        """`[B, T, D]` and `int64 [B, T]` to `float32 []`, the same on all processes."""
        assert targets is not None, "logits are not computed under tensor parallelism, only losses"
        return self.loss(hidden, _own(self.weight), targets, group=_mesh(self.weight).get_group())


_Kind = type[nn.Module]
_NORMS: dict[_Kind, _Kind] = {nn.LayerNorm: GatheringLayerNorm, nn.RMSNorm: GatheringRMSNorm}
_PLAN: dict[str, _Kind | dict[_Kind, _Kind]] = {
    "embedding": VocabularyParallelEmbedding,
    "position_embedding": SequenceParallelPositions,
    r"layers\.\d+\.(attention_norm|mlp_norm)": _NORMS,
    r"layers\.\d+\.attention\.qkv": ColumnParallelLinear,
    r"layers\.\d+\.attention\.(q_norm|k_norm)": HeadwiseRMSNorm,
    r"layers\.\d+\.attention\.output": RowParallelLinear,
    r"layers\.\d+\.mlp\.(up|gate)": ColumnParallelLinear,
    r"layers\.\d+\.mlp\.down": RowParallelLinear,
    "norm": _NORMS,
    "head": VocabularyParallelHead,
}


def _become(module: nn.Module, kind: _Kind | dict[_Kind, _Kind], mesh: DeviceMesh) -> None:
    chosen = kind[type(module)] if isinstance(kind, dict) else kind
    placements: dict[str, Placement] = chosen.placements  # type: ignore[attr-defined]
    for name, parameter in list(module.named_parameters(recurse=False)):
        sharded = distribute_tensor(parameter.detach(), mesh, [placements[name]], src_data_rank=None)
        module.register_parameter(name, nn.Parameter(sharded))
    module.__class__ = chosen


def _own(parameter: Tensor) -> Tensor:
    """This process's part, whose gradient is of that part alone."""
    assert isinstance(parameter, DTensor)
    return parameter.to_local()


def _partial(parameter: Tensor) -> Tensor:
    """The whole, whose gradient here is one of several that belong together."""
    assert isinstance(parameter, DTensor)
    return parameter.to_local(grad_placements=[Partial()])


def _mesh(parameter: Tensor) -> DeviceMesh:
    assert isinstance(parameter, DTensor)
    return parameter.device_mesh


def _gather(x: Tensor, mesh: DeviceMesh) -> Tensor:
    """`[B, T / n, D]` to `[B, T, D]`; backward the gradients are summed and scattered."""
    gathered = all_gather_single_autograd(x.contiguous(), _TOKENS, mesh.get_group())
    out: Tensor = wait_tensor(gathered)  # type: ignore[no-untyped-call]
    return out


def _sum_and_scatter(x: Tensor, mesh: DeviceMesh) -> Tensor:
    """Partial sums `[B, T, D]` to sums `[B, T / n, D]`; backward the gradients are gathered."""
    scattered = reduce_scatter_single_autograd(x.contiguous(), "sum", _TOKENS, mesh.get_group())
    out: Tensor = wait_tensor(scattered)  # type: ignore[no-untyped-call]
    return out
