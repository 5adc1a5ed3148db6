"""A study is run: shared stages once, then trials, each in processes of its own, several at a time.

A trial is `tsumugu pretrain` in its run folder, so it goes on after a kill as any training does, and is not
trained again when it is done. What only the one who ran it knows (it was stopped by halving, it failed and
why) is written beside it as `ended.json`.
"""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tqdm import tqdm

from tsumugu.engine import Resources
from tsumugu.errors import Stopped
from tsumugu.files import read_json, write_json, write_text
from tsumugu.pipeline import done_stages, locked, run_stages
from tsumugu.recipe import recipe_text
from tsumugu.study.config import StudyConfig
from tsumugu.study.halving import Halving
from tsumugu.study.outcomes import Outcome, curve_of, outcome_of
from tsumugu.study.trials import SHARED, Trial

ENDED = "ended.json"
LOG = "trial.log"
_LOOK = 0.5
"""Seconds between two looks at the trials that are under way."""
_PATIENCE = 120.0
"""Seconds that a trial has to save and leave."""
_LAST_WORDS = 2000
"""Characters of a failed trial's log that are kept as its message."""


@dataclass
class _Running:
    trial: Trial
    process: "subprocess.Popen[bytes]"
    gpu: int | None


def run_study(
    study: StudyConfig,
    trials: Sequence[Trial],
    *,
    folder: Path,
    slots: Sequence[int | None],
    resources: Resources,
    say: Callable[[str], None],
) -> list[Outcome]:
    """Train every trial that is not trained yet; what came of all, in order.

    Args:
        study: budget, threads, search.
        trials: of `trials_of`.
        folder: of the study.
        slots: one for every trial that is trained at a time: the number of its GPU, or None for the CPU.
        resources: for the shared stages.
        say: for what is worth a line.

    Raises:
        TsumuguError: a shared stage cannot do its work, or another process runs this study.
        Stopped: on SIGTERM.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        for shared in dict.fromkeys(trial.shared for trial in trials):
            recipe = next(trial.recipe for trial in trials if trial.shared == shared)
            run_stages(recipe, shared, last=SHARED[-1], resources=resources, say=say)
        with _stopped_by_sigterm():
            _run(study, trials, list(slots), say)
    return [read_outcome(trial, study) for trial in trials]


def _run(
    study: StudyConfig, trials: Sequence[Trial], slots: list[int | None], say: Callable[[str], None]
) -> None:
    halving = Halving(study, trials) if study.search == "halving" else None
    waiting = [trial for trial in trials if not _ended(trial, study)]
    say(f"study: {len(trials)} trials, {len(trials) - len(waiting)} done, {len(slots)} at a time")
    began = time.monotonic()
    running: list[_Running] = []
    with tqdm(total=len(trials), initial=len(trials) - len(waiting), unit="trial", file=sys.stderr) as bar:
        try:
            while waiting or running:
                late = study.budget_hours and time.monotonic() - began > study.budget_hours * 3600
                if late and waiting:
                    _write(f"study: the budget is spent; {len(waiting)} trials are not trained")
                    waiting.clear()
                while waiting and slots:
                    running.append(_start(waiting.pop(0), study.threads, slots.pop()))
                time.sleep(_LOOK)
                for one in running[:]:
                    _prune(one, halving)
                    if one.process.poll() is None:
                        continue
                    running.remove(one)
                    slots.append(one.gpu)
                    _finish(one, study)
                    bar.update(1)
        finally:
            _stop(running)


@contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    """Let SIGTERM end the study as Ctrl-C does: its trials are told, and save."""

    def stop(*_: object) -> None:
        raise Stopped("study: stopped; the same command goes on from here")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def read_outcome(trial: Trial, study: StudyConfig) -> Outcome:
    """What came of a trial, as far as it got."""
    path = trial.folder / ENDED
    found = read_json(path) if path.exists() else None
    if found is None or (found["ended"] == "pruned" and study.search != "halving"):
        return outcome_of(trial)
    ended: Literal["pruned", "failed"] = "pruned" if found["ended"] == "pruned" else "failed"
    return outcome_of(trial, ended=ended, message=found["message"])


def _ended(trial: Trial, study: StudyConfig) -> bool:
    """Whether nothing is left to do: trained, stopped by halving, or given up. Failures are tried again."""
    if read_outcome(trial, study).status in ("pruned", "diverged"):
        return True
    return "pretrain" in done_stages(trial.recipe, trial.folder)


def _prune(one: _Running, halving: Halving | None) -> None:
    if halving is None or (one.trial.folder / ENDED).exists():
        return
    if halving.should_stop(one.trial, curve_of(one.trial)):
        # Before it is told: whoever is stopped here in between must find it.
        write_json(one.trial.folder / ENDED, {"ended": "pruned", "message": ""})
        one.process.send_signal(signal.SIGTERM)


def _start(trial: Trial, threads: int, gpu: int | None) -> _Running:
    trial.folder.mkdir(parents=True, exist_ok=True)
    (trial.folder / ENDED).unlink(missing_ok=True)
    for stage in SHARED:
        link = trial.folder / stage
        target = os.path.relpath(trial.shared / stage, trial.folder)
        if not link.is_symlink() or str(link.readlink()) != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target, target_is_directory=True)
    recipe = trial.folder / "trial.yaml"
    write_text(recipe, recipe_text(trial.recipe))
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if gpu is not None:
        # Some of the machine's may be hidden from this process already.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu] if visible else str(gpu)
    words = ["pretrain", str(recipe), "--run", str(trial.folder), "--workers", str(threads)]
    with (trial.folder / LOG).open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tsumugu", *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            # Ctrl-C is for the study, which tells its trials so that they save.
            start_new_session=True,
        )
    return _Running(trial, process, gpu)


def _finish(one: _Running, study: StudyConfig) -> None:
    status, ended = one.process.returncode, one.trial.folder / ENDED
    if status == 0:
        # It may have come to its end while it was told to stop.
        ended.unlink(missing_ok=True)
    elif not ended.exists():
        message = _last_words(one.trial.folder / LOG)
        if status < 0:
            message = f"killed by {signal.Signals(-status).name}. {message}"
        write_json(ended, {"ended": "failed", "message": message})
    outcome = read_outcome(one.trial, study)
    result = "" if outcome.bits_per_byte is None else f", {outcome.bits_per_byte:.4f} bits per byte"
    _write(f"study: {one.trial.name}, seed {one.trial.seed}: {outcome.status}{result}")
    if outcome.status == "failed":
        _write(f"study: {outcome.message or 'it said nothing'}")


def _write(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


def _last_words(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")[-_LAST_WORDS:]
    # What the command says of an error begins so, and is the last thing it says.
    return text[text.rindex("error: ") :].strip() if "error: " in text else text.strip()[-200:]


def _stop(running: Sequence[_Running]) -> None:
    """Let what is under way save and leave."""
    if running:
        # A second Ctrl-C must not leave them behind.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
    for one in running:
        if one.process.poll() is None:
            one.process.send_signal(signal.SIGTERM)
    until = time.monotonic() + _PATIENCE
    for one in running:
        try:
            one.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()
    if running:
        signal.signal(signal.SIGINT, signal.default_int_handler)
