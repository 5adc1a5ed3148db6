"""The engine's promises, on local processes and on a Ray cluster: every task once, whatever dies."""

import os
import signal
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tsumugu.engine import Engine, Resources, check_engine, kept_workers, map_shards, workers_are_up
from tsumugu.errors import TsumuguError


@dataclass(frozen=True)
class Note:
    """Append a line to `output`; or die, as often as files in `deaths` allow."""

    output: Path
    deaths: int = 0


def write_note(task: Note) -> None:
    for death in range(task.deaths):
        marker = task.output.with_suffix(f".death{death}")
        if not marker.exists():
            marker.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    task.output.write_text("done")


def fail(task: Note) -> None:
    raise ValueError(f"cannot do {task.output.name}")


@pytest.fixture(params=["local", "ray"])
def engine(request: pytest.FixtureRequest) -> Engine:
    name: Engine = request.param
    if name == "ray":
        request.getfixturevalue("ray_cluster")
    return name


def test_finished_tasks_are_not_done_again(tmp_path: Path, engine: Engine) -> None:
    tasks = [Note(tmp_path / f"{number}") for number in range(3)]
    tasks[0].output.write_text("from before")
    map_shards(write_note, tasks, resources=Resources(2, engine), description="test")
    assert [task.output.read_text() for task in tasks] == ["from before", "done", "done"]


def test_a_killed_worker_is_replaced_and_its_neighbours_get_done(tmp_path: Path, engine: Engine) -> None:
    tasks = [Note(tmp_path / "0"), Note(tmp_path / "1", deaths=2), Note(tmp_path / "2")]
    map_shards(write_note, tasks, resources=Resources(2, engine), description="test")
    assert all(task.output.exists() for task in tasks)


def test_a_task_that_always_kills_its_worker_is_named(tmp_path: Path, engine: Engine) -> None:
    tasks = [Note(tmp_path / "good"), Note(tmp_path / "guilty", deaths=99)]
    with pytest.raises(TsumuguError, match="died 3 times on guilty"):
        map_shards(write_note, tasks, resources=Resources(2, engine), description="test")
    assert tasks[0].output.exists()


def test_an_error_in_a_task_is_raised_as_it_is(tmp_path: Path, engine: Engine) -> None:
    with pytest.raises(ValueError, match="cannot do 0"):
        map_shards(fail, [Note(tmp_path / "0")], resources=Resources(1, engine), description="test")


def test_an_engine_that_is_not_installed_is_refused_before_any_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "tsumugu.ray_cluster", raising=False)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(TsumuguError, match=r"pip install 'tsumugu\[ray\]'"):
        check_engine("ray")
    check_engine("local")


@dataclass(frozen=True)
class Pause:
    """Wait a second."""

    output: Path


def pause(task: Pause) -> None:
    time.sleep(1)
    task.output.touch()


def test_an_interrupt_ends_after_the_tasks_in_hand(tmp_path: Path) -> None:
    tasks = [Pause(tmp_path / f"{number}") for number in range(30)]
    threading.Timer(3.0, lambda: os.kill(os.getpid(), signal.SIGINT)).start()
    with pytest.raises(KeyboardInterrupt):
        map_shards(pause, tasks, resources=Resources(2), description="test")
    assert len(list(tmp_path.iterdir())) < 15


def note_process(task: Note) -> None:
    write_note(task)
    task.output.write_text(str(os.getpid()))


def test_kept_workers_live_on_until_one_is_killed(tmp_path: Path) -> None:
    def processes(name: str, deaths: int = 0) -> set[str]:
        tasks = [Note(tmp_path / f"{name}{number}", deaths * (number == 1)) for number in range(6)]
        map_shards(note_process, tasks, resources=Resources(2), description="test")
        return {task.output.read_text() for task in tasks}

    with kept_workers():
        assert not workers_are_up(Resources(2))
        first = processes("a")
        assert workers_are_up(Resources(2))
        assert not workers_are_up(Resources(3))
        assert len(first) <= 2
        assert processes("b") <= first
        processes("killed", deaths=1)
        assert not processes("c") & first
        with pytest.raises(ValueError, match="cannot do failed"):
            map_shards(fail, [Note(tmp_path / "failed")], resources=Resources(2), description="test")
        assert len(processes("d")) <= 2
    assert not workers_are_up(Resources(2))
    assert not processes("e") & first
