"""Muon: momentum, made orthogonal (Jordan 2024, https://kellerjordan.github.io/posts/muon/).

The update of a matrix is its Nesterov momentum with all singular values set to about 1, so that rare
directions move as far as common ones. It is scaled to the size that AdamW's updates have, so that AdamW's
learning rate and weight decay fit (Liu et al. 2025, https://arxiv.org/abs/2502.16982, section 2.2).

Matrices that processes share are dealt out: each process is sent the whole of some of them, makes them
orthogonal, and sends the others their parts back (`owners.py`). So every matrix is computed once, and as a
single process would compute it.
"""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tsumugu.training.local import local_part
from tsumugu.training.owners import cuts_of, from_owners, owner_count, to_owners

COEFFICIENTS = {
    3: ((8.0934, -23.6204, 17.4462), (3.6366, -2.7219, 0.5365), (2.6613, -1.9772, 0.4526)),
    5: ((3.4445, -4.7750, 2.0315),) * 5,
}
"""a, b, c of x -> a x + b x^3 + c x^5 for each of so many steps; singular values begin between 0 and 1.

Five steps are Jordan's: from 0.002 on singular values end between 0.68 and 1.21. Three are the polynomials
that come nearest to 1 one after the other (Amsel et al. 2025, "The Polar Express",
https://arxiv.org/abs/2505.16932, theorem 4.1) for singular values from 0.01 on, which end between 0.72 and
1.28. Smaller ones grow up to 485 and 78 times."""
_MARGINS = {3: 1.01, 5: 1.0}
"""By how much matrices are made smaller than a norm of 1. In bfloat16 rounding may bring a singular value
above 1, where three steps, unlike five, let it grow without bound. Amsel et al. leave 1 % as well."""
_EPS = 1e-7
_ADAMW_RMS = 0.2
"""Usual root mean square of AdamW's updates at a rate of 1 (Liu et al. 2025)."""


class Muon(torch.optim.Optimizer):
    """Muon for some matrices and AdamW for all else, in one optimizer.

    `state[p]` is `{"momentum_buffer": like p}` for the matrices of Muon and AdamW's for the others.

    Args:
        groups: of matrices, each with "params", "lr", "momentum", "weight_decay", "ns_steps": a key of
            `COEFFICIENTS`, and "row_blocks": rows that belong to several matrices by turns, such as (2, 1, 1)
            for two rows of a first, one of a second, one of a third, and again; None if all belong to one.
        adamw: for all else.
    """

    def __init__(self, groups: list[dict[str, Any]], adamw: torch.optim.AdamW) -> None:
        super().__init__([*groups, *adamw.param_groups], {})
        self._adamw = adamw

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """Update all parameters that have a gradient. Every process of a mesh must come here."""
        assert closure is None, "a closure would need gradients in here"
        for group in self.param_groups:
            if "momentum" in group:
                self._step_matrices(group)
        # Who loads a state replaces both of these.
        self._adamw.state = self.state
        self._adamw.param_groups = [group for group in self.param_groups if "momentum" not in group]
        self._adamw.step()

    def _step_matrices(self, group: dict[str, Any]) -> None:
        blocks, ns_steps, rate = group["row_blocks"], group["ns_steps"], group["lr"]
        for alike in _alike(group["params"]):
            cuts = cuts_of(alike[0])
            owners = owner_count(cuts)
            for start in range(0, len(alike), owners):
                few = alike[start : start + owners]  # one for every process
                parts = torch.stack([self._momentum(p, group["momentum"]) for p in few])
                whole = to_owners(parts, cuts)  # [0 or 1, rows, columns]
                for matrix in whole:
                    matrix.copy_(orthogonal_update(matrix, blocks, ns_steps))
                for parameter, update in zip(few, from_owners(whole, len(few), cuts), strict=True):
                    local = local_part(parameter)
                    local.mul_(1 - rate * group["weight_decay"]).add_(update, alpha=-rate)

    def _momentum(self, parameter: nn.Parameter, momentum: float) -> Tensor:
        """This process's part of the Nesterov momentum, in the precision of Newton-Schulz."""
        state = self.state[parameter]
        if not state:
            state["momentum_buffer"] = torch.zeros_like(parameter)
        assert parameter.grad is not None
        gradient, buffer = local_part(parameter.grad), local_part(state["momentum_buffer"])
        buffer.lerp_(gradient, 1 - momentum)
        # bfloat16 is emulated and slow on a CPU, and exact enough where it is not.
        return gradient.lerp(buffer, momentum).to(torch.bfloat16 if gradient.is_cuda else torch.float32)


def orthogonal_update(matrix: Tensor, row_blocks: tuple[int, ...] | None, ns_steps: int) -> Tensor:
    """`matrix [rows, columns]` made orthogonal, at the size of an update of AdamW's at a rate of 1.

    Args:
        matrix: the momentum of one parameter.
        row_blocks: as in `Muon`; each of the matrices is made orthogonal by itself.
        ns_steps: as in `Muon`.
    """
    if row_blocks is None:
        return _scale(matrix.shape) * newton_schulz(matrix, ns_steps)
    rows = matrix.reshape(-1, sum(row_blocks), matrix.shape[1])  # [repeats, rows of one turn, columns]
    updates = []
    for part in torch.split(rows, list(row_blocks), dim=1):
        single = part.flatten(0, 1)
        updates.append((_scale(single.shape) * newton_schulz(single, ns_steps)).reshape(part.shape))
    return torch.cat(updates, dim=1).flatten(0, 1)


def newton_schulz(matrix: Tensor, ns_steps: int) -> Tensor:
    """About U V^T for `matrix [rows, columns]` = U S V^T, by `ns_steps` steps of a quintic iteration."""
    tall = matrix.shape[0] > matrix.shape[1]
    x = matrix.T if tall else matrix
    # No singular value above 1.
    norm = torch.linalg.vector_norm(x, dtype=torch.float32)
    x = x / (_MARGINS[ns_steps] * norm).clamp(min=_EPS)
    for a, b, c in COEFFICIENTS[ns_steps]:
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x.T if tall else x


def _scale(shape: torch.Size) -> float:
    """An orthogonal matrix has a root mean square of 1 / sqrt(max(shape))."""
    return _ADAMW_RMS * math.sqrt(max(shape))


def _alike(parameters: list[nn.Parameter]) -> list[list[nn.Parameter]]:
    """Those that have a gradient, by shape and by how they are shared."""
    found: dict[Any, list[nn.Parameter]] = {}
    for parameter in parameters:
        if parameter.grad is not None:
            tensor: Tensor = parameter
            key = (tensor.device_mesh, tensor.placements) if isinstance(tensor, DTensor) else None
            found.setdefault((parameter.shape, key), []).append(parameter)
    return list(found.values())
