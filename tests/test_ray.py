"""The corpus on Ray: the bytes of local processes, whatever the number of workers and whoever dies."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from tsumugu.engine import Engine, Resources
from tsumugu.files import read_json
from tsumugu.pipeline import run_stages
from tsumugu.recipe import Recipe


def corpus_files(recipe: Recipe, folder: Path, *, workers: int, engine: Engine) -> dict[str, str]:
    run_stages(recipe, folder, last="corpus", resources=Resources(workers, engine), say=lambda text: None)
    files = read_json(folder / "corpus" / "manifest.json")["files"]
    return {name: entry["sha256"] for name, entry in files.items()}


def working_processes() -> list[int]:
    """Workers of our cluster that are at work on one of our tasks; Ray writes that into their title."""
    found = []
    for folder in Path("/proc").iterdir():
        try:
            at_work = folder.name.isdigit() and (folder / "cmdline").read_bytes().startswith(b"ray::_call")
            # Ours alone: the parent of a worker is a node, and these tests are the parent of that.
            if at_work and parent_of(parent_of(int(folder.name))) == os.getpid():
                found.append(int(folder.name))
        except OSError:
            continue
    return found


def parent_of(process: int) -> int:
    return int(Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[1])


class Killer(threading.Thread):
    """Kill one Ray worker, in the middle of its first task that lasts."""

    def __init__(self, *, seconds: float) -> None:
        super().__init__(daemon=True)
        self.deadline = time.monotonic() + seconds
        self.killed: int | None = None

    def run(self) -> None:
        while self.killed is None and time.monotonic() < self.deadline:
            for process in working_processes():
                os.kill(process, signal.SIGKILL)
                self.killed = process
                return
            time.sleep(0.002)


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("undisturbed") / "run"
    return corpus_files(recipe, folder, workers=1, engine="local")


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_local_workers_leaves_the_same_bytes(
    recipe: Recipe, undisturbed: dict[str, str], tmp_path: Path, workers: int
) -> None:
    assert corpus_files(recipe, tmp_path / "run", workers=workers, engine="local") == undisturbed


@pytest.mark.usefixtures("ray_cluster")
def test_a_ray_cluster_leaves_the_same_bytes_although_a_worker_is_killed(
    recipe: Recipe, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    killer = Killer(seconds=60)
    killer.start()
    found = corpus_files(recipe, tmp_path / "run", workers=2, engine="ray")
    killer.join()
    assert killer.killed is not None
    assert found == undisturbed


def test_the_command_without_a_cluster_starts_ray_on_this_machine(
    recipe_path: Path, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    words = ["corpus", str(recipe_path), "--run", "here", "--workers", "2", "--engine", "ray"]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run(
        [sys.executable, "-m", "tsumugu", *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    files = read_json(tmp_path / "here" / "corpus" / "manifest.json")["files"]
    assert {name: entry["sha256"] for name, entry in files.items()} == undisturbed


def test_a_cluster_that_does_not_answer_is_an_error_and_not_another_engine(
    recipe_path: Path, tmp_path: Path
) -> None:
    words = ["corpus", str(recipe_path), "--run", str(tmp_path / "run"), "--engine", "ray"]
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
    done = subprocess.run(
        [sys.executable, "-m", "tsumugu", *words], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert "no Ray cluster answers at RAY_ADDRESS=127.0.0.1:1" in done.stderr
