"""Shapes of models: the published ones, and those that cannot be."""

import pytest
import torch
from pydantic import ValidationError

from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder, count_parameters
from tsumugu.model.presets import PRESETS

SHAPE = {"num_hidden_layers": 2, "hidden_size": 32, "num_attention_heads": 4}


def config(**keys: object) -> ModelConfig:
    return ModelConfig.model_validate(keys)


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [
        ("japanese-large-lm-1.7b", 1_652_230_656),
        ("japanese-large-lm-3.6b", 3_555_876_864),
        ("tsumugu-1.7b", 1_715_611_648),
        ("tsumugu-3.6b", 3_680_709_632),
    ],
)
def test_presets_have_the_published_numbers_of_parameters(preset: str, parameters: int) -> None:
    with torch.device("meta"):
        model = Decoder(config(preset=preset), 51_200)
    assert count_parameters(model) == parameters


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_a_whole_shape(preset: str) -> None:
    assert config(preset=preset).preset == preset


def test_keys_beside_a_preset_change_it() -> None:
    preset = config(preset="tsumugu-1.7b")
    changed = config(preset="tsumugu-1.7b", num_hidden_layers=2, num_key_value_heads=None)
    assert (changed.num_hidden_layers, changed.key_value_heads) == (2, 16)
    assert (preset.num_hidden_layers, preset.key_value_heads) == (32, 8)
    assert changed.qk_norm
    assert changed.hidden_size == 2048


def test_a_full_description_of_a_preset_reads_back_as_itself() -> None:
    changed = config(preset="tiny-llama", qk_norm=False)
    assert config(**changed.model_dump()) == changed


@pytest.mark.parametrize(
    ("architecture", "hidden_size", "width"),
    [
        ("gpt2", 32, 128),
        ("gpt-neox", 32, 128),
        ("llama", 32, 128),
        ("llama", 64, 192),
        ("llama", 4096, 10944),
    ],
)
def test_the_mlp_has_the_width_of_its_family_unless_given(
    architecture: str, hidden_size: int, width: int
) -> None:
    keys = {**SHAPE, "architecture": architecture, "hidden_size": hidden_size}
    assert config(**keys).mlp_size == width
    assert config(**keys, intermediate_size=40).mlp_size == 40


@pytest.mark.parametrize(
    ("keys", "told"),
    [
        ({"preset": "tsumugu-1b"}, "'tsumugu-1b' is not known; there are japanese-large-lm-1.7b, "),
        ({"preset": "tiny-llama", "architecture": "gpt2"}, "num_key_value_heads and qk_norm are for"),
        ({**SHAPE, "architecture": "llama2"}, "'gpt2', 'gpt-neox' or 'llama'"),
        ({**SHAPE, "num_attention_heads": 5}, "num_attention_heads = 5 does not divide hidden_size = 32"),
        ({**SHAPE, "num_attention_heads": 32}, "must be even; it is 1"),
        (
            {**SHAPE, "architecture": "llama", "num_key_value_heads": 3},
            "num_key_value_heads = 3 does not divide num_attention_heads = 4",
        ),
        (
            {**SHAPE, "architecture": "llama", "num_key_value_heads": 8},
            "num_key_value_heads = 8 does not divide",
        ),
        ({**SHAPE, "architecture": "gpt2", "num_key_value_heads": 2}, "for architecture = llama; it is gpt2"),
        ({**SHAPE, "num_key_value_heads": 2}, "for architecture = llama; it is gpt-neox"),
        ({**SHAPE, "qk_norm": True}, "for architecture = llama; it is gpt-neox"),
        (
            {**SHAPE, "architecture": "llama", "parallel_residual": True},
            "parallel_residual is for architecture = gpt-neox; it is llama",
        ),
        ({**SHAPE, "mup_base_width": 12}, "mup_base_width = 12 must be a multiple of 8: the number of heads"),
        (
            {**SHAPE, "architecture": "llama", "num_key_value_heads": 2, "mup_base_width": 24},
            "mup_base_width = 24 must be a multiple of 16: the number of heads",
        ),
        ({**SHAPE, "embedding_std": 1.0}, "set tie_word_embeddings = false"),
        (
            {**SHAPE, "depth_scaled_initialization": False, "weights": "nowhere"},
            "leave them out",
        ),
        ({"architecture": "llama"}, "num_hidden_layers"),
        ({**SHAPE, "hidden_sise": 3}, "hidden_sise"),
    ],
)
def test_shapes_that_cannot_be_are_refused(keys: dict[str, object], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        config(**keys)
    assert told in str(caught.value)


def test_odd_heads_are_for_learned_positions_alone() -> None:
    assert config(**{**SHAPE, "num_attention_heads": 32}, architecture="gpt2").head_size == 1
