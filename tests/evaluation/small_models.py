"""Small random models of transformers, with the tokenizer of the tests' finished run."""

import shutil
from pathlib import Path
from typing import Any

import torch

_SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {"n_layer": 2, "n_embd": 32, "n_head": 2},
    "gpt_neox": {
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "num_attention_heads": 2,
        "intermediate_size": 64,
        "use_parallel_residual": False,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 1.0},
    },
    "llama": {
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
    },
    # None of ours.
    "mistral": {
        "num_hidden_layers": 2,
        "hidden_size": 32,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "intermediate_size": 64,
        "sliding_window": None,
    },
    # Its positions are in the scores of attention, not in the embeddings.
    "bloom": {"n_layer": 2, "hidden_size": 32, "n_head": 2},
}
_TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


_POSITIONS = {"gpt2": "n_positions", "bloom": "seq_length"}


def write_small_model(
    folder: Path, tokenizer: Path, model_type: str, *, positions: int = 160, seed: int = 0
) -> Path:
    """A Hugging Face directory of a random model; the same for the same seed.

    Args:
        folder: made.
        tokenizer: a folder with a fast tokenizer.
        model_type: a key of the table above.
        positions: tokens that it sees at once.
        seed: of the weights.
    """
    from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast

    vocab = len(PreTrainedTokenizerFast.from_pretrained(tokenizer))
    shape = {**_SHAPES[model_type], _POSITIONS.get(model_type, "max_position_embeddings"): positions}
    if model_type == "gpt2":
        shape["activation_function"] = "gelu"
    config = AutoConfig.for_model(
        model_type,
        vocab_size=vocab,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=3,
        initializer_range=0.3,
        **shape,
    )
    torch.manual_seed(seed)
    model = AutoModelForCausalLM.from_config(config)
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    for name in _TOKENIZER:
        shutil.copy(tokenizer / name, folder / name)
    return folder
