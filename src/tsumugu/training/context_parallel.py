"""Context parallelism: a long sequence over several processes.

Process r of n holds pieces r and 2n - 1 - r of the 2n pieces of every sequence, an early one and a
late one, so that all have equally much to attend to. Keys and values are gathered from all (they
are smaller than what attention makes of them, with grouped heads by far); backward their gradients
are summed and scattered. As in Llama 3 (Dubey et al. 2024, section 3.3.2).
"""

import torch
from torch import Tensor
from torch.distributed._functional_collectives import all_gather_single_autograd, wait_tensor
from torch.distributed.device_mesh import DeviceMesh

from tsumugu.model.attention import attend
from tsumugu.model.decoder import Attention, Decoder, Positions


def apply_context_parallel(part: Decoder, mesh: DeviceMesh) -> None:
    """Let the attention of `part` gather over `mesh` (one dimension), in place."""
    part.__class__ = ContextParallelDecoder
    part.mesh = mesh  # type: ignore[assignment]
    for module in part.modules():
        if isinstance(module, Attention):
            module.__class__ = ContextParallelAttention
            module.mesh = mesh  # type: ignore[assignment]


def context_places(length: int, *, processes: int, rank: int) -> Tensor:
    """Which of the `length` tokens of a sequence process `rank` holds: `int64 [length / processes]`."""
    pieces = torch.arange(length).chunk(2 * processes)
    return torch.cat([pieces[piece] for piece in _pieces(processes, rank)])


def _pieces(processes: int, rank: int) -> tuple[int, int]:
    return rank, 2 * processes - 1 - rank


class ContextParallelDecoder(Decoder):
    """A decoder of some of the tokens of every sequence."""

    mesh: DeviceMesh

    def pieces(self, length: int) -> list[range]:
        """Two: an early one and a late one."""
        size = length // 2
        pieces = _pieces(self.mesh.size(), self.mesh.get_local_rank())
        return [range(piece * size, (piece + 1) * size) for piece in pieces]


class ContextParallelAttention(Attention):
    """Attention of some of the tokens to all that they may see."""

    mesh: DeviceMesh

    def attend(self, q: Tensor, k: Tensor, v: Tensor, where: Positions) -> Tensor:
        """`[B, H, T / n, K]`, `[B, G, T / n, K]`, `[B, G, T / n, K]` to `[B, H, T / n, K]`."""
        k, v = self._gather(k), self._gather(v)
        size = q.shape[2] // 2
        pieces = _pieces(self.mesh.size(), self.mesh.get_local_rank())
        outs = []
        for piece, queries, scope in zip(pieces, torch.split(q, size, dim=2), where.scopes, strict=True):
            end = (piece + 1) * size
            outs.append(attend(queries, k[:, :, :end], v[:, :, :end], scope))
        return torch.cat(outs, dim=2)

    def _gather(self, x: Tensor) -> Tensor:
        """`[B, G, T / n, K]` to `[B, G, T, K]`, in the order of the sequence."""
        count = self.mesh.size()
        gathered = all_gather_single_autograd(x.contiguous(), 2, self.mesh.get_group())
        gathered = wait_tensor(gathered)  # type: ignore[no-untyped-call]
        pieces = gathered.chunk(2 * count, dim=2)  # 0, 2n - 1, 1, 2n - 2, ...
        return torch.cat([*pieces[::2], *reversed(pieces[1::2])], dim=2)
