"""What transformers calls the parts and the sizes of our decoder: one table for each of its classes."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from tsumugu.model.config import Architecture, ModelConfig

_COMMON = (
    "num_hidden_layers",
    "hidden_size",
    "num_attention_heads",
    "intermediate_size",
    "max_position_embeddings",
    "tie_word_embeddings",
)


@dataclass(frozen=True)
class Family:
    """One class of transformers, and what of it is one of our architectures."""

    ours: Architecture
    model_type: str
    model_class: str
    top: Mapping[str, str]
    """Modules outside of the layers; ours: theirs, as they stand in files."""
    layers: str
    layer: Mapping[str, str]
    """Modules of a layer; ours: theirs."""
    qkv: tuple[str, ...]
    """Our `attention.qkv`: three modules where queries, keys and values are apart."""
    sizes: Mapping[str, str]
    """Keys of `ModelConfig`: theirs."""
    always: Mapping[str, object]
    """What our decoder does in any case, in their words."""
    dropouts: tuple[str, ...]
    """Their rates; no part of the function."""
    rotary: bool = True
    qk_norm: bool = False
    grouped_rows: bool = False
    """Rows of queries, keys and values in our order: by key-value head. Else queries, keys, values."""
    transposed: bool = False
    """Matrices of the layers as `[in, out]`."""

    def names(self, name: str) -> tuple[str, ...]:
        """Theirs of our parameter `name`: three for queries, keys and values where they are apart."""
        module, kind = name.rsplit(".", 1)
        if module in self.top:
            return (f"{self.top[module]}.{kind}",)
        _, index, module = module.split(".", 2)
        parts = self.qkv if module == "attention.qkv" else (self.layer[module],)
        return tuple(f"{self.layers}.{index}.{part}.{kind}" for part in parts)


GPT2 = Family(
    ours="gpt2",
    model_type="gpt2",
    model_class="GPT2LMHeadModel",
    top={
        "embedding": "transformer.wte",
        "position_embedding": "transformer.wpe",
        "norm": "transformer.ln_f",
        "head": "lm_head",
    },
    layers="transformer.h",
    layer={
        "attention_norm": "ln_1",
        "attention.output": "attn.c_proj",
        "mlp_norm": "ln_2",
        "mlp.up": "mlp.c_fc",
        "mlp.down": "mlp.c_proj",
    },
    qkv=("attn.c_attn",),
    sizes={
        "num_hidden_layers": "n_layer",
        "hidden_size": "n_embd",
        "num_attention_heads": "n_head",
        "intermediate_size": "n_inner",
        "max_position_embeddings": "n_positions",
        "tie_word_embeddings": "tie_word_embeddings",
        "norm_eps": "layer_norm_epsilon",
    },
    always={
        "activation_function": "gelu",
        "scale_attn_weights": True,
        "scale_attn_by_inverse_layer_idx": False,
        "add_cross_attention": False,
    },
    dropouts=("embd_pdrop", "resid_pdrop", "attn_pdrop"),
    rotary=False,
    transposed=True,
)
GPT_NEOX = Family(
    ours="gpt-neox",
    model_type="gpt_neox",
    model_class="GPTNeoXForCausalLM",
    top={
        "embedding": "gpt_neox.embed_in",
        "norm": "gpt_neox.final_layer_norm",
        # `lm_head` in the memory of transformers 5, which renames it as it reads and writes.
        "head": "embed_out",
    },
    layers="gpt_neox.layers",
    layer={
        "attention_norm": "input_layernorm",
        "attention.output": "attention.dense",
        "mlp_norm": "post_attention_layernorm",
        "mlp.up": "mlp.dense_h_to_4h",
        "mlp.down": "mlp.dense_4h_to_h",
    },
    qkv=("attention.query_key_value",),
    sizes={
        **{key: key for key in _COMMON},
        "norm_eps": "layer_norm_eps",
        "parallel_residual": "use_parallel_residual",
    },
    always={"hidden_act": "gelu", "attention_bias": True},
    dropouts=("hidden_dropout", "attention_dropout"),
    grouped_rows=True,
)
LLAMA = Family(
    ours="llama",
    model_type="llama",
    model_class="LlamaForCausalLM",
    top={"embedding": "model.embed_tokens", "norm": "model.norm", "head": "lm_head"},
    layers="model.layers",
    layer={
        "attention_norm": "input_layernorm",
        "attention.output": "self_attn.o_proj",
        "mlp_norm": "post_attention_layernorm",
        "mlp.gate": "mlp.gate_proj",
        "mlp.up": "mlp.up_proj",
        "mlp.down": "mlp.down_proj",
    },
    qkv=("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    sizes={
        **{key: key for key in _COMMON},
        "num_key_value_heads": "num_key_value_heads",
        "head_size": "head_dim",
        "norm_eps": "rms_norm_eps",
    },
    always={"hidden_act": "silu", "attention_bias": False, "mlp_bias": False},
    dropouts=("attention_dropout",),
)
# Llama with norms on queries and keys.
QWEN3 = replace(
    LLAMA,
    model_type="qwen3",
    model_class="Qwen3ForCausalLM",
    layer={
        **LLAMA.layer,
        "attention.q_norm": "self_attn.q_norm",
        "attention.k_norm": "self_attn.k_norm",
    },
    always={"hidden_act": "silu", "attention_bias": False, "use_sliding_window": False},
    qk_norm=True,
)
FAMILIES = (GPT2, GPT_NEOX, LLAMA, QWEN3)


def family_of(config: ModelConfig) -> Family:
    """The class of transformers that computes what a decoder of `config` does."""
    return next(
        each for each in FAMILIES if (each.ours, each.qk_norm) == (config.architecture, config.qk_norm)
    )
