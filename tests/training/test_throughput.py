"""The table of devices by their real names."""

import pytest
import torch

from tsumugu.training.throughput import memory_in_use, peak_flops


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA A100-SXM4-40GB", 312e12),
        ("NVIDIA A100 80GB PCIe", 312e12),
        ("NVIDIA H100 80GB HBM3", 989e12),
        ("NVIDIA H100 PCIe", 756e12),
        ("NVIDIA H100 NVL", 835e12),
        ("NVIDIA H200", 989e12),
        ("NVIDIA GH200 480GB", 989e12),
        ("NVIDIA B200", 2250e12),
        ("NVIDIA GB200", 2500e12),
        ("NVIDIA L4", 121e12),
        ("NVIDIA L40", 181e12),
        ("NVIDIA L40S", 362e12),
        ("NVIDIA RTX A6000", 154.8e12),
        ("NVIDIA GeForce RTX 4090", 165.2e12),
        ("AMD Instinct MI300X", 1307.4e12),
        ("NVIDIA GeForce RTX 4090 Laptop GPU", None),
        ("NVIDIA A100-SXM4-40GB MIG 1g.5gb", None),
        ("Tesla V100-SXM2-16GB", None),
        ("Intel(R) Xeon(R) CPU", None),
    ],
)
def test_devices_are_known_by_their_names(name: str, peak: float | None) -> None:
    assert peak_flops(name) == peak


def test_memory_of_a_process_grows_with_what_it_holds() -> None:
    device = torch.device("cpu")
    before = memory_in_use(device)
    held = torch.ones(2**26)
    assert memory_in_use(device) >= max(before, held.numel() * held.element_size())
