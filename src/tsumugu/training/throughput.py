"""How much of a device is used: its most operations per second, and memory."""

import re
import resource
import sys

import torch

_PEAKS: tuple[tuple[str, float], ...] = (
    # Rows with two words stand before those with one of them.
    ("GB300", 2500e12),  # GB300 NVL72 page: 5 PFLOP/s with sparsity
    ("GB200", 2500e12),  # GB200 NVL72 datasheet: 5 PFLOP/s with sparsity
    ("B200", 2250e12),  # HGX page: 36 PFLOP/s with sparsity for eight
    ("GH200", 989e12),  # GH200 datasheet: 1,979 with sparsity
    ("H200 NVL", 836e12),  # H200 datasheet: 1,671 with sparsity
    ("H200", 989e12),  # H200 datasheet: 1,979 with sparsity
    ("H100 NVL", 835e12),  # H100 NVL product brief: 1,671 with sparsity
    ("H100 PCIe", 756e12),  # H100 PCIe datasheet: 1,513 with sparsity
    ("H100", 989e12),  # SXM. H100 datasheet: 1,979 with sparsity
    ("H800 PCIe", 756e12),  # as H100: what is less is the interconnect
    ("H800", 989e12),
    ("H20", 148e12),  # H20 datasheet
    ("A100", 312e12),  # A100 datasheet, all forms
    ("A800", 312e12),
    ("A40", 149.7e12),  # A40 datasheet
    ("A30", 165e12),  # A30 datasheet
    ("A10", 125e12),  # A10 datasheet
    ("L40S", 362e12),  # L40S datasheet: 362.05
    ("L40", 181e12),  # L40 datasheet: 181.05
    ("L4", 121e12),  # L4 datasheet: 242 with sparsity
    ("RTX A6000", 154.8e12),  # RTX A6000 datasheet: 309.7 with sparsity
    # GeForce, sums in float32: NVIDIA's white papers on Blackwell, Ada and GA102, appendices.
    ("5090", 209.5e12),
    ("4090", 165.2e12),
    ("4080", 97.5e12),
    ("3090", 71e12),
    ("MI325X", 1307.4e12),  # AMD Instinct datasheets
    ("MI300X", 1307.4e12),
    ("MI250X", 383e12),
)
"""Operations per second in bfloat16 without sparsity, by words in a device's name."""

_OTHER_DEVICES = {"Laptop", "MIG", "D", "SUPER"}
"""Words in the names of devices that are slower than their namesakes, or parts of them."""


def peak_flops(device_name: str) -> float | None:
    """Operations per second of a device in bfloat16, without sparsity.

    The share of these that training reaches, `flops_per_token * tokens per second / peak_flops`, is its MFU.

    Args:
        device_name: as `torch.cuda.get_device_name()` says it.

    Returns:
        None for a device that is not in the table.
    """
    words = set(re.findall(r"\w+", device_name))
    if words & _OTHER_DEVICES:
        return None
    return next((peak for name, peak in _PEAKS if words >= set(name.split())), None)


def memory_in_use(device: torch.device) -> int:
    """The most bytes that were in use at once so far: by tensors on a GPU, by this process elsewhere."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
