"""The released folder, through transformers' own doors."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from safetensors.torch import load_file

from tsumugu.cli import main
from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.files import checksums, read_json
from tsumugu.model.config import ModelConfig
from tsumugu.pipeline import run_stages
from tsumugu.recipe import Recipe, load_recipe
from tsumugu.release.card import describe
from tsumugu.release.card_metadata import card_head
from tsumugu.release.check import check_release
from tsumugu.release.config import ReleaseConfig
from tsumugu.release.export import export
from tsumugu.release.stage import LARGEST_DIFFERENCE, load_released
from tsumugu.talking.continuing import continuations
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
        (["model.architecture=gpt2", "release.dtype=float16"], "GPT2LMHeadModel", "GPT-2: learned positions"),
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
    assert continuations(str(run / "release"), ["昨日、"], seed=0, max_new_tokens=200)[0]
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
        "tokenizer_config.json", "special_tokens_map.json", "README.md", "LICENSE", "SHA256SUMS",
    }  # fmt: skip
    assert "auto_map" not in read_json(folder / "config.json")
    # Tied: the output embedding is not stored a second time.
    assert "embed_out.weight" not in load_file(folder / "model.safetensors")


def test_the_card_states_license_data_training_and_scores(finished_run: Path) -> None:
    card = (finished_run / "release" / "README.md").read_text(encoding="utf-8")
    _, front, body = card.split("---\n", 2)
    assert yaml.safe_load(front)["license"] == "apache-2.0"
    counts = read_json(finished_run / "corpus" / "manifest.json")["counts"]
    tokens = read_json(finished_run / "tokens" / "manifest.json")["counts"]["train"]["tokens"]
    scores = read_json(finished_run / "evaluate" / "scores.json")
    assert f"| test-pages | CC0-1.0 | {counts['in']} | {counts['kept']} | {tokens:,} |" in body
    assert "| too_short | `characters` below 100 | 0 |" in body
    assert "| near_duplicate | by the stage itself, which compares documents | 1 |" in body
    assert "Texts were changed by: unicode_repair, whitespace, foreign_paragraphs" in body
    assert "| hardware | CPU, 1 process (one process) |" in body
    assert re.search(r"\| computation \| [0-9.]+e\+[0-9]+ floating-point operations \|", body)
    assert re.search(r"\| hours \| [0-9.e-]+ \|", body)
    assert "shows\n  nothing" in body
    assert f"{scores['perplexity']['models']['model']['bits_per_byte']:.4f}" in body
    assert "| optimizer | AdamW, beta1 0.9, beta2 0.95, " in body
    assert "steps of warm-up, cosine decay to 0.1 of it |" in body
    assert "kotowari" in body


def test_the_head_of_the_card_is_what_the_hub_reads(finished_run: Path) -> None:
    data = ModelCard.load(finished_run / "release" / "README.md").data
    assert (data.language, data.library_name, data.pipeline_tag) == ("ja", "transformers", "text-generation")
    scores = read_json(finished_run / "evaluate" / "scores.json")
    found = {(result.dataset_type, result.metric_type): result.metric_value for result in data.eval_results}
    assert found["kotowari", "acc"] == scores["tasks"]["kotowari"]["metrics"]["acc"]["value"]
    assert found["held-out", "bits_per_byte"] == scores["perplexity"]["models"]["model"]["bits_per_byte"]
    assert (data.datasets, data.base_model) == (None, None)


def test_the_card_names_data_sets_and_base_model_of_the_hub(recipe: Recipe) -> None:
    entry = recipe.corpus.inputs[0]
    inputs = [
        entry.model_copy(update={"path": f"hf://datasets/{name}", "source": name})
        for name in ("allenai/c4@1588ec4", "allenai/c4", "someone/pages")
    ]
    other = recipe.model_copy(
        update={
            "corpus": recipe.corpus.model_copy(update={"inputs": tuple(inputs)}),
            "release": ReleaseConfig(base_model="line-corporation/japanese-large-lm-1.7b"),
        }
    )
    data = ModelCard(f"---\n{card_head(other, None)}\n---\n").data
    assert data.datasets == ["allenai/c4", "someone/pages"]
    assert data.base_model == "line-corporation/japanese-large-lm-1.7b"
    assert data.eval_results is None


def test_a_license_needs_its_text(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="Name a file with the text: license_file"):
        ReleaseConfig(license="mit")
    with pytest.raises(ValueError, match="license_name goes with license = other"):
        ReleaseConfig(license="other", license_file="LICENSE")
    assert ReleaseConfig(license="other", license_file="LICENSE", license_name="ours").license == "other"


def test_sums_are_those_that_sha256sum_checks(finished_run: Path) -> None:
    found = subprocess.run(
        ["sha256sum", "--check", "--strict", "SHA256SUMS"],
        cwd=finished_run / "release",
        capture_output=True,
        text=True,
        check=True,
    )
    assert "model.safetensors: OK" in found.stdout
    assert "LICENSE: OK" in found.stdout


def test_a_checkpoint_of_half_a_training_is_exported(finished_run: Path, tmp_path: Path) -> None:
    checkpoint = finished_run / "pretrain" / "checkpoints" / "step-35"
    out = tmp_path / "out"
    words = ["release", "export", str(checkpoint), str(out), "--dtype", "bfloat16", "--max-shard-size"]
    assert main([*words, "60KB"]) == 0
    card = (out / "README.md").read_text(encoding="utf-8")
    assert "**This is a checkpoint of a training that was not done**: step 35 of 40." in card
    assert "These weights have not been evaluated." in card
    assert "stored in bfloat16" in card
    assert read_json(out / "config.json")["dtype"] == "bfloat16"
    assert not check_release(out).wrong
    assert main([*words, "60KB"]) == 1


def test_an_export_of_the_run_is_the_release(finished_run: Path, tmp_path: Path) -> None:
    export(finished_run, tmp_path / "out")
    expected = checksums(finished_run / "release")
    del expected["manifest.json"]
    assert checksums(tmp_path / "out") == expected


def test_places_without_a_checkpoint_are_explained(finished_run: Path, tmp_path: Path) -> None:
    with pytest.raises(TsumuguError, match="neither a run folder .* nor a checkpoint"):
        export(tmp_path, tmp_path / "out")
    shutil.copy(finished_run / "recipe.yaml", tmp_path)
    with pytest.raises(TsumuguError, match="has no checkpoint yet"):
        export(tmp_path, tmp_path / "out")
    shutil.copytree(finished_run / "pretrain", tmp_path / "pretrain")
    with pytest.raises(TsumuguError, match="the stage corpus is not done here"):
        export(tmp_path, tmp_path / "out")
