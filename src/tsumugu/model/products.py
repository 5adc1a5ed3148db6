"""Products with weight matrices on CPUs, by the faster of two libraries.

PyTorch multiplies float32 matrices with MKL, which keeps its AVX-512 kernels to Intel's processors. On
AMD's, oneDNN, which PyTorch has on board as well, is twice as fast (`benchmarks/cpu_flops.py`). Elsewhere,
in other precisions and for small products, everything here is `torch.nn.functional.linear`.
"""

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

_SMALLEST = 2**22
"""Multiplications; below, a call of oneDNN costs more than it gains."""


def _onednn_is_faster() -> bool:
    has_onednn = torch.backends.mkldnn.is_available()  # type: ignore[no-untyped-call]
    if not has_onednn or torch.backends.cpu.get_cpu_capability() != "AVX512":
        return False
    try:
        return "AuthenticAMD" in Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return False


_ONEDNN_IS_FASTER = _onednn_is_faster()


class Linear(nn.Linear):
    """`nn.Linear` by the faster library."""

    may_take_onednn = True

    def forward(self, input: Tensor) -> Tensor:
        """`[..., in]` to `[..., out]`."""
        if not self.may_take_onednn:
            return super().forward(input)
        return product(input, self.weight, self.bias)


def use_pytorch_products(module: nn.Module) -> None:
    """Let every `Linear` of `module` compute what `nn.Linear` does, to the bit."""
    for part in module.modules():
        if isinstance(part, Linear):
            part.may_take_onednn = False


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`x @ weight.T + bias` for `[..., in]` and `[out, in]`."""
    if isinstance(weight, DTensor) or not _takes_onednn(x, weight):
        return F.linear(x, weight, bias)
    out: Tensor = onednn_linear(x.flatten(0, -2), weight, bias)
    return out.view(*x.shape[:-1], weight.shape[0])


def _takes_onednn(x: Tensor, weight: Tensor) -> bool:
    if x.device.type != "cpu" or not _ONEDNN_IS_FASTER:
        return False
    if x.dtype != torch.float32 or weight.dtype != torch.float32 or torch.is_autocast_enabled("cpu"):
        return False
    return x.numel() * weight.shape[0] >= _SMALLEST


# An operator, so that checkpointing can keep its results, and the compiler leaves it alone.
@torch.library.custom_op("tsumugu::linear", mutates_args=(), device_types="cpu")
def onednn_linear(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """`x @ weight.T + bias` for `[n, in]` and `[out, in]`, with gradients."""
    out: Tensor = torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")
    return out


@onednn_linear.register_fake
def _(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    return x.new_empty(x.shape[0], weight.shape[0])


def _keep(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    x, weight, _ = inputs
    ctx.save_for_backward(x, weight)


def _backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
    x, weight = ctx.saved_tensors
    of_x, of_weight, of_bias = ctx.needs_input_grad
    return (
        onednn_linear(grad, weight.t(), None) if of_x else None,
        _of_weight(grad, x) if of_weight else None,
        grad.sum(dim=0) if of_bias else None,
    )


def _of_weight(grad: Tensor, x: Tensor) -> Tensor:
    # The first argument is copied to lie row by row: let it be the smaller one.
    found: Tensor
    if x.shape[1] < grad.shape[1]:
        found = onednn_linear(x.t(), grad.t(), None).t().contiguous()
    else:
        found = onednn_linear(grad.t(), x.t(), None)
    return found


onednn_linear.register_autograd(_backward, setup_context=_keep)
