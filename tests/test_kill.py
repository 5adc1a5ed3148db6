"""SIGKILL at random moments in every stage; the end is as if nothing had happened.

The run is the real command in its own process. It is killed once in each stage, at a random
moment after the stage began, and started again; what it leaves must equal, byte for byte, what
the run that nobody disturbed left (on another number of workers).
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

from tsumugu.files import read_json
from tsumugu.stages import STAGES

_LONGEST = 120.0
COMPARED = ("corpus", "tokenizer", "tokens", "release")


def start(recipe: Path, folder: Path, log: Path) -> subprocess.Popen[bytes]:
    command = [
        sys.executable,
        "-m",
        "tsumugu",
        "run",
        str(recipe),
        "--run",
        str(folder),
        "--workers",
        "2",
    ]
    with log.open("ab") as stream:
        return subprocess.Popen(command, stdout=stream, stderr=stream, start_new_session=True)


def kill_in(stage: str, process: subprocess.Popen[bytes], folder: Path, delay: float) -> bool:
    """Kill `process` some time after `stage` began; whether the stage was still at work."""
    partial = folder / f"{stage}.partial"
    deadline = time.monotonic() + _LONGEST
    while not partial.exists() and not (folder / stage).exists():
        assert process.poll() is None, f"the run ended before the stage {stage}"
        assert time.monotonic() < deadline, f"the stage {stage} never began"
        time.sleep(0.005)
    time.sleep(delay)
    # Only the process itself: its workers must end on their own.
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    return partial.exists()


def without_hours(found: dict[str, str]) -> dict[str, str]:
    """Without the files that say how long the training took, which no two trainings share."""
    return {name: sha for name, sha in found.items() if name not in ("README.md", "SHA256SUMS")}


def card(folder: Path) -> list[str]:
    lines = (folder / "release" / "README.md").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if not line.startswith("| hours |")]


def files(folder: Path, stage: str) -> dict[str, str]:
    return {
        name: entry["sha256"] for name, entry in read_json(folder / stage / "manifest.json")["files"].items()
    }


def without_logs(found: dict[str, str]) -> dict[str, str]:
    """Metrics hold times, and events tell of the stops."""
    return {name: checksum for name, checksum in found.items() if not name.endswith(".jsonl")}


def test_a_run_killed_in_every_stage_ends_as_one_that_was_not(
    recipe_path: Path, finished_run: Path, tmp_path: Path
) -> None:
    folder, log = tmp_path / "run", tmp_path / "log.txt"
    # Times differ with every test run, on purpose.
    draw = random.Random(time.time_ns())
    killed_at_work = 0
    for stage in STAGES:
        process = start(recipe_path, folder, log)
        # Soon after it began, and late in what takes long.
        delay = draw.uniform(0, draw.choice([0.2, 0.8]))
        killed_at_work += kill_in(stage.name, process, folder, delay)
    assert start(recipe_path, folder, log).wait(_LONGEST) == 0, log.read_text(encoding="utf-8")

    assert killed_at_work >= 3
    for stage_name in COMPARED:
        assert without_hours(files(folder, stage_name)) == without_hours(files(finished_run, stage_name)), (
            stage_name
        )
    assert card(folder) == card(finished_run)
    assert without_logs(files(folder, "pretrain")) == without_logs(files(finished_run, "pretrain"))
    left = sorted(path.name for path in folder.iterdir())
    assert left == sorted(path.name for path in finished_run.iterdir())
    steps = [row["step"] for row in _rows(folder) if "loss" in row]
    assert steps == list(range(1, 41))


def _rows(folder: Path) -> list[dict[str, float]]:
    from tsumugu.training.metrics import read_metrics

    return read_metrics(folder / "pretrain" / "metrics.jsonl")
