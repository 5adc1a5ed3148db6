"""Models in one table: what is shown, what is marked, what is paired, and what is refused."""

import json
import math
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.comparison.compare import BASELINE, MODEL, PUBLISHED, Comparison, compare
from tsumugu.evaluation.comparison.question import COMPARE
from tsumugu.evaluation.comparison.reading import open_results
from tsumugu.evaluation.comparison.views import render, to_html, to_markdown
from tsumugu.evaluation.perplexity import Predicted, summarize
from tsumugu.evaluation.results import SourceFigures, TextFigures, safe_name
from tsumugu.files import read_json, write_json
from tsumugu.questions import parse_question
from tsumugu.terminal import to_json

JNLI = "jp_stable_jnli_0.2"
JSQUAD = "jp_stable_jsquad_0.2"
MADE: dict[str, Any] = {"versions": {}, "machine": {}, "seconds": 0.0}


def write_lines(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def task(
    values: Sequence[float], *, metric: str = "acc", shots: int = 3, version: float = 1.1, **more: Any
) -> dict[str, Any]:
    mean = sum(values) / len(values)
    stderr = math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1) / len(values))
    return {
        "version": version,
        "num_fewshot": shots,
        "few_shot_from": "train",
        "questions": len(values),
        "metrics": {metric: {"value": mean, "stderr": stderr}},
        "main_metric": metric,
        "chance": None,
        "majority": None,
        "truncated": 0,
        "empty": 0,
        **more,
    }


def evaluated(
    folder: Path,
    name: str = "ours",
    *,
    tasks: dict[str, tuple[dict[str, Any], dict[str, float]]] | None = None,
    nats: dict[str, float] | None = None,
) -> Path:
    """Results of one model: tasks with the values of their items by hash, and the nats of 100-byte texts."""
    found: dict[str, Any] = {"format": 1, "model": {"name": name, "place": "here"}, "tasks": {}, **MADE}
    for task_name, (result, items) in (tasks or {}).items():
        found["tasks"][task_name] = result
        rows = [
            {"id": place, "hash": key, result["main_metric"]: value}
            for place, (key, value) in enumerate(items.items())
        ]
        write_lines(folder / "items" / f"{safe_name(task_name)}.jsonl", rows)
    if nats:
        documents = [
            Predicted(id=key, source="a", nats=value, tokens=10, characters=30, bytes=100)
            for key, value in nats.items()
        ]
        rows = list(map(asdict, documents))
        write_lines(folder / "documents" / "held_out.jsonl", rows)
        text = TextFigures(
            documents=len(rows),
            tokens=10 * len(rows),
            characters=30 * len(rows),
            bytes=100 * len(rows),
            context_tokens=64,
            stride=32,
            unfaithful_documents=1,
            unknown_tokens=0,
            unreadable=0,
            sources={"all": SourceFigures.model_validate(summarize(documents), strict=False)},
        )
        found["perplexity"] = {"held_out": text.model_dump(mode="json")}
    write_json(folder / "results.json", found)
    return folder


def jnli(folder: Path, name: str, right: int, *, of: int = 20, first: int = 0, **more: Any) -> Path:
    values = [1.0] * right + [0.0] * (of - right)
    items = {f"h{first + place}": value for place, value in enumerate(values)}
    return evaluated(folder, name, tasks={JNLI: (task(values, **more), items)})


def compared(*folders: Path, with_published: bool = False) -> Comparison:
    return compare([open_results(folder) for folder in folders], with_published=with_published)


def test_a_difference_is_tested_item_by_item(tmp_path: Path) -> None:
    found = compared(jnli(tmp_path / "a", "first", 4), jnli(tmp_path / "b", "second", 14))
    (test,) = found.tests
    assert test.found is not None
    assert (test.model, test.against, test.found.items) == ("second", "first", 20)
    assert test.found.difference == pytest.approx(0.5)
    # Ten items differ, all in favour of the second: 2 / 2**10.
    assert test.found.p == pytest.approx(2 / 1024)
    assert test.corrected == test.found.p
    assert test.found.low > 0


def test_several_tests_are_corrected_together(tmp_path: Path) -> None:
    found = compared(
        jnli(tmp_path / "a", "a", 4), jnli(tmp_path / "b", "b", 14), jnli(tmp_path / "c", "c", 5)
    )
    assert [test.found.p for test in found.tests if test.found] == pytest.approx([2 / 1024, 1.0])
    assert [test.corrected for test in found.tests] == pytest.approx([4 / 1024, 1.0])


def test_only_shared_items_are_compared_and_the_others_counted(tmp_path: Path) -> None:
    found = compared(jnli(tmp_path / "a", "a", 4), jnli(tmp_path / "b", "b", 14, of=18, first=5))
    (test,) = found.tests
    assert test.found is not None
    assert (test.found.items, test.only_first, test.only_second) == (15, 5, 3)
    assert test.note == "left out: 5 items of the first, 3 of the second"


@pytest.mark.parametrize(
    ("more", "why"),
    [({"shots": 0}, "3-shot and 0-shot"), ({"version": 1.3}, "task versions 1.1 and 1.3")],
)
def test_models_that_were_asked_differently_are_not_paired(
    tmp_path: Path, more: dict[str, Any], why: str
) -> None:
    found = compared(jnli(tmp_path / "a", "a", 4), jnli(tmp_path / "b", "b", 14, **more))
    (test,) = found.tests
    assert test.found is None
    assert why in test.note
    cell = found.rows[1].cells[0]
    assert cell is not None
    assert "†" in cell.marks
    assert why in render(found)


def test_models_without_a_shared_item_are_not_paired(tmp_path: Path) -> None:
    (test,) = compared(jnli(tmp_path / "a", "a", 4), jnli(tmp_path / "b", "b", 14, first=100)).tests
    assert (test.found, test.note) == (None, "not paired: fewer than two items in common")
    (tmp_path / "b" / "items" / f"{JNLI}.jsonl").unlink()
    (test,) = compared(tmp_path / "a", tmp_path / "b").tests
    assert test.note == "not paired: no single items were kept of b"


def test_damaged_items_are_not_taken_for_none(tmp_path: Path) -> None:
    folders = [jnli(tmp_path / name, name, 4) for name in ("a", "b")]
    path = folders[1] / "items" / f"{JNLI}.jsonl"
    path.write_text(path.read_text(encoding="utf-8")[:-9], encoding="utf-8")
    with pytest.raises(TsumuguError, match="line 20"):
        compared(*folders)


def test_a_score_that_is_no_mean_of_its_items_is_not_paired(tmp_path: Path) -> None:
    balanced: dict[str, Any] = {"metrics": {"acc": {"value": 0.4, "stderr": 0.1}}}
    (test,) = compared(jnli(tmp_path / "a", "a", 4), jnli(tmp_path / "b", "b", 14, **balanced)).tests
    assert (test.found, test.note) == (None, "not paired: acc is not the mean of its items")


def test_a_question_asked_twice_is_two_items(tmp_path: Path) -> None:
    for name, value in (("a", 0.0), ("b", 1.0)):
        evaluated(tmp_path / name, name, tasks={JNLI: (task([value, value]), {"x": value})})
        rows = [{"id": place, "hash": "same", "acc": value} for place in range(2)]
        write_lines(tmp_path / name / "items" / f"{JNLI}.jsonl", rows)
    (test,) = compared(tmp_path / "a", tmp_path / "b").tests
    assert test.found is not None
    assert test.found.items == 2


def test_bits_per_byte_are_paired_by_document(tmp_path: Path) -> None:
    nats = {f"d{number}": 100.0 + 10 * number for number in range(12)}
    better = {key: value - 5 for key, value in nats.items()}
    found = compared(evaluated(tmp_path / "a", "a", nats=nats), evaluated(tmp_path / "b", "b", nats=better))
    (test,) = found.tests
    assert test.found is not None
    assert test.found.difference == pytest.approx(-0.05 / math.log(2))
    # The same difference in every document: its interval has no width, and 2 of 2**12 signs are as far.
    assert (test.found.low, test.found.high) == pytest.approx((test.found.difference,) * 2)
    assert test.found.p == pytest.approx(2 / 2**12)
    cell = found.rows[0].cells[0]
    assert cell is not None
    assert cell.value == pytest.approx(sum(nats.values()) / 1200 / math.log(2))
    assert cell.stderr is not None


@pytest.mark.parametrize(("right", "mark"), [(4, "↓"), (11, "≈"), (19, "")])
def test_scores_like_guessing_are_marked(tmp_path: Path, right: int, mark: str) -> None:
    folder = jnli(tmp_path, "ours", right, chance=1 / 3, majority=0.55)
    found = compared(folder)
    cell = found.rows[0].cells[0]
    assert cell is not None
    assert cell.marks == mark
    assert [(row.name, row.kind) for row in found.rows[1:]] == [("chance", BASELINE), ("majority", BASELINE)]
    assert mark in "".join(found.marks())


def test_published_rows_stand_below_with_their_sources(tmp_path: Path) -> None:
    folder = jnli(tmp_path, "ours", 12, chance=1 / 3, majority=0.55)
    found = compared(folder, with_published=True)
    kinds = [row.kind for row in found.rows]
    assert kinds == [MODEL] + [PUBLISHED] * 18 + [BASELINE] * 2
    (line,) = (row for row in found.rows if row.name == "line-corporation/japanese-large-lm-3.6b")
    assert line.cells[0] is not None
    # Below the majority class, and 2,434 questions where ours are 20; version 1.1 is the same.
    assert line.cells[0].value == pytest.approx(0.2995)
    assert (line.cells[0].marks, line.cells[0].note) == ("↓†", "ours are 20 questions of 2,434")
    text = render(found)
    for expected in (
        "github.com/Stability-AI",
        "engineering.linecorp.com",
        "C4 perplexity",
        "7.50",
        "29.95 ± 0.93",
    ):
        assert expected in text


def test_published_numbers_of_another_question_are_marked(tmp_path: Path) -> None:
    result = task([1.0, 0.0, 1.0, 1.0], metric="exact_match", shots=2, questions=4442)
    folder = evaluated(tmp_path, tasks={JSQUAD: (result, {"a": 1.0, "b": 0.0, "c": 1.0, "d": 1.0})})
    found = compared(folder, with_published=True)
    marks = {(row.name, row.source): row.cells[0].marks for row in found.rows if row.cells[0]}
    assert marks["line-corporation/japanese-large-lm-3.6b", "jp-stable"] == ""
    assert marks["line-corporation/japanese-large-lm-3.6b", "blog"] == "†"
    assert "version not stated, prompt not stated, 3-shot" in render(found)


def test_one_document_alone_is_not_tested(tmp_path: Path) -> None:
    found = compared(
        evaluated(tmp_path / "a", "a", nats={"d": 9.0}), evaluated(tmp_path / "b", "b", nats={"d": 8.0})
    )
    assert [test.note for test in found.tests] == ["not paired: fewer than two items in common"]


def test_one_model_alone_is_a_table_without_tests(tmp_path: Path) -> None:
    found = compared(jnli(tmp_path, "ours", 12))
    assert found.tests == ()
    assert "against" not in render(found)


def test_models_with_one_name_are_told_apart(tmp_path: Path) -> None:
    found = compared(jnli(tmp_path / "a", "same", 4), jnli(tmp_path / "b", "same", 14))
    assert [row.name for row in found.rows] == [f"same ({tmp_path / 'a'})", f"same ({tmp_path / 'b'})"]


def test_models_with_nothing_in_common_stand_in_one_table(tmp_path: Path) -> None:
    found = compared(
        jnli(tmp_path / "a", "a", 4), evaluated(tmp_path / "b", "b", nats={"d": 100.0, "e": 90.0})
    )
    assert [column.name for column in found.columns] == [JNLI, "held_out"]
    assert found.rows[0].cells[1] is None
    assert found.rows[1].cells[0] is None
    assert found.tests == ()


def test_contamination_stands_beside_the_score_of_the_clean_items(tmp_path: Path) -> None:
    example = {"item": "0", "document": "d1", "url": None, "text": "電子回路基板"}
    places = [0, 1, 2, 3, 4]
    searched = {"items": 20, "judged": 20, "share": 0.25, "contaminated_items": places, "examples": [example]}
    (one,) = compared(jnli(tmp_path, "ours", 5, contamination=searched)).contaminated
    assert (one.share, one.clean) == (0.25, 0.0)
    text = render(compared(tmp_path))
    assert "電子回路基板" in text
    assert "25.00" in text


HOSTILE = "<script>alert(1)</script>|**x**\x1b[31m\u202e\n[link](javascript:alert(1))"


def test_prompts_and_answers_that_did_not_fit_stand_below_the_tables(tmp_path: Path) -> None:
    short = jnli(tmp_path / "a", "short", 9, truncated=12, empty=2)
    found = compared(short, jnli(tmp_path / "b", "long", 9))
    told = [
        f"short, {JNLI}: 12 prompts, of 20 questions, were longer than the model can see and lost their "
        f"beginning",
        f"short, {JNLI}: 2 answers have no token and count as certain",
    ]
    assert list(found.to_json()["cautions"]) == told
    for view in (render(found), to_html(found)):
        assert all(line in view for line in told)


def test_hostile_names_are_text_in_every_view(tmp_path: Path) -> None:
    name = "evil<img src=x onerror=alert(1)>"
    folders = []
    for place, right in (("a", 4), ("b", 14)):
        values = [1.0] * right + [0.0] * (20 - right)
        items = {f"h{number}": value for number, value in enumerate(values)}
        folders.append(evaluated(tmp_path / place, HOSTILE + place, tasks={name: (task(values), items)}))
    found = compared(*folders, with_published=True)
    page = to_html(found)
    assert "<script" not in page
    assert "<img" not in page
    assert "&lt;script&gt;" in page
    markdown = to_markdown(found)
    assert "<script" not in markdown
    assert "<img" not in markdown
    assert "[link](" not in markdown
    for row in markdown.split("\n"):
        if "evil" in row or "script" in row:
            assert not row.startswith("|") or row.count("|") - row.count("\\|") in (3, 7)
    for text in (page, markdown, render(found), to_json(found.to_json())):
        assert "\x1b" not in text
        assert "\u202e" not in text


def test_a_folder_without_results_says_what_to_run(tmp_path: Path) -> None:
    with pytest.raises(TsumuguError, match="tsumugu evaluate model"):
        open_results(tmp_path)
    write_json(tmp_path / "results.json", {"format": 1, "model": {"name": "x"}, "tasks": {"t": {}}})
    with pytest.raises(TsumuguError, match="damaged"):
        open_results(tmp_path)


def test_results_of_a_run_are_found_in_its_folder(tmp_path: Path) -> None:
    jnli(tmp_path / "run" / "evaluate", "ours", 4)
    assert open_results(tmp_path / "run").name == "ours"


def test_the_question_prints_and_writes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = jnli(tmp_path / "a", "a", 4), jnli(tmp_path / "b", "b", 14)
    out = tmp_path / "out"
    words = ["evaluate", "compare", str(a), str(b), "--output", str(out)]
    COMPARE.answer(parse_question(COMPARE, words))
    assert "b against a" in capsys.readouterr().out
    assert sorted(path.name for path in out.iterdir()) == [
        "comparison.html",
        "comparison.json",
        "comparison.md",
    ]
    COMPARE.answer(parse_question(COMPARE, [*words[:4], "--no-published", "--json"]))
    printed = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in printed["rows"]] == ["a", "b"]
    assert len(read_json(out / "comparison.json")["rows"]) > 2
