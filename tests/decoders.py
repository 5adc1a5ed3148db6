"""Small decoders of every kind that there is, for the tests of what they compute."""

import torch

from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.model.initialization import initialize

VOCABULARY = 101


def _small(**keys: object) -> ModelConfig:
    shape = {
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "max_position_embeddings": 64,
    }
    return ModelConfig.model_validate({**shape, **keys})


KINDS = {
    "gpt2": _small(architecture="gpt2"),
    "gpt2, untied, three heads": _small(
        architecture="gpt2",
        hidden_size=48,
        num_attention_heads=3,
        intermediate_size=80,
        norm_eps=1e-3,
        tie_word_embeddings=False,
    ),
    "gpt-neox": _small(),
    "gpt-neox, untied, other sizes": _small(
        hidden_size=48,
        num_attention_heads=3,
        intermediate_size=80,
        rotary_base=500.0,
        norm_eps=1e-3,
        tie_word_embeddings=False,
    ),
    "gpt-neox, parallel residual": _small(parallel_residual=True),
    "llama": _small(architecture="llama"),
    "llama, grouped, untied": _small(
        architecture="llama",
        num_key_value_heads=2,
        rotary_base=500.0,
        norm_eps=1e-3,
        tie_word_embeddings=False,
    ),
    "llama, one key-value head": _small(architecture="llama", num_key_value_heads=1),
    "llama, grouped, norms on queries and keys": _small(
        architecture="llama", num_key_value_heads=2, qk_norm=True, norm_eps=1e-3
    ),
    "llama, norms on queries and keys, untied": _small(
        architecture="llama", qk_norm=True, tie_word_embeddings=False
    ),
}


def decoder(config: ModelConfig, *, seed: int = 3) -> Decoder:
    """In evaluation mode, every weight another number."""
    model = Decoder(config, VOCABULARY)
    initialize(model, seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        # Biases and norms start at zero and one, where mistakes in their place would not show.
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return model.eval()


def some_tokens(rows: int, length: int, *, seed: int = 0) -> torch.Tensor:
    """`int64 [rows, length]`."""
    return torch.randint(0, VOCABULARY, (rows, length), generator=torch.Generator().manual_seed(seed))
