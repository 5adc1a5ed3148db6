"""compare: which documents changed sides between two runs."""

from collections import Counter
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from past_runs import copy_run, rewrite_decisions, set_rules

from tsumugu.corpus.compare import ABSENT, compare, render
from tsumugu.corpus.config import Rule
from tsumugu.corpus.decisions import open_corpus
from tsumugu.engine import Resources
from tsumugu.pipeline import run_stages
from tsumugu.recipe import Recipe


@pytest.fixture(scope="module")
def other_run(finished_run: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same pages under other rules."""
    rules = (
        Rule(reason="too_short", signal="characters", at_least=870),
        Rule(reason="no_kana", signal="hiragana_share", at_least=0.15),
    )
    folder = tmp_path_factory.mktemp("other") / "run"
    corpus = recipe.corpus.model_copy(update={"rules": rules})
    run_stages(
        recipe.model_copy(update={"corpus": corpus}),
        folder,
        last="corpus",
        resources=Resources(1),
        say=lambda text: None,
    )
    return folder


def decisions(run: Path) -> dict[str, str]:
    rows = pq.read_table(run / "corpus" / "decisions", columns=["id", "reason"]).to_pylist()
    return {row["id"]: row["reason"] or "kept" for row in rows}


def test_a_run_compared_with_itself_differs_nowhere(finished_run: Path) -> None:
    result = compare(open_corpus(finished_run), open_corpus(finished_run))
    assert result.same_decision == result.a.documents == 139
    assert result.a == result.b
    assert result.kept_in_both == result.a.kept
    assert result.other_length == 0
    assert result.changes == ()


def test_documents_are_matched_by_id(finished_run: Path, other_run: Path) -> None:
    """The oracle: dictionaries."""
    before, after = decisions(finished_run), decisions(other_run)
    moves = Counter((before[name], after[name]) for name in before)
    result = compare(open_corpus(finished_run), open_corpus(other_run))
    assert {(change.a, change.b): change.documents for change in result.changes} == {
        move: number for move, number in moves.items() if move[0] != move[1]
    }
    assert result.same_decision == sum(number for move, number in moves.items() if move[0] == move[1])
    dropped = sum(n for (a, b), n in moves.items() if a == "kept" != b)
    assert result.kept_only_in_a == dropped > 5
    assert result.a.kept - result.b.kept == result.kept_only_in_a - result.kept_only_in_b
    assert result.other_reason == sum(n for (a, b), n in moves.items() if a != b and "kept" not in (a, b)) > 0
    for change in result.changes:
        for example in change.examples:
            assert (before[example["id"]], after[example["id"]]) == (change.a, change.b)


def test_both_funnels_and_sources_stand_side_by_side(finished_run: Path, other_run: Path) -> None:
    result = compare(open_corpus(finished_run), open_corpus(other_run))
    pairs = {pair.reason: pair for pair in result.reasons}
    assert (pairs["too_short"].bounds_a, pairs["too_short"].bounds_b) == (
        "characters at least 100",
        "characters at least 870",
    )
    assert pairs["source_code"].bounds_b == "no rule"
    assert (pairs["no_kana"].bounds_a, pairs["no_kana"].dropped_a) == ("", 0)
    assert pairs["no_kana"].dropped_b > 0
    assert [(pair.source, pair.in_a, pair.in_b) for pair in result.sources] == [("test-pages", 139, 139)]
    text = render(result)
    for part in ("dropped in both, for another reason", "characters at least 870", "test-pages"):
        assert part in text


def test_documents_of_one_run_alone_are_told_apart(finished_run: Path, tmp_path: Path) -> None:
    run = copy_run(finished_run, tmp_path / "run")
    set_rules(run, [])
    renamed: list[str] = []

    def rename(rows: list[dict[str, object]]) -> None:
        for row in rows:
            if row["reason"] is None and len(renamed) < 2:
                renamed.append(str(row["id"]))
                row["id"] = f"other-{len(renamed)}"

    rewrite_decisions(run, rename)
    result = compare(open_corpus(finished_run), open_corpus(run))
    assert (result.only_in_a, result.only_in_b) == (2, 2)
    assert (result.kept_only_in_a, result.kept_only_in_b) == (0, 0)
    assert {(change.a, change.b) for change in result.changes} == {("kept", ABSENT), (ABSENT, "kept")}
