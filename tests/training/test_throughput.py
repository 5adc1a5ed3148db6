"""Operations per token by hand, and the table of devices by their real names."""

import pytest
import torch

from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.training.throughput import flops_per_token, memory_in_use, peak_flops


def test_operations_of_japanese_large_lm_by_hand() -> None:
    model = ModelConfig.model_validate({"preset": "japanese-large-lm-1.7b"})
    layer = 3 * 2304 * 2304 + 2304 * 2304 + 2 * 2304 * 9216
    assert layer == 63_700_992
    matrices = 24 * layer + 51_200 * 2304
    assert matrices == 1_646_788_608
    attention = 12 * 24 * 24 * 96 * 2048
    assert attention == 1_358_954_496
    assert flops_per_token(model, 51_200, 2048) == 6 * matrices + attention == 11_239_686_144


@pytest.mark.parametrize("preset", ["tiny-gpt2", "tiny-gpt-neox", "tiny-llama"])
@pytest.mark.parametrize("tied", [False, True])
def test_matrices_are_those_of_the_model(preset: str, tied: bool) -> None:
    config = ModelConfig.model_validate({"preset": preset, "tie_word_embeddings": tied})
    model = Decoder(config, 100)
    inputs = 0 if tied else model.get_parameter("embedding.weight").numel()
    looked_up = {"position_embedding.weight"}
    matrices = sum(
        p.numel() for name, p in model.named_parameters() if p.dim() == 2 and name not in looked_up
    )
    attention = 12 * config.num_hidden_layers * config.hidden_size * 64
    assert flops_per_token(config, 100, 64) == 6 * (matrices - inputs) + attention


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
