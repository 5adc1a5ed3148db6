"""What llama.cpp calls the parts and sizes of our decoder.

Three things differ beside names. Queries, keys and values of GPT-2 and GPT-NeoX lie in one matrix, all
queries first. Llama's rotary positions turn neighbouring numbers, ours the two halves of a head, so rows
of queries and keys change places (Qwen3, which is Llama with norms on them, turns halves as we do). And
GPT-NeoX has an output matrix in any case.

Sources: `src/models/*.cpp` and `conversion/*.py` of llama.cpp.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from tsumugu.model.config import ModelConfig
from tsumugu.release.adapter import split_rows
from tsumugu.release.families import GPT_NEOX, LLAMA, family_of

_ARCHITECTURES = {"gpt2": "gpt2", "gpt_neox": "gptneox", "llama": "llama", "qwen3": "qwen3"}
_TOP = {
    "embedding": "token_embd",
    "position_embedding": "position_embd",
    "norm": "output_norm",
    "head": "output",
}
_LAYER = {
    "attention_norm": "attn_norm",
    "attention.output": "attn_output",
    "attention.q_norm": "attn_q_norm",
    "attention.k_norm": "attn_k_norm",
    "mlp_norm": "ffn_norm",
    "mlp.gate": "ffn_gate",
    "mlp.up": "ffn_up",
    "mlp.down": "ffn_down",
}


def architecture_of(config: ModelConfig) -> str:
    """`general.architecture`."""
    return _ARCHITECTURES[family_of(config).model_type]


def sizes_of(config: ModelConfig, vocab_size: int) -> Mapping[str, Any]:
    """Keys and values below the architecture's name; those of floats are float32."""
    family = family_of(config)
    found: dict[str, Any] = {
        "vocab_size": vocab_size,
        "context_length": config.max_position_embeddings,
        "embedding_length": config.hidden_size,
        "block_count": config.num_hidden_layers,
        "feed_forward_length": config.mlp_size,
        "attention.head_count": config.num_attention_heads,
        "attention.head_count_kv": config.key_value_heads,
    }
    if family.rotary:
        found["rope.dimension_count"] = config.head_size
        found["rope.freq_base"] = float(config.rotary_base)
    if config.architecture == "llama":
        found["attention.layer_norm_rms_epsilon"] = float(config.norm_eps)
        found["attention.key_length"] = found["attention.value_length"] = config.head_size
    else:
        found["attention.layer_norm_epsilon"] = float(config.norm_eps)
    if family is GPT_NEOX:
        found["use_parallel_residual"] = config.parallel_residual
    return found


def to_gguf(name: str, value: Tensor, config: ModelConfig) -> dict[str, Tensor]:
    """Our parameter `name` as the tensors that llama.cpp has in its place."""
    module, kind = name.rsplit(".", 1)
    family = family_of(config)
    if module in _TOP:
        found = {f"{_TOP[module]}.{kind}": value}
        if module == "embedding" and family is GPT_NEOX and config.tie_word_embeddings:
            found[f"output.{kind}"] = value
        return found
    _, index, module = module.split(".", 2)
    block = f"blk.{index}"
    if module != "attention.qkv":
        return {f"{block}.{_LAYER[module]}.{kind}": value}
    queries, keys, values = split_rows(value, config)
    if config.architecture != "llama":
        return {f"{block}.attn_qkv.{kind}": torch.cat((queries, keys, values))}
    if family is LLAMA:
        queries, keys = (_neighbours(part, config.head_size) for part in (queries, keys))
    return {
        f"{block}.attn_{letter}.{kind}": part
        for letter, part in zip("qkv", (queries, keys, values), strict=True)
    }


def _neighbours(rows: Tensor, head_size: int) -> Tensor:
    """Rows `[H * K, ...]` of heads whose halves turn together, as pairs of neighbours that do."""
    halves = rows.reshape(-1, 2, head_size // 2, *rows.shape[1:])  # [H, 2, K / 2, ...]
    return halves.transpose(1, 2).reshape(rows.shape)
