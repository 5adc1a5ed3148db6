"""The released folder, through transformers' own doors."""

from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json
from tsumugu.recipe import Recipe
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


def test_a_folder_without_a_model_is_explained(tmp_path: Path) -> None:
    with pytest.raises(TsumuguError, match="not a model directory"):
        generate(tmp_path, ["x"], seed=0)
