"""The decoder against transformers, the judge of what GPT-NeoX is."""

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder, count_parameters
from tsumugu.model.initialization import initialize
from tsumugu.release.adapter import hugging_face_config, to_hugging_face

CONFIGS = [
    ModelConfig(num_hidden_layers=2, hidden_size=32, num_attention_heads=4, max_position_embeddings=64),
    ModelConfig(
        num_hidden_layers=1,
        hidden_size=48,
        num_attention_heads=3,
        intermediate_size=80,
        rotary_base=500.0,
        max_position_embeddings=64,
    ),
]
VOCABULARY = 101


def decoder(config: ModelConfig, seed: int = 3) -> Decoder:
    model = Decoder(config, VOCABULARY)
    initialize(model, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        # Biases and norms start at zero and one, where mistakes in their place would not show.
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


@pytest.mark.parametrize("config", CONFIGS)
@torch.no_grad()
def test_logits_equal_those_of_transformers(config: ModelConfig) -> None:
    model = decoder(config)
    other = GPTNeoXForCausalLM(
        GPTNeoXConfig(**hugging_face_config(config, vocab_size=VOCABULARY, bos=1, eos=2, pad=3))
    )
    missing, unexpected = other.load_state_dict(to_hugging_face(model), strict=False)
    assert unexpected == []
    # The output embedding, which transformers 5 calls lm_head and ties to the input's.
    assert missing == ["lm_head.weight"]
    other.tie_weights()
    tokens = torch.randint(0, VOCABULARY, (3, 64), generator=torch.Generator().manual_seed(0))
    assert (model(tokens) - other.eval()(tokens).logits).abs().max() < 1e-5


@torch.no_grad()
def test_no_position_sees_what_follows() -> None:
    model = decoder(CONFIGS[0])
    tokens = torch.randint(0, VOCABULARY, (1, 20))
    changed = tokens.clone()
    changed[0, 12:] = 5
    assert torch.equal(model(tokens)[:, :12], model(changed)[:, :12])


def test_initialisation_follows_line_s_formula_and_the_seed() -> None:
    config = ModelConfig(num_hidden_layers=8, hidden_size=256, num_attention_heads=4)
    model = Decoder(config, 1000)
    initialize(model, 0)
    std = (2 / (5 * 256)) ** 0.5
    weights = dict(model.named_parameters())
    assert weights["embedding.weight"].std().item() == pytest.approx(std, rel=0.02)
    assert weights["layers.3.mlp.up.weight"].std().item() == pytest.approx(std, rel=0.02)
    assert weights["layers.3.mlp.down.weight"].std().item() == pytest.approx(std / 4, rel=0.02)
    assert weights["layers.3.attention.output.weight"].std().item() == pytest.approx(std / 4, rel=0.02)
    other = Decoder(config, 1000)
    initialize(other, 0)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), other.parameters(), strict=True))


def test_line_s_3_6b_model_has_as_many_parameters_as_the_published_one() -> None:
    config = ModelConfig(num_hidden_layers=30, hidden_size=3072, num_attention_heads=32)
    with torch.device("meta"):
        model = Decoder(config, 51200)
    assert count_parameters(model) == 3_555_876_864
