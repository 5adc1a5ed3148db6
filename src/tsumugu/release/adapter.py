"""The map between our parameter names and those of transformers' `GPTNeoXForCausalLM`.

Names change, nothing else: a released model computes the same function.
"""

from torch import Tensor

from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder

_TOP = {
    "embedding.weight": "gpt_neox.embed_in.weight",
    "norm.weight": "gpt_neox.final_layer_norm.weight",
    "norm.bias": "gpt_neox.final_layer_norm.bias",
}
_LAYER = {
    "attention_norm": "input_layernorm",
    "attention.qkv": "attention.query_key_value",
    "attention.output": "attention.dense",
    "mlp_norm": "post_attention_layernorm",
    "mlp.up": "mlp.dense_h_to_4h",
    "mlp.down": "mlp.dense_4h_to_h",
}


def to_hugging_face(model: Decoder) -> dict[str, Tensor]:
    """The weights of `model` under transformers' names. The tied output embedding is not repeated."""
    tensors = {}
    for name, parameter in model.named_parameters():
        value = parameter.detach()
        tensors[hugging_face_name(name)] = value.contiguous()
    return tensors


def hugging_face_name(name: str) -> str:
    """Transformers' name of our parameter `name`."""
    if name in _TOP:
        return _TOP[name]
    _, index, rest = name.split(".", 2)
    part, kind = rest.rsplit(".", 1)
    return f"gpt_neox.layers.{index}.{_LAYER[part]}.{kind}"


def hugging_face_config(
    config: ModelConfig, *, vocab_size: int, bos: int | None, eos: int, pad: int
) -> dict[str, object]:
    """Arguments of transformers' `GPTNeoXConfig` for this model."""
    return {
        "vocab_size": vocab_size,
        "hidden_size": config.hidden_size,
        "num_hidden_layers": config.num_hidden_layers,
        "num_attention_heads": config.num_attention_heads,
        "intermediate_size": config.mlp_size,
        "hidden_act": "gelu",
        "max_position_embeddings": config.max_position_embeddings,
        "rope_parameters": {
            "rope_type": "default",
            "rope_theta": config.rotary_base,
            "partial_rotary_factor": 1.0,
        },
        "rotary_pct": 1.0,
        "rotary_emb_base": config.rotary_base,
        "layer_norm_eps": config.norm_eps,
        "use_parallel_residual": False,
        "attention_bias": True,
        "attention_dropout": 0.0,
        "hidden_dropout": 0.0,
        "tie_word_embeddings": True,
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "architectures": ["GPTNeoXForCausalLM"],
        "dtype": "float32",
    }
