"""What the stage of a run leaves, and that asking the run as any other model finds the same."""

from pathlib import Path

import pytest

from conftest import read_documents as read_corpus
from tsumugu.cli import main
from tsumugu.errors import TsumuguError
from tsumugu.evaluation.perplexity import paired_difference
from tsumugu.evaluation.results import read_documents, read_items, read_results, safe_name
from tsumugu.files import read_json
from tsumugu.recipe import Recipe, load_recipe
from tsumugu.tokens.shards import read_index
from tsumugu.tokens.split import is_validation


def test_the_stage_and_the_question_find_the_same(finished_run: Path, tmp_path: Path) -> None:
    run = str(finished_run)
    assert main(["evaluate", "model", run, "--text", f"held={run}", "--output", str(tmp_path)]) == 0
    asked, left = tmp_path / safe_name(run), finished_run / "evaluate"
    found, expected = read_results(asked).perplexity["held"], read_results(left).perplexity["validation"]
    for key in ("documents", "tokens", "characters", "bytes", "context_tokens", "stride"):
        assert getattr(found, key) == getattr(expected, key)
    assert found.total.bits_per_byte == pytest.approx(expected.total.bits_per_byte, rel=1e-5)
    assert list(found.sources) == list(expected.sources) == ["all", "test-pages"]
    difference = paired_difference(read_documents(left, "validation"), read_documents(asked, "held"))
    assert difference.bits_per_byte == pytest.approx(0, abs=1e-5)


def test_tasks_are_added_to_the_folder_and_asked_once(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = str(finished_run)
    words = ["evaluate", "model", run, "--tasks", "kotowari", "--limit", "6", "--output", str(tmp_path)]
    assert main(words) == 0
    assert "kotowari  acc" in capsys.readouterr().out
    folder = tmp_path / safe_name(run)
    figures = read_results(folder).tasks["kotowari"]
    items = read_items(folder, "kotowari")
    assert figures.questions == len(items) == 6
    assert figures.metrics["acc"].value == pytest.approx(sum(item["acc"] for item in items) / 6)
    assert main(words) == 0
    assert "all of it is done already" in capsys.readouterr().err
    # Beside the scores of a run: how many of the questions stand in its training text.
    assert figures.model_extra is not None
    assert figures.model_extra["contamination"]["items"] == 6
    staged = read_json(finished_run / "evaluate" / "scores.json")["tasks"]["kotowari"]
    assert (staged["contamination"]["items"], staged["contamination"]["share"]) == (96, 0.0)
    # Other questions are another matter.
    assert main([*words[:-4], "--limit", "7", *words[-2:]]) == 0
    assert read_results(folder).tasks["kotowari"].questions == 7


def test_the_tokens_of_the_texts_count_and_nothing_else(finished_run: Path, recipe: Recipe) -> None:
    found = read_results(finished_run / "evaluate").perplexity["validation"]
    shards = [one for one in read_index(finished_run / "tokens").shards if one.split == "validation"]
    # Without <s> and </s>.
    assert found.tokens == sum(shard.tokens - 2 * shard.documents for shard in shards)
    fraction = recipe.tokens.validation_fraction
    texts = [
        document["text"]
        for document in read_corpus(finished_run / "corpus")
        if is_validation(document["id"], seed=recipe.seed, fraction=fraction)
    ]
    documents = read_documents(finished_run / "evaluate", "validation")
    assert [one.bytes for one in documents] == [len(text.encode()) for text in texts]
    assert (found.unfaithful_documents, found.unknown_tokens) == (0, 0)


def test_scores_have_errors_and_sources_for_the_baselines_too(finished_run: Path) -> None:
    scores = read_json(finished_run / "evaluate" / "scores.json")["perplexity"]
    results = read_results(finished_run / "evaluate")
    assert scores["stride"] == scores["context_tokens"] // 2
    for model in scores["models"].values():
        assert model["bits_per_byte_stderr"] > 0
        assert model["sources"]["test-pages"]["bits_per_byte"] == model["bits_per_byte"]
    total = results.perplexity["validation"].total
    assert scores["models"]["model"]["bits_per_byte"] == total.bits_per_byte
    assert len(read_items(finished_run / "evaluate", "kotowari")) == results.tasks["kotowari"].questions == 96


def test_a_stride_beyond_half_a_window_is_refused_before_anything_runs(recipe_path: Path) -> None:
    assert load_recipe(recipe_path, ["evaluate.stride=32"]).evaluate.stride == 32
    with pytest.raises(TsumuguError, match=r"evaluate.stride is 33.* \(32\)"):
        load_recipe(recipe_path, ["evaluate.stride=33"])
