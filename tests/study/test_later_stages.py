"""Studies of tuning, and of text: what trials share, what they are measured by, the page."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from conftest import html_page, japanese_text, recipe_data
from tsumugu.cli import main
from tsumugu.errors import TsumuguError
from tsumugu.files import read_json
from tsumugu.study.config import load_study
from tsumugu.study.judging import REPETITION, judgement_of
from tsumugu.study.outcomes import MEASURES, Outcome
from tsumugu.study.page import study_page
from tsumugu.study.summary import summarize
from tsumugu.study.trials import Trial, trials_of

RATE = "tune.learning_rate"
EVIL = "<script>alert(1)</script>"


@pytest.fixture(scope="module")
def tune_base(tmp_path_factory: pytest.TempPathFactory, pages: Path) -> Path:
    """A recipe that tunes."""
    folder = tmp_path_factory.mktemp("tune-base")
    lines = [
        json.dumps({"instruction": f"{a}に{b}を足すと？", "output": f"{a + b}です。"})
        for a in range(10, 22)
        for b in range(2, 4)
    ]
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    files = {"path": str(folder / "data.jsonl"), "source": "sums", "license": "CC0-1.0", "format": "alpaca"}
    data: dict[str, Any] = recipe_data(pages)
    data["tune"] = {
        "data": [files],
        "template": "line",
        "max_length": 128,
        "near_duplicate_jaccard": 1.0,
        "epochs": 1,
        "global_batch_size": 8,
        "validation_fraction": 0.3,
        "samples": 0,
    }
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    return folder / "recipe.yaml"


@pytest.fixture
def judge_pages(tmp_path: Path) -> Path:
    """Pages of another source than the recipe's."""
    folder = tmp_path / "judge"
    folder.mkdir()
    for number in range(8):
        page = html_page(japanese_text(1000 + number))
        (folder / f"{number}.html").write_text(page, encoding="utf-8")
    return folder


def write(folder: Path, base: Path, **changes: Any) -> Path:
    data = {"name": "later", "question": "Which?", "base": str(base), **changes}
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(data, sort_keys=False), encoding="utf-8")
    return path


def judged(judge_pages: Path, **sizes: int) -> dict[str, Any]:
    inputs = [{"path": str(judge_pages), "source": "others", "license": "CC0-1.0"}]
    return {"keys": {"corpus.inputs": inputs}, **sizes}


def read(path: Path, folder: Path) -> list[Trial]:
    return trials_of(load_study(path), path, folder)


def test_tunings_share_one_model_and_seeds_are_those_of_tuning(tmp_path: Path, tune_base: Path) -> None:
    path = write(tmp_path, tune_base, stage="tune", axes={RATE: [1e-3, 2e-3]}, seeds=[0, 1])
    trials = read(path, tmp_path)
    assert len({trial.shared for trial in trials}) == 1
    assert len({trial.folder for trial in trials}) == 4
    assert trials[0].earlier == ("corpus", "tokenizer", "tokens", "pretrain", "evaluate", "release")
    assert [trial.recipe.tuning_seed for trial in trials] == [0, 1, 0, 1]
    assert {trial.recipe.training_seed for trial in trials} == {1}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": "tune", "axes": {"tune.seed": [1, 2]}}, "axes.tune.seed sets tune.seed"),
        ({"stage": "tune", "axes": {RATE: [1e-3]}, "search": "halving"}, "halving and judge are for"),
        ({"axes": {"tokenizer.vocab_size": [450]}, "tokenizer_from": {}}, "sets the tokenizer"),
        ({"axes": {"pretrain.steps": [5]}, "judge": {"keys": {}}}, "judge.keys"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, tune_base: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TsumuguError, match=message):
        load_study(write(tmp_path, tune_base, **changes))


def test_a_stage_without_its_section_is_told(tmp_path: Path, recipe_path: Path) -> None:
    path = write(tmp_path, recipe_path, stage="tune", axes={"pretrain.steps": [5, 6]})
    with pytest.raises(TsumuguError, match="tune.data: this key is required"):
        read(path, tmp_path)


@pytest.mark.parametrize("below", [".", "page-000.html"])
def test_a_judge_of_text_that_is_trained_on_is_refused(
    tmp_path: Path, recipe_path: Path, pages: Path, below: str
) -> None:
    judge = judged(pages / below, prompt_tokens=8, new_tokens=16)
    path = write(tmp_path, recipe_path, judge=judge, axes={"pretrain.steps": [5]})
    with pytest.raises(TsumuguError, match="judged on what it was trained on"):
        read(path, tmp_path)


def test_prompts_that_do_not_fit_are_refused(tmp_path: Path, recipe_path: Path, judge_pages: Path) -> None:
    path = write(tmp_path, recipe_path, judge=judged(judge_pages), axes={"pretrain.steps": [5]})
    with pytest.raises(TsumuguError, match=r"pretrain.sequence_length \(64\)"):
        read(path, tmp_path)


def test_trials_of_other_text_have_one_tokenizer_and_one_judge(
    tmp_path: Path, recipe_path: Path, judge_pages: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    raw = {
        "corpus.rules": [],
        "corpus.dedup": {"documents": False, "contained_share": None, "repeated_lines": None},
    }
    path = write(
        tmp_path,
        recipe_path,
        keys={"pretrain.steps": 6, "pretrain.validation_every": 3},
        tokenizer_from={},
        judge=judged(judge_pages, prompts=3, prompt_tokens=8, new_tokens=32),
        axes={"data": {"raw": raw, "rules": {}}},
        seeds=[0],
    )
    folder = tmp_path / "run"
    assert main(["study", str(path), "--run", str(folder)]) == 0
    found = read_json(folder / "study.json")
    first, second = found["trials"]
    assert [first["status"], second["status"]] == ["done", "done"]
    # Fewer documents went, so there is more to train on; the ids mean the same.
    assert first["measures"]["training_tokens"] > second["measures"]["training_tokens"]
    ids = [(folder / one["folder"] / "tokenizer" / "tokenizer.json").read_bytes() for one in found["trials"]]
    assert ids[0] == ids[1]
    assert found["judged_by"] == "judge_bits_per_byte"
    assert found["judge"]["text"]["documents"] == 8
    trials = read(path, folder)
    for trial, one in zip(trials, found["trials"], strict=True):
        judgement = judgement_of(trial)
        assert judgement is not None
        assert one["measures"]["judge_bits_per_byte"] == judgement["text"]["bits_per_byte"]
        assert set(REPETITION) == set(judgement["written"]) == set(judgement["human"])
        assert judgement["prompts"] == 3
    values = [one["measures"]["judge_bits_per_byte"] for one in found["trials"]]
    assert found["best"]["measures"]["judge_bits_per_byte"]["mean"] == min(values)
    # Judged again, it is to the byte the same; and nothing is done twice.
    judgement_path = trials[0].folder / "judge.json"
    before = judgement_path.read_bytes()
    judgement_path.unlink()
    other = (trials[1].folder / "judge.json").stat().st_mtime_ns
    capsys.readouterr()
    assert main(["study", str(path), "--run", str(folder)]) == 0
    assert "2 trials, 1 done" in capsys.readouterr().err
    assert judgement_path.read_bytes() == before
    assert (trials[1].folder / "judge.json").stat().st_mtime_ns == other


def test_tunings_are_judged_by_their_answers(tmp_path: Path, tune_base: Path, finished_run: Path) -> None:
    path = write(tmp_path, tune_base, stage="tune", axes={RATE: [1e-6, 5e-3]}, seeds=[0])
    folder = tmp_path / "run"
    trials = read(path, folder)
    # The stages before are done but for the last, as they may be after a stop.
    shutil.copytree(finished_run, trials[0].shared)
    shutil.rmtree(trials[0].shared / "release")
    assert main(["study", str(path), "--run", str(folder)]) == 0
    found = read_json(folder / "study.json")
    assert [one["status"] for one in found["trials"]] == ["done", "done"]
    assert (trials[0].shared / "release").is_dir()
    for trial, one in zip(trials, found["trials"], strict=True):
        scores = read_json(trial.folder / "tune" / "scores.json")
        assert one["measures"]["answer_loss"] == scores["answer_loss"]["after"]
        assert one["measures"]["answer_loss_before"] == scores["answer_loss"]["before"]
        assert one["bits_per_byte"] == scores["bits_per_byte"]["after"]
        assert one["curve"]["steps"] == []
        assert one["tokens"] > 0
        assert (trial.folder / "pretrain").is_symlink()
    assert found["best"]["setting"] == {RATE: "0.005"}
    assert "What tuning wins" in (folder / "study.html").read_text(encoding="utf-8")


@pytest.fixture
def outcomes() -> Callable[[int], Outcome]:
    def make(number: int) -> Outcome:
        measures = {name: 0.5 + number / 8 for name in MEASURES if name != "bits_per_byte"}
        return Outcome("done", 12, 2.0 - number / 8, 3.0, 0, 1.0, 100, 100, measures=measures)

    return make


def test_the_measure_decides_and_hostile_labels_are_escaped(
    tmp_path: Path, tune_base: Path, outcomes: Callable[[int], Outcome]
) -> None:
    axes = {EVIL: {f"{EVIL}{number}": {RATE: number / 1000} for number in (1, 2)}}
    path = write(tmp_path, tune_base, stage="tune", axes=axes, seeds=[0])
    study, trials = load_study(path), read(path, tmp_path)
    found = [outcomes(0), outcomes(1)]
    summary = summarize(trials, found, judged_by=study.judged_by)
    assert summary.best is summary.rows[0]
    assert summarize(trials, found).best is not None
    assert summarize(trials, found).best.setting == trials[1].setting  # type: ignore[union-attr]
    human = dict.fromkeys(REPETITION, 0.1)
    text = {"documents": 3, "bytes": 4000}
    judge = {"text": text, "human": human, "prompts": 2, "prompt_tokens": 8, "new_tokens": 16}
    page = study_page(study, trials, found, summary, folder=tmp_path, judge=judge)
    assert "<script" not in page
    assert "&lt;script" in page
    assert page.count("<circle") == 3
    failed = [replace(one, status="failed", message=EVIL, measures={}, bits_per_byte=None) for one in found]
    nothing = study_page(study, trials, failed, summarize(trials, failed), folder=tmp_path)
    assert "<script" not in nothing
    assert "No setting is done" in nothing
