"""What the trackers were told, read back."""

import sys
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tsumugu.errors import TsumuguError
from tsumugu.training.tracking import open_trackers


def curves(folder: Path) -> dict[str, list[tuple[int, float]]]:
    """As TensorBoard would show them."""
    events = EventAccumulator(str(folder / "tensorboard"))
    events.Reload()
    return {
        tag: [(event.step, round(event.value, 3)) for event in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
    }


def test_tensorboard_shows_every_row(tmp_path: Path) -> None:
    trackers = open_trackers(["tensorboard"], tmp_path, "小さな実験", 0)
    for step in (1, 2, 3):
        trackers.log({"step": step, "loss": 3.0 - step, "learning_rate": 0.001 * step}, step)
    trackers.log({"step": 3, "validation_loss": 2.5}, 3)
    trackers.close()
    assert curves(tmp_path) == {
        "loss": [(1, 2.0), (2, 1.0), (3, 0.0)],
        "learning_rate": [(1, 0.001), (2, 0.002), (3, 0.003)],
        "validation_loss": [(3, 2.5)],
    }


@pytest.mark.parametrize("done", [0, 2])
def test_a_run_that_goes_on_takes_back_what_came_after_its_checkpoint(tmp_path: Path, done: int) -> None:
    stopped = open_trackers(["tensorboard"], tmp_path, "run", 0)
    for step in (1, 2, 3, 4):
        stopped.log({"loss": 1.0}, step)
    stopped.close()
    # Files are read in the order of the seconds in their names, which may be the same here.
    for path in (tmp_path / "tensorboard").iterdir():
        path.rename(path.with_name(path.name.replace("tfevents.", "tfevents.0")))
    resumed = open_trackers(["tensorboard"], tmp_path, "run", done)
    for step in range(done + 1, 4):
        resumed.log({"loss": 2.0}, step)
    resumed.close()
    assert curves(tmp_path)["loss"] == [(step, 1.0 if step <= done else 2.0) for step in (1, 2, 3)]


def test_no_trackers_are_no_trouble(tmp_path: Path) -> None:
    trackers = open_trackers([], tmp_path, "run", 0)
    trackers.log({"loss": 1.0}, 1)
    trackers.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("name", "extra"), [("wandb", "wandb"), ("trackio", "trackio")])
def test_a_missing_package_is_said_with_the_way_to_get_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any, extra: str
) -> None:
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(TsumuguError, match=rf'names {name}, .*pip install "tsumugu\[{extra}\]"'):
        open_trackers([name], tmp_path, "run", 0)


class Recorder:
    """Stands for `wandb` or `trackio`: keeps how it was called."""

    def __init__(self) -> None:
        self.inits: list[dict[str, Any]] = []
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.finished = 0

    def init(self, **settings: Any) -> SimpleNamespace:
        self.inits.append(settings)
        return SimpleNamespace(log=self.log, finish=self.finish)

    def log(self, row: Mapping[str, float], *, step: int) -> None:
        self.rows.append((step, dict(row)))

    def finish(self) -> None:
        self.finished += 1


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_the_others_get_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: Any) -> None:
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, name, recorder)
    trackers = open_trackers([name], tmp_path, "run", 0)
    trackers.log({"step": 7, "loss": 1.5}, 7)
    trackers.close()
    assert recorder.rows == [(7, {"loss": 1.5})]
    assert recorder.finished == 1
    assert recorder.inits[0]["name"] == "run"
    assert recorder.inits[0]["project"] == "tsumugu"


def test_wandb_goes_on_with_the_run_that_it_began_and_begins_a_new_one_from_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recorder = Recorder()
    monkeypatch.setitem(sys.modules, "wandb", recorder)
    for done in (0, 5, 9, 0):
        open_trackers(["wandb"], tmp_path / "tracking", "run", done).close()
    first, second, third, fourth = [settings["id"] for settings in recorder.inits]
    assert first == second == third != fourth
