"""what-if: the answer of a real run with other rules, without the run."""

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from past_runs import copy_run, set_rules, with_clusters

from conftest import recipe_data
from tsumugu.corpus.config import Rule
from tsumugu.corpus.decisions import Threshold, open_corpus
from tsumugu.corpus.overrides import change_rules
from tsumugu.corpus.rules import failing
from tsumugu.corpus.what_if import render, what_if
from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.pipeline import run_stages
from tsumugu.recipe import Recipe

RULES = (
    Threshold("too_short", "characters", at_least=100),
    Threshold("source_code", "source_code_share", at_most=0.4),
    Threshold("middle", "hiragana_share", at_least=0.2, at_most=0.9),
)
SIGNALS = ("characters", "source_code_share", "hiragana_share")


def reasons_of(run: Path) -> dict[str, str | None]:
    rows = pq.read_table(run / "corpus" / "decisions", columns=["id", "reason"]).to_pylist()
    return {row["id"]: row["reason"] or None for row in rows}


def test_the_same_rules_change_nothing(finished_run: Path) -> None:
    result = what_if(open_corpus(finished_run), [])
    before = Counter(reasons_of(finished_run).values())
    assert result.documents == before.total()
    assert result.kept_before == result.kept_after == before[None]
    assert result.quarantined == before["quarantined"] > 0
    assert (result.newly_kept, result.newly_dropped, result.unexplained) == (0, 0, 0)
    assert {entry.reason: entry.dropped_before for entry in result.reasons if entry.dropped_before} == {
        reason: number for reason, number in before.items() if reason not in (None, "quarantined")
    }


def test_stricter_rules_give_what_a_real_run_gives(
    finished_run: Path, recipe: Recipe, tmp_path: Path
) -> None:
    """The oracle: the stage itself, run with the changed rules.

    Stricter rules only: documents that come back would be compared for duplicates by the run.
    """
    rules: Any = [
        *recipe_data(Path())["corpus"]["rules"],  # type: ignore[index]
        {"reason": "few_sentences", "signal": "sentence_end_share", "at_least": 0.0316},
    ]
    rules[0] = {**rules[0], "at_least": 870}
    corpus = recipe.corpus.model_copy(update={"rules": tuple(Rule(**rule) for rule in rules)})
    run_stages(
        recipe.model_copy(update={"corpus": corpus}),
        tmp_path,
        last="corpus",
        resources=Resources(1),
        say=lambda text: None,
    )
    result = what_if(open_corpus(finished_run), ["too_short=870", "few_sentences:sentence_end_share>=0.0316"])
    after = Counter(reasons_of(tmp_path).values())
    assert 10 < result.newly_dropped < 130
    found = {entry.reason: entry.dropped_after for entry in result.reasons}
    for rule in rules:
        assert found[rule["reason"]] == after[rule["reason"]]
    # The run may keep copies whose first appearance is gone now; what-if says of how many it cannot know.
    assert result.kept_after <= after[None] <= result.kept_after + result.orphaned_duplicates
    assert result.orphans_are_exact


def test_a_removed_rule_brings_its_documents_back(finished_run: Path) -> None:
    before = reasons_of(finished_run)
    result = what_if(open_corpus(finished_run), ["source_code=off", "other_language=off"])
    back = {name for name, reason in before.items() if reason in ("source_code", "other_language")}
    assert result.newly_kept == len(back) == 2
    assert {mover.id for mover in result.movers} == back
    assert {mover.change for mover in result.movers} == {"newly kept"}
    assert result.kept_after == result.kept_before + 2
    assert result.characters_after is not None
    assert result.characters_before is not None
    assert result.characters_after > result.characters_before
    text = render(result, run="runs/tiny")
    assert "the 2 newly kept documents were never" in text
    assert "139 documents of runs/tiny" in text


def test_what_another_rule_drops_too_does_not_come_back(finished_run: Path) -> None:
    """The page of source code has no kana either."""
    result = what_if(open_corpus(finished_run), ["-source_code"])
    moved = {entry.reason: entry.dropped_after - entry.dropped_before for entry in result.reasons}
    assert (moved["source_code"], moved["other_language"], result.newly_kept) == (-1, 1, 0)


def test_duplicates_of_documents_that_go_are_counted(finished_run: Path, tmp_path: Path) -> None:
    run = copy_run(finished_run, tmp_path / "run")
    with_clusters(run)
    corpus = open_corpus(run)
    rows = pq.read_table(run / "corpus" / "decisions").to_pylist()
    survivor = next(row for row in rows if row["cluster_size"])
    longer = f"too_short={survivor['characters'] + 0.5}"
    assert what_if(corpus, ["too_short=1"]).orphaned_duplicates == 0
    result = what_if(corpus, [longer])
    still = [row for row in rows if row["duplicate_of"] and row["characters"] > survivor["characters"]]
    assert result.orphans_are_exact
    assert result.orphaned_duplicates == len(still)
    assert what_if(corpus, ["hiragana:hiragana_share.at_least=1"]).orphaned_duplicates == 0


def test_rules_that_were_changed_after_the_run_are_noticed(finished_run: Path, tmp_path: Path) -> None:
    run = copy_run(finished_run, tmp_path / "run")
    set_rules(run, [{"reason": "too_short", "signal": "characters", "at_least": 900}])
    result = what_if(open_corpus(run), [])
    assert result.unexplained > 0
    assert "Warning: the recorded rules do not give" in render(result, run="x")


def test_a_million_documents_take_seconds(finished_run: Path, tmp_path: Path) -> None:
    run = copy_run(finished_run, tmp_path / "run")
    for path in (run / "corpus" / "decisions").glob("*.parquet"):
        path.unlink()
    draw = np.random.default_rng(0)
    count = 1_000_000
    signals = {name: draw.random(count) for name in ("source_code_share", "hiragana_share")}
    signals["characters"] = np.floor(draw.exponential(2000, count))
    short = signals["characters"] < 100
    code = ~short & (signals["source_code_share"] > 0.4)
    language = ~short & ~code & (signals["hiragana_share"] < 0.15)
    names = np.array([None, "too_short", "source_code", "other_language"], dtype=object)
    reasons = names[short + 2 * code + 3 * language]
    ids = [f"{number:032x}" for number in range(count)]
    pq.write_table(
        pa.table({"id": ids, "kept": reasons == None, "reason": pa.array(reasons), **signals}),  # noqa: E711
        run / "corpus" / "decisions" / "00000.parquet",
    )
    result = what_if(open_corpus(run), ["too_short=300", "-source_code"])
    assert (result.documents, result.unexplained) == (count, 0)
    kept = (signals["characters"] >= 300) & (signals["hiragana_share"] >= 0.15)
    assert result.kept_after == kept.sum()
    assert result.characters_after == signals["characters"][kept].sum()
    assert result.seconds < 10


def test_changes_are_laid_over_the_rules_in_order() -> None:
    changed = change_rules(
        RULES,
        [
            "too_short=300", "too_short.at_most=9000", "-source_code", "middle.at_most=none",
            "code:source_code_share<=0.1", "long:characters.at_most=5e5", "code=0.2",
        ],
        signals=SIGNALS,
    )  # fmt: skip
    assert changed == (
        Threshold("too_short", "characters", at_least=300, at_most=9000),
        Threshold("middle", "hiragana_share", at_least=0.2),
        Threshold("code", "source_code_share", at_most=0.2),
        Threshold("long", "characters", at_most=500_000),
    )


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("to_short=3", "did you mean 'too_short'"),
        ("lists=off", "no rule 'lists'"),
        ("-lists", "no rule 'lists'"),
        ("too_short", "not a change of a rule"),
        ("too_short=many", "'many' is not a number"),
        ("too_short=nan", "'nan' is not a number"),
        ("too_short=inf", "'inf' is not a number"),
        ("middle=0.3", "two bounds"),
        ("middle.at_least=0.95", "nothing passes"),
        ("too_short.at_least=none", "no bound is left"),
        ("too_short:characters>=9", "has a rule 'too_short' already"),
        ("new:charcters>=9", "did you mean 'characters'"),
    ],
)
def test_a_change_that_cannot_be_is_explained(word: str, message: str) -> None:
    with pytest.raises(TsumuguError, match=message):
        change_rules(RULES, [word], signals=SIGNALS)


def test_thresholds_decide_as_the_stage_decides() -> None:
    values = np.array([np.nan, 0.0, 0.2, 0.20000000000000004, 0.5, 0.9, 1.0])
    for at_least, at_most in ((0.2, None), (None, 0.9), (0.2, 0.9)):
        rule = Rule(reason="middle", signal="hiragana_share", at_least=at_least, at_most=at_most)
        recorded = Threshold("middle", "hiragana_share", at_least=at_least, at_most=at_most)
        assert recorded.fails(values).tolist() == failing(rule, values).tolist()
