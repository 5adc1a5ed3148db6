"""The released folder, through transformers' own doors."""

import shutil
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.files import read_json
from tsumugu.model.config import ModelConfig
from tsumugu.pipeline import run_stages
from tsumugu.recipe import Recipe, load_recipe
from tsumugu.release.card import describe
from tsumugu.release.generation import generate
from tsumugu.release.stage import LARGEST_DIFFERENCE, load_released
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.tokens.shards import open_tokens
from tsumugu.training.stage import load_trained


@torch.no_grad()
def test_released_logits_equal_ours(finished_run: Path, recipe: Recipe) -> None:
    vocab_size = load_encoder(finished_run / "tokenizer").vocab_size
    ours = load_trained(recipe, finished_run / "pretrain", vocab_size=vocab_size)
    released, _ = load_released(finished_run / "release")
    for document in open_tokens(finished_run / "tokens", "validation").each_document():
        tokens = torch.from_numpy(document[:128])[None]
        assert (ours(tokens) - released(tokens).logits).abs().max() < LARGEST_DIFFERENCE


@pytest.mark.parametrize(
    ("overrides", "model_class", "described"),
    [
        (["model.architecture=gpt2"], "GPT2LMHeadModel", "GPT-2: learned positions"),
        (
            ["model.architecture=llama", "model.num_key_value_heads=1", "model.tie_word_embeddings=false"],
            "LlamaForCausalLM",
            "Llama: rotary positions, RMSNorm, SwiGLU, no biases, separate output embedding",
        ),
        (["model.architecture=llama", "model.qk_norm=true"], "Qwen3ForCausalLM", "norms on queries and keys"),
    ],
)
def test_every_family_is_trained_checked_and_released(
    finished_run: Path,
    recipe_path: Path,
    tmp_path: Path,
    overrides: list[str],
    model_class: str,
    described: str,
) -> None:
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    said: list[str] = []
    recipe = load_recipe(recipe_path, [*overrides, "pretrain.steps=6", "pretrain.validation_every=6"])
    run_stages(recipe, run, last="release", resources=Resources(1), say=said.append)
    assert "tokens: already done" in said
    model, _ = load_released(run / "release")
    assert type(model).__name__ == model_class
    # It has 128 positions.
    assert generate(run / "release", ["昨日、"], seed=0, max_new_tokens=200)[0]
    card = (run / "release" / "README.md").read_text(encoding="utf-8")
    assert described in card
    assert f"`{model_class}` in transformers" in card
    assert yaml.safe_load(card.split("---\n")[1])["tags"] == ["japanese", model.config.model_type, "tsumugu"]


def test_the_card_describes_the_residuals_of_gpt_neox() -> None:
    shape = {"num_hidden_layers": 1, "hidden_size": 8, "num_attention_heads": 1}
    assert "GELU, sequential residual, tied embeddings" in describe(ModelConfig.model_validate(shape))
    parallel = ModelConfig.model_validate({**shape, "parallel_residual": True})
    assert "GELU, parallel residual, tied embeddings" in describe(parallel)


def test_the_folder_holds_what_people_and_tools_look_for(finished_run: Path) -> None:
    folder = finished_run / "release"
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        "config.json", "generation_config.json", "model.safetensors", "spiece.model", "tokenizer.json",
        "tokenizer_config.json", "special_tokens_map.json", "README.md",
    }  # fmt: skip
    assert "auto_map" not in read_json(folder / "config.json")
    # Tied: the output embedding is not stored a second time.
    assert "embed_out.weight" not in load_file(folder / "model.safetensors")


def test_the_card_states_license_data_training_and_scores(finished_run: Path) -> None:
    card = (finished_run / "release" / "README.md").read_text(encoding="utf-8")
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "apache-2.0"
    counts = read_json(finished_run / "corpus" / "manifest.json")["counts"]
    scores = read_json(finished_run / "evaluate" / "scores.json")
    assert f"| test-pages | CC0-1.0 | {counts['in']} | {counts['kept']} |" in body
    assert f"{scores['perplexity']['models']['model']['bits_per_byte']:.4f}" in body
    assert "| optimizer | AdamW, beta1 0.9, beta2 0.95, " in body
    assert "steps of warm-up, cosine decay to 0.1 of it |" in body
    assert "kotowari" in body


def test_the_same_seed_writes_the_same_text(finished_run: Path) -> None:
    texts = [
        generate(finished_run / "release", ["昨日、"], seed=seed, max_new_tokens=20) for seed in (0, 0, 1)
    ]
    assert texts[0] == texts[1] != texts[2]


def test_a_prompt_without_room_for_an_answer_is_refused(finished_run: Path) -> None:
    with pytest.raises(TsumuguError, match=r"'昨日、昨日、.* tokens, and the model only 128 positions"):
        generate(finished_run / "release", ["昨日、" * 100], seed=0)


def test_a_folder_without_a_model_is_explained(tmp_path: Path) -> None:
    with pytest.raises(TsumuguError, match="not a model directory"):
        generate(tmp_path, ["x"], seed=0)
