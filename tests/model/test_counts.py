"""Parameters and operations from a shape, beside those of the model that is built of it."""

from typing import Literal

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from tsumugu.model.config import ModelConfig
from tsumugu.model.counts import flops_per_token, muon_flops, parameter_count
from tsumugu.model.decoder import Decoder, count_parameters
from tsumugu.model.presets import PRESETS
from tsumugu.training.config import OptimizerConfig
from tsumugu.training.optimizer import build_optimizer


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("preset", PRESETS)
def test_parameters_are_those_of_the_model(preset: str, tied: bool) -> None:
    config = ModelConfig.model_validate({"preset": preset, "tie_word_embeddings": tied})
    with torch.device("meta"):
        model = Decoder(config, 51_200)
    assert parameter_count(config, 51_200) == count_parameters(model)


@pytest.mark.parametrize(
    ("preset", "published"),
    [("japanese-large-lm-1.7b", 1_652_230_656), ("japanese-large-lm-3.6b", 3_555_876_864)],
)
def test_parameters_are_the_published_ones(preset: str, published: int) -> None:
    assert parameter_count(ModelConfig.model_validate({"preset": preset}), 51_200) == published


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


@pytest.mark.parametrize("preset", PRESETS)
def test_operations_are_those_that_torch_counts(preset: str) -> None:
    config = ModelConfig.model_validate({"preset": preset})
    length = config.max_position_embeddings
    with torch.device("meta"):
        model = Decoder(config, 51_200)
        tokens = torch.zeros(1, length, dtype=torch.int64)
    # Logits instead of the loss, which has the same three products; on the meta device attention is products
    # too, of the whole square of scores.
    with FlopCounterMode(display=False) as counter:
        logits = model(tokens)
        logits.backward(torch.ones_like(logits))
    counted = counter.get_total_flops()
    assert counted == pytest.approx(length * flops_per_token(config, 51_200, length), rel=0.01)


@pytest.mark.parametrize(("preset", "ns_steps"), [("tiny-gpt-neox", 5), ("tiny-llama", 5), ("tiny-llama", 3)])
def test_operations_of_muon_are_those_of_its_step(preset: str, ns_steps: Literal[3, 5]) -> None:
    config = ModelConfig.model_validate({"preset": preset})
    model = Decoder(config, 300)
    settings = OptimizerConfig(name="muon", learning_rate=1e-3, muon_ns_steps=ns_steps)
    optimizer = build_optimizer(model.named_parameters(), settings, model=config)
    for parameter in model.parameters():
        parameter.grad = torch.randn_like(parameter)
    with FlopCounterMode(display=False) as counter:
        optimizer.step()
    assert counter.get_total_flops() == muon_flops(config, ns_steps)
