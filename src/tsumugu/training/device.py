"""Where the numbers are computed, and in which precision."""

from contextlib import AbstractContextManager, nullcontext
from typing import Literal

import torch

from tsumugu.errors import TsumuguError


def pick_device() -> torch.device:
    """The first GPU where there is one, the CPU otherwise."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def autocast(device: torch.device) -> AbstractContextManager[object]:
    """bfloat16 matrix products on a GPU; float32 on a CPU, where bfloat16 is emulated and slow."""
    if device.type == "cuda":
        return torch.autocast("cuda", dtype=torch.bfloat16)
    return nullcontext()


def product_dtype(
    precision: Literal["auto", "float32", "bfloat16", "float8"], device: torch.device
) -> torch.dtype:
    """What matrix products are computed in; what float8 leaves over is in bfloat16.

    Raises:
        TsumuguError: the device cannot.
    """
    if precision == "float8" and (device.type != "cuda" or torch.cuda.get_device_capability(device) < (8, 9)):
        raise TsumuguError(
            f"pretrain.precision = float8 needs a GPU of compute capability 8.9 or more (L40S, H100), not "
            f"{device.type}; choose auto"
        )
    if precision == "auto":
        # GPUs before Ampere emulate bfloat16, as CPUs do.
        native = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float32
    return torch.float32 if precision == "float32" else torch.bfloat16
