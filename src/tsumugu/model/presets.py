"""Published shapes, and small ones of each family to try things with.

The two japanese-large-lm are LINE's models of 2023 (https://huggingface.co/line-corporation): with
their vocabulary of 51,200 pieces they have 1,652,230,656 and 3,555,876,864 parameters. The two
`tsumugu` are as large, in today's form: grouped-query attention, SwiGLU, RMSNorm, and norms on
queries and keys; their widths divide by 8, for tensor parallelism.
"""

from typing import Any

PRESETS: dict[str, dict[str, Any]] = {
    "japanese-large-lm-1.7b": {
        "architecture": "gpt2",
        "num_hidden_layers": 24,
        "hidden_size": 2304,
        "num_attention_heads": 24,
        "max_position_embeddings": 2048,
    },
    "japanese-large-lm-3.6b": {
        "architecture": "gpt-neox",
        "num_hidden_layers": 30,
        "hidden_size": 3072,
        "num_attention_heads": 32,
        "max_position_embeddings": 2048,
    },
    "tsumugu-1.7b": {
        "architecture": "llama",
        "num_hidden_layers": 32,
        "hidden_size": 2048,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "intermediate_size": 6144,
        "max_position_embeddings": 4096,
        "rotary_base": 500_000.0,
        "qk_norm": True,
    },
    "tsumugu-3.6b": {
        "architecture": "llama",
        "num_hidden_layers": 32,
        "hidden_size": 3072,
        "num_attention_heads": 24,
        "num_key_value_heads": 8,
        "intermediate_size": 9216,
        "max_position_embeddings": 4096,
        "rotary_base": 500_000.0,
        "qk_norm": True,
    },
    "tiny-gpt2": {
        "architecture": "gpt2",
        "num_hidden_layers": 4,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
    },
    "tiny-gpt-neox": {
        "architecture": "gpt-neox",
        "num_hidden_layers": 4,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
    },
    "tiny-llama": {
        "architecture": "llama",
        "num_hidden_layers": 4,
        "hidden_size": 64,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 256,
        "qk_norm": True,
    },
}
