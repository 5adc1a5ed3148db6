"""Studies: what a file may say, trials that share and go on, outcomes, the page."""

import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from tsumugu.cli import main
from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.model.counts import muon_flops
from tsumugu.recipe import load_recipe
from tsumugu.study import running
from tsumugu.study.config import StudyConfig, load_study
from tsumugu.study.halving import Halving
from tsumugu.study.outcomes import Curve, Outcome, count_spikes, outcome_of
from tsumugu.study.page import study_page
from tsumugu.study.summary import interval, mean_of, summarize
from tsumugu.study.trials import Trial, trials_of

RATE = "pretrain.optimizer.learning_rate"


def study_data(base: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "rates",
        "question": "Which rate?",
        "base": str(base),
        "keys": {"pretrain.steps": 12, "pretrain.validation_every": 4},
        "axes": {
            RATE: [0.001, 0.02],
            "warm-up": {
                "none": {"pretrain.schedule.warmup_steps": 0},
                "4 steps": {"pretrain.schedule.warmup_steps": 4},
            },
        },
        "seeds": [0, 1],
        **changes,
    }


@pytest.fixture
def write_study(tmp_path: Path, recipe_path: Path) -> Callable[..., Path]:
    def write(**changes: Any) -> Path:
        path = tmp_path / "study.yaml"
        path.write_text(yaml.safe_dump(study_data(recipe_path, **changes), sort_keys=False), encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, recipe_path: Path) -> tuple[Path, Path]:
    """The file of a study and its folder, after the command has run."""
    folder = tmp_path_factory.mktemp("study")
    path = folder / "study.yaml"
    changes = {"axes": {RATE: [0.001, 0.02]}}
    path.write_text(yaml.safe_dump(study_data(recipe_path, **changes), sort_keys=False), encoding="utf-8")
    assert main(["study", str(path), "--run", str(folder / "run")]) == 0
    return path, folder / "run"


@pytest.fixture
def run_folder(finished: tuple[Path, Path], tmp_path: Path) -> Path:
    """A folder in which the shared stages are done already."""
    shutil.copytree(finished[1] / "shared", tmp_path / "run" / "shared")
    return tmp_path / "run"


def read(path: Path, folder: Path) -> list[Trial]:
    return trials_of(load_study(path), path, folder)


def test_axes_multiply_and_labels_set_several_keys(write_study: Callable[..., Path], tmp_path: Path) -> None:
    trials = read(write_study(), tmp_path)
    assert len(trials) == 2 * 2 * 2
    assert len({trial.folder for trial in trials}) == 8
    # Text, tokenizer and tokens depend on none of it.
    assert len({trial.shared for trial in trials}) == 1
    last = trials[-1]
    assert (last.setting, last.seed) == ({RATE: "0.02", "warm-up": "4 steps"}, 1)
    assert last.recipe.pretrain.optimizer.learning_rate == 0.02
    assert last.recipe.pretrain.schedule.warmup_steps == 4
    assert last.recipe.training_seed == 1
    assert last.recipe.seed == trials[0].recipe.seed
    assert last.recipe.pretrain.steps == 12


def test_trials_of_other_texts_share_nothing(write_study: Callable[..., Path], tmp_path: Path) -> None:
    trials = read(write_study(axes={"tokenizer.vocab_size": [450, 460]}), tmp_path)
    assert len({trial.shared for trial in trials}) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"axes": {RATE: [0.1, 0.1]}}, "names a value twice"),
        ({"axes": {}}, "at least 1 item"),
        ({"axes": {RATE: []}}, "has no values"),
        ({"seeds": [1, 1]}, "seeds names one twice"),
        ({"axes": {"pretrain.seed": [1, 2]}}, "seeds is the key for that"),
        ({"axes": {RATE: [1], "o": {"a": {"pretrain.optimizer": {}}}}}, "set the same key"),
        ({"axes": {RATE: [0.95, "0.95"]}}, "names a value twice"),
        ({"sedes": [1]}, "Extra inputs"),
    ],
)
def test_a_mistake_in_a_study_is_named(
    write_study: Callable[..., Path], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TsumuguError, match=message):
        load_study(write_study(**changes))


def test_a_key_that_no_recipe_has_is_told_before_anything_runs(
    write_study: Callable[..., Path], tmp_path: Path
) -> None:
    with pytest.raises(TsumuguError, match="optimiser"):
        read(write_study(axes={"pretrain.optimiser.learning_rate": [1e-3]}), tmp_path)


def test_every_trial_is_trained_and_the_better_rate_wins(finished: tuple[Path, Path]) -> None:
    path, folder = finished
    found = json.loads((folder / "study.json").read_text(encoding="utf-8"))
    assert [trial["status"] for trial in found["trials"]] == ["done"] * 4
    assert all((folder / trial["folder"] / "pretrain").is_dir() for trial in found["trials"])
    assert found["best"]["setting"] == {RATE: "0.02"}
    values = [trial["bits_per_byte"] for trial in found["trials"][2:]]
    assert found["best"]["measures"]["bits_per_byte"]["mean"] == pytest.approx(sum(values) / 2)
    # Seeds differ, and what they share is there once.
    assert values[0] != values[1]
    assert len(list((folder / "shared").iterdir())) == 1
    trial = read(path, folder)[0]
    assert (trial.folder / "corpus").is_symlink()


def test_a_study_that_is_done_trains_nothing_again(
    finished: tuple[Path, Path], capsys: pytest.CaptureFixture[str]
) -> None:
    path, folder = finished
    before = {file: file.stat().st_mtime_ns for file in folder.glob("trials/*/pretrain/metrics.jsonl")}
    assert main(["study", str(path), "--run", str(folder)]) == 0
    assert "4 trials, 4 done" in capsys.readouterr().err
    assert before == {
        file: file.stat().st_mtime_ns for file in folder.glob("trials/*/pretrain/metrics.jsonl")
    }


def test_the_page_traces_every_figure_and_escapes(finished: tuple[Path, Path]) -> None:
    path, folder = finished
    page = (folder / "study.html").read_text(encoding="utf-8")
    for trial in read(path, folder):
        assert trial.folder.relative_to(folder).as_posix() in page
    assert "Best: 0.02" in page
    trials = read(path, folder)
    outcomes = [outcome_of(trial) for trial in trials]
    study = load_study(path)
    hostile = study.model_copy(update={"question": "<script>alert(1)</script>"})
    text = study_page(hostile, trials, outcomes, summarize(trials, outcomes), folder=folder)
    assert "<script" not in text


def test_a_training_that_gives_up_is_counted_as_diverged_and_the_others_go_on(
    write_study: Callable[..., Path], run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = {
        "pretrain.steps": 12,
        "pretrain.validation_every": 4,
        "pretrain.dropout": 0.0,
        "pretrain.stability.spike_sigmas": None,
        "pretrain.stability.rewinds_before_stop": 0,
        "pretrain.stability.skips_before_rewind": 1,
        "pretrain.optimizer.max_grad_norm": 1e30,
    }
    path = write_study(keys=keys, axes={RATE: [0.01, 1e30]}, seeds=[0])
    assert main(["study", str(path), "--run", str(run_folder)]) == 0
    found = json.loads((run_folder / "study.json").read_text(encoding="utf-8"))
    assert [trial["status"] for trial in found["trials"]] == ["done", "diverged"]
    assert found["best"]["setting"] == {RATE: "0.01"}
    assert main(["study", str(path), "--run", str(run_folder)]) == 0
    assert "2 trials, 2 done" in capsys.readouterr().err


def test_a_budget_that_is_spent_leaves_trials_out_and_says_so(
    write_study: Callable[..., Path], run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_study(axes={RATE: [0.001, 0.02]}, seeds=[0], budget_hours=1e-9)
    assert main(["study", str(path), "--run", str(run_folder)]) == 0
    assert "the budget is spent; 2 trials are not trained" in capsys.readouterr().err
    page = (run_folder / "study.html").read_text(encoding="utf-8")
    assert "No setting is done with all of its seeds" in page


def test_halving_stops_what_is_behind(write_study: Callable[..., Path], tmp_path: Path) -> None:
    path = write_study(
        keys={"pretrain.steps": 40, "pretrain.validation_every": 4},
        axes={RATE: [1, 2, 3, 4, 5, 6]},
        seeds=[0],
    )
    study = load_study(path)
    trials = trials_of(study, path, tmp_path)
    halving = Halving(study, trials)
    curves = [
        Curve((4, 8, 12), (1, 2, 3), (3.0 + worse, 2.5 + worse, 2.2 + worse)) for worse in (0, 0, 1, 1, 1, 1)
    ]
    stopped = [halving.should_stop(trial, curve) for trial, curve in zip(trials, curves, strict=True)]
    assert stopped[0] is False
    assert all(stopped[3:])
    # Who was behind stays behind, though nothing new is measured.
    assert halving.should_stop(trials[-1], curves[-1])


def test_spikes_are_counted_by_the_stated_definition() -> None:
    calm = [3.0 + 0.01 * (step % 5) for step in range(100)]
    assert count_spikes(calm) == 0
    spiky = calm.copy()
    spiky[80], spiky[81], spiky[95] = 5.0, 5.5, 6.0
    assert count_spikes(spiky[:90]) == 1
    # A step within the window of an earlier spike has a wide spread to exceed.
    assert count_spikes(calm + calm[:50] + [4.0] + calm) == 1
    assert count_spikes([9.0] * 10) == 0


def test_steps_that_are_not_applied_take_flops_too(write_study: Callable[..., Path], tmp_path: Path) -> None:
    trial = read(write_study(seeds=[0]), tmp_path)[0]
    folder = trial.folder / "pretrain"
    folder.mkdir(parents=True)
    per_step = trial.recipe.pretrain.global_batch_size * trial.recipe.pretrain.sequence_length
    row = {"step": 12, "loss": 3.0, "seconds": 1.0, "samples": 12 * trial.recipe.pretrain.global_batch_size}
    flops = set()
    for skipped in (0, 2):
        line = json.dumps({**row, "tokens": (12 - skipped) * per_step})
        (folder / "metrics.jsonl").write_text(line + "\n", encoding="utf-8")
        outcome = outcome_of(trial)
        assert outcome.tokens == (12 - skipped) * per_step
        flops.add(summarize([trial], [outcome]).flops)
    assert len(flops) == 1


def test_flops_have_the_steps_of_newton_schulz_in_them(
    write_study: Callable[..., Path], tmp_path: Path
) -> None:
    axes: dict[str, dict[str, dict[str, Any]]] = {
        "optimizer": {"adamw": {"pretrain.optimizer.name": "adamw"}}
    }
    for steps in (3, 5):
        muon = {"pretrain.optimizer.name": "muon", "pretrain.optimizer.muon_ns_steps": steps}
        axes["optimizer"][f"muon {steps}"] = muon
    found = []
    for trial in read(write_study(axes=axes, seeds=[0]), tmp_path):
        folder = trial.folder / "pretrain"
        folder.mkdir(parents=True)
        row = {"step": 12, "loss": 3.0, "seconds": 1.0, "samples": 12, "tokens": 100}
        (folder / "metrics.jsonl").write_text(json.dumps(row) + "\n", encoding="utf-8")
        found.append(summarize([trial], [outcome_of(trial)]).flops)
    without, three, five = found
    assert three - without == 12 * muon_flops(trial.recipe.model, 3)
    assert five - without == 12 * muon_flops(trial.recipe.model, 5)


def test_a_training_with_other_keys_is_another_trial(
    write_study: Callable[..., Path], tmp_path: Path
) -> None:
    before = read(write_study(), tmp_path)
    after = read(write_study(keys={"pretrain.steps": 13}), tmp_path)
    assert not {trial.folder for trial in before} & {trial.folder for trial in after}


def test_labels_do_not_leak_into_each_other(write_study: Callable[..., Path], tmp_path: Path) -> None:
    axes = {
        "schedule": {
            "wsd": {"pretrain.schedule.name": "wsd", "pretrain.schedule.decay_share": 0.5},
            "cosine": {},
        }
    }
    keys = {"pretrain.schedule": {"name": "cosine"}}
    trials = read(write_study(keys=keys, axes=axes, seeds=[0]), tmp_path)
    assert [trial.recipe.pretrain.schedule.decay_share for trial in trials] == [0.5, None]


def test_settings_whose_labels_read_alike_stay_apart(
    write_study: Callable[..., Path], tmp_path: Path
) -> None:
    axes = {
        "a": {"1, b 2": {RATE: 0.001}, "1": {RATE: 0.02}},
        "b": {"3": {"pretrain.steps": 5}, "2, b 3": {"pretrain.steps": 6}},
    }
    path = write_study(axes=axes, seeds=[0])
    trials = read(path, tmp_path)
    assert trials[0].name == trials[3].name
    outcomes = [Outcome("done", 5, 2.0 + number, 3.0, 0, 1.0, 100, 100) for number in range(4)]
    summary = summarize(trials, outcomes)
    assert [row.measures["bits_per_byte"].mean for row in summary.rows] == [2.0, 3.0, 4.0, 5.0]
    page = study_page(load_study(path), trials, outcomes, summary, folder=tmp_path)
    assert page.count("<tr><td><span") + page.count('<tr class="best"><td><span') == 4


def test_what_shared_stages_take_is_of_the_budget(
    write_study: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [0.0]

    def two_hours(*_: object, **__: object) -> None:
        now[0] += 7200

    monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: now[0], sleep=time.sleep))
    monkeypatch.setattr(running, "run_stages", two_hours)
    monkeypatch.setattr(running, "_launch", lambda *_: pytest.fail("a trial began"))
    path = write_study(axes={RATE: [0.001, 0.02]}, seeds=[0], budget_hours=1)
    outcomes = running.run_study(
        load_study(path),
        read(path, tmp_path),
        folder=tmp_path,
        slots=[None],
        resources=Resources(1),
        say=lambda _: None,
    )
    assert [one.status for one in outcomes] == ["missing", "missing"]


def test_a_failed_training_is_told_ends_the_command_and_is_tried_again(
    write_study: Callable[..., Path], run_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_study(axes={"pretrain.layout": [{"tensor": 2}, {"data_shard": 1}]}, seeds=[0])
    for _ in range(2):
        assert main(["study", str(path), "--run", str(run_folder)]) == 1
        found = capsys.readouterr().err
        assert "failed: pretrain.layout needs 2 processes" in found.replace("error: ", "failed: ")
        assert "1 of 2 trainings failed" in found
    assert "2 trials, 1 done" in found


def test_sigterm_lets_trials_save_and_the_same_command_goes_on(
    write_study: Callable[..., Path], run_folder: Path
) -> None:
    keys = {"pretrain.steps": 4000, "pretrain.validation_every": 4000, "pretrain.checkpoint_every": 4000}
    path = write_study(keys=keys, axes={RATE: [0.001]}, seeds=[0])
    process = subprocess.Popen(
        [sys.executable, "-m", "tsumugu", "study", str(path), "--run", str(run_folder)],
        stderr=subprocess.DEVNULL,
    )
    (trial,) = read(path, run_folder)
    metrics = trial.folder / "pretrain.partial" / "metrics.jsonl"
    until = time.monotonic() + 120
    while not (metrics.exists() and metrics.read_text().count("\n") > 3):
        assert process.poll() is None
        assert time.monotonic() < until
        time.sleep(0.05)
    process.send_signal(signal.SIGTERM)
    assert process.wait(60) == 128 + signal.SIGTERM
    # It saved, so that nothing is computed twice.
    assert list((trial.folder / "pretrain.partial" / "checkpoints").glob("step-*"))
    assert outcome_of(trial).status == "unfinished"


def test_a_page_of_nothing_is_refused(write_study: Callable[..., Path], tmp_path: Path) -> None:
    assert main(["study", str(write_study()), "--run", str(tmp_path / "none"), "--page"]) == 1
    assert not (tmp_path / "none").exists()


def test_intervals_are_student_s() -> None:
    assert interval([1.0]) is None
    low, high = interval([1.0, 2.0, 3.0]) or (0, 0)
    assert (low + high) / 2 == pytest.approx(2)
    assert high - 2 == pytest.approx(4.303 / 3**0.5)


def test_settings_that_seeds_cannot_tell_apart_are_named(finished: tuple[Path, Path]) -> None:
    path, folder = finished
    trials = read(path, folder)
    good = Outcome("done", 12, 2.0, 3.0, 0, 1.0, 100, 100)
    for values, undecided in (
        # Seeds differ more than settings do, and the same setting is better with each.
        ((2.0, 2.5, 2.1001, 2.6), False),
        ((2.0, 2.5, 2.3, 2.4), True),
    ):
        summary = summarize(trials, [replace(good, bits_per_byte=value) for value in values])
        assert summary.best is not None
        assert summary.best.setting == trials[0].setting
        assert bool(summary.undecided) is undecided


def test_curves_are_averaged_where_all_were_measured() -> None:
    whole, none = Curve((10, 20, 30), (100, 200, 300), (3.0, 2.5, 2.0)), Curve((), (), ())
    assert mean_of([]) == mean_of([none]) == none
    # A loss in between that was no number, and a training that ended early.
    holed = Curve((10, 30), (100, 300), (4.0, 3.0))
    assert mean_of([holed, whole, none]) == Curve((10, 30), (100, 300), (3.5, 2.5))
    assert mean_of([whole, Curve((10,), (100,), (4.0,))]) == Curve((10,), (100,), (3.5,))
    # A step that was not applied.
    skipped = Curve((10, 20), (90, 190), (4.0, 3.5))
    assert mean_of([whole, skipped]) == Curve((10, 20), (95, 195), (3.5, 3.0))


def test_the_schema_of_labels_is_what_yaml_says() -> None:
    study = StudyConfig.model_validate_json(
        json.dumps({"name": "a", "question": "b", "base": "c", "axes": {"x": [None, True, 0.95, "word"]}})
    )
    assert study.settings() == [{"x": "null"}, {"x": "true"}, {"x": "0.95"}, {"x": "word"}]
    assert [study.keys_of(setting)["x"] for setting in study.settings()] == [None, True, 0.95, "word"]


@pytest.mark.parametrize(
    "path", sorted((Path(__file__).parents[2] / "recipes" / "studies").glob("*.yaml")), ids=str
)
def test_the_studies_of_the_repository_are_possible(path: Path) -> None:
    study = load_study(path)
    for setting in study.settings():
        load_recipe(path.parent / study.base, keys={**study.keys, **study.keys_of(setting)})
