"""Models that leave for transformers and models that come from it: the same function, or a refusal."""

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from decoders import KINDS, VOCABULARY, decoder, some_tokens
from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, write_json
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.release.adapter import (
    config_from_hugging_face,
    from_hugging_face,
    hugging_face_config,
    to_hugging_face,
)

every_kind = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())


def exported(config: ModelConfig) -> dict[str, Any]:
    return hugging_face_config(config, vocab_size=VOCABULARY, bos=1, eos=2, pad=3)


def with_all_sizes(config: ModelConfig) -> ModelConfig:
    """What was left to be as usual, said."""
    heads = config.key_value_heads if config.architecture == "llama" else None
    return config.model_copy(
        update={"intermediate_size": config.mlp_size, "num_key_value_heads": heads, "preset": None}
    )


@every_kind
@torch.no_grad()
def test_logits_equal_those_of_transformers(config: ModelConfig, tmp_path: Path) -> None:
    model = decoder(config)
    write_json(tmp_path / "config.json", exported(config))
    save_file(to_hugging_face(model), tmp_path / "model.safetensors", metadata={"format": "pt"})
    theirs, loading = AutoModelForCausalLM.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(loading.values()), loading
    assert exported(config)["architectures"] == [type(theirs).__name__]
    tokens = some_tokens(3, 64)
    assert (model(tokens) - theirs.eval()(tokens).logits).abs().max() < 1e-5


@torch.no_grad()
def test_logits_are_equal_far_from_the_first_position() -> None:
    config = ModelConfig(
        architecture="llama",
        num_hidden_layers=1,
        hidden_size=32,
        num_attention_heads=1,
        max_position_embeddings=8192,
        rotary_base=500_000.0,
    )
    model = decoder(config)
    theirs = AutoModelForCausalLM.from_config(AutoConfig.for_model(**exported(config)))
    theirs.load_state_dict(to_hugging_face(model), strict=False)
    tokens, places = some_tokens(1, 64), torch.arange(8192 - 64, 8192)[None]
    found = theirs.eval()(tokens, position_ids=places).logits
    assert (model(tokens, positions=places) - found).abs().max() < 1e-5


@every_kind
@torch.no_grad()
def test_what_transformers_saves_computes_the_same_here(config: ModelConfig, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = AutoModelForCausalLM.from_config(AutoConfig.for_model(**exported(config))).eval()
    for parameter in theirs.parameters():
        parameter.add_(0.1 * torch.randn_like(parameter))
    theirs.save_pretrained(tmp_path)
    found = config_from_hugging_face(read_json(tmp_path / "config.json"))
    assert found == with_all_sizes(config)
    ours = Decoder(found, VOCABULARY).eval()
    weights = from_hugging_face(load_file(tmp_path / "model.safetensors"), found)
    assert list(weights) == [name for name, _ in ours.named_parameters()]
    ours.load_state_dict(weights, strict=False)
    tokens = some_tokens(3, 64)
    assert (ours(tokens) - theirs(tokens).logits).abs().max() < 1e-5


@every_kind
def test_export_and_import_give_the_same_model_back(config: ModelConfig) -> None:
    model = decoder(config)
    back = config_from_hugging_face(exported(config))
    assert back == with_all_sizes(config)
    weights = from_hugging_face(to_hugging_face(model), back)
    expected = dict(model.named_parameters())
    assert weights.keys() == expected.keys()
    assert all(torch.equal(weights[name], expected[name]) for name in weights)


@every_kind
def test_dropout_is_off_in_a_released_model(config: ModelConfig) -> None:
    theirs = AutoModelForCausalLM.from_config(AutoConfig.for_model(**exported(config)))
    rates = [module.p for module in theirs.modules() if isinstance(module, torch.nn.Dropout)]
    rates += [value for key, value in theirs.config.to_dict().items() if key.startswith("attention_drop")]
    assert not any(rates)


def test_weights_keep_their_precision() -> None:
    config = KINDS["llama"]
    half = {name: value.bfloat16() for name, value in to_hugging_face(decoder(config)).items()}
    assert {value.dtype for value in from_hugging_face(half, config).values()} == {torch.bfloat16}


def test_older_files_carry_masks_frequencies_and_the_tied_embedding_again() -> None:
    for kind, embedding, others in (
        ("gpt2", "transformer.wte.weight", ["transformer.h.0.attn.bias", "transformer.h.1.attn.masked_bias"]),
        (
            "gpt-neox",
            "gpt_neox.embed_in.weight",
            ["gpt_neox.layers.0.attention.bias", "gpt_neox.layers.1.attention.rotary_emb.inv_freq"],
        ),
        ("llama", "model.embed_tokens.weight", ["model.layers.0.self_attn.rotary_emb.inv_freq"]),
    ):
        model = decoder(KINDS[kind])
        tensors = to_hugging_face(model)
        tensors |= dict.fromkeys(others, torch.ones(1)) | {"lm_head.weight": tensors[embedding].clone()}
        weights = from_hugging_face(tensors, model.config)
        assert weights.keys() == dict(model.named_parameters()).keys()


def test_configurations_of_older_transformers_are_read() -> None:
    neox = {
        "model_type": "gpt_neox",
        "hidden_act": "gelu",
        "hidden_size": 3072,
        "intermediate_size": 12288,
        "num_attention_heads": 32,
        "num_hidden_layers": 30,
        "rotary_emb_base": 10000,
        "rotary_pct": 1.0,
        "tie_word_embeddings": True,
        "torch_dtype": "float16",
        "use_parallel_residual": False,
        "vocab_size": 51200,
    }
    assert config_from_hugging_face(neox) == with_all_sizes(
        ModelConfig.model_validate({"preset": "japanese-large-lm-3.6b"})
    )
    gpt2 = {
        "model_type": "gpt2",
        "activation_function": "gelu",
        "attn_pdrop": 0.1,
        "n_embd": 2304,
        "n_head": 24,
        "n_layer": 24,
        "n_positions": 2048,
        "n_ctx": 2048,
        "vocab_size": 51200,
    }
    # GPT-2's MLP is four times as wide unless the configuration says something else.
    expected = ModelConfig.model_validate({"preset": "japanese-large-lm-1.7b"})
    assert config_from_hugging_face(gpt2) == expected.model_copy(update={"preset": None})
    llama = {
        "model_type": "llama",
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_attention_heads": 32,
        "num_hidden_layers": 32,
        "rms_norm_eps": 1e-5,
        "rope_scaling": None,
        "rope_theta": 1000000.0,
    }
    found = config_from_hugging_face(llama)
    assert (found.rotary_base, found.key_value_heads, found.tie_word_embeddings) == (1e6, 32, False)


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("gpt2", {"model_type": "bert"}, "knows gpt2, gpt_neox, llama, qwen3"),
        (
            "gpt2",
            {"activation_function": "gelu_new"},
            "activation_function = 'gelu_new', which must be 'gelu'",
        ),
        ("gpt2", {"scale_attn_by_inverse_layer_idx": True}, "scale_attn_by_inverse_layer_idx = True"),
        ("gpt2", {"scale_attn_weights": False}, "scale_attn_weights = False"),
        ("gpt2", {"add_cross_attention": True}, "add_cross_attention = True"),
        ("gpt-neox", {"hidden_act": "gelu_fast"}, "hidden_act = 'gelu_fast'"),
        ("gpt-neox", {"attention_bias": False}, "attention_bias = False, which must be True"),
        ("gpt-neox", {"rope_parameters": None, "rotary_pct": 0.25}, "'partial_rotary_factor': 0.25"),
        ("llama", {"hidden_act": "gelu"}, "hidden_act = 'gelu', which must be 'silu'"),
        ("llama", {"attention_bias": True}, "attention_bias = True"),
        ("llama", {"mlp_bias": True}, "mlp_bias = True"),
        ("llama", {"head_dim": 16}, "head_dim = 16, which must be 8"),
        ("llama", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "'factor': 2.0"),
        (
            "llama",
            {"rope_parameters": {"rope_type": "dynamic", "rope_theta": 10000.0, "factor": 4.0}},
            "'rope_type': 'dynamic'",
        ),
        ("llama", {"quantization_config": {"quant_method": "gptq"}}, "quantized"),
        (
            "llama, norms on queries and keys, untied",
            {"use_sliding_window": True},
            "use_sliding_window = True",
        ),
        ("llama, norms on queries and keys, untied", {"head_dim": 128}, "head_dim = 128"),
        ("llama", {"num_key_value_heads": 3}, "num_key_value_heads = 3 does not divide"),
        ("llama", {"num_hidden_layers": 0}, "num_hidden_layers Input should be greater"),
        ("llama", {"num_hidden_layers": "two"}, "num_hidden_layers"),
        ("llama", {"hidden_size": 33}, "hidden size (33)"),
    ],
)
def test_what_our_decoder_cannot_compute_is_refused(kind: str, change: dict[str, Any], told: str) -> None:
    given = {**exported(KINDS[kind]), **change}
    before = repr(given)
    with pytest.raises(TsumuguError) as caught:
        config_from_hugging_face(given)
    assert told in str(caught.value)
    assert repr(given) == before


def test_everything_that_differs_is_told_at_once() -> None:
    with pytest.raises(TsumuguError) as caught:
        config_from_hugging_face({**exported(KINDS["llama"]), "mlp_bias": True, "hidden_act": "relu"})
    assert "hidden_act = 'relu'" in str(caught.value)
    assert "mlp_bias = True" in str(caught.value)


def _without_a_bias(tensors: dict[str, Tensor]) -> None:
    del tensors["transformer.h.1.mlp.c_fc.bias"]


def _without_the_embedding(tensors: dict[str, Tensor]) -> None:
    del tensors["transformer.wte.weight"]


def _one_layer_more(tensors: dict[str, Tensor]) -> None:
    tensors["transformer.h.2.ln_1.bias"] = tensors["transformer.h.1.ln_1.bias"]


def _wider(tensors: dict[str, Tensor]) -> None:
    tensors["transformer.h.0.mlp.c_fc.weight"] = torch.zeros(32, 256)


def _another_output(tensors: dict[str, Tensor]) -> None:
    tensors["lm_head.weight"] = torch.zeros(VOCABULARY, 32)


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (_without_a_bias, "transformer.h.1.mlp.c_fc.bias is missing"),
        (_without_the_embedding, "transformer.wte.weight is missing"),
        (_one_layer_more, "transformer.h.2.ln_1.bias has no place in this model"),
        (_wider, "transformer.h.0.mlp.c_fc.weight is [32, 256] instead of [32, 128]"),
        (_another_output, "lm_head.weight differs from transformer.wte.weight"),
    ],
)
def test_weights_that_do_not_fit_the_configuration_are_refused(spoil: Any, told: str) -> None:
    tensors = to_hugging_face(decoder(KINDS["gpt2"]))
    spoil(tensors)
    with pytest.raises(TsumuguError, match=r"^[^;]+$") as caught:
        from_hugging_face(tensors, KINDS["gpt2"])
    assert told in str(caught.value)
