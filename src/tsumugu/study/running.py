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
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tqdm import tqdm

from tsumugu.engine import Resources
from tsumugu.files import read_json, write_json, write_text
from tsumugu.pipeline import done_stages, run_stages
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
    pruned: bool = False


def run_study(
    study: StudyConfig,
    trials: Sequence[Trial],
    *,
    parallel: int,
    resources: Resources,
    say: Callable[[str], None],
) -> list[Outcome]:
    """Train every trial that is not trained yet; what came of all, in order.

    Args:
        study: budget, threads, search.
        trials: of `trials_of`.
        parallel: trials at a time.
        resources: for the shared stages.
        say: for what is worth a line.

    Raises:
        TsumuguError: a shared stage cannot do its work.
    """
    for shared in dict.fromkeys(trial.shared for trial in trials):
        recipe = next(trial.recipe for trial in trials if trial.shared == shared)
        run_stages(recipe, shared, last=SHARED[-1], resources=resources, say=say)
    halving = Halving(study, trials) if study.search == "halving" else None
    waiting = [trial for trial in trials if not _ended(trial)]
    say(f"study: {len(trials)} trials, {len(trials) - len(waiting)} done, {parallel} at a time")
    began = time.monotonic()
    running: list[_Running] = []
    with tqdm(total=len(trials), initial=len(trials) - len(waiting), unit="trial", file=sys.stderr) as bar:
        try:
            while waiting or running:
                late = study.budget_hours and time.monotonic() - began > study.budget_hours * 3600
                if late and waiting:
                    _write(f"study: the budget is spent; {len(waiting)} trials are not trained")
                    waiting.clear()
                while waiting and len(running) < parallel:
                    running.append(_start(waiting.pop(0), study.threads))
                time.sleep(_LOOK)
                for one in running[:]:
                    if halving and not one.pruned and halving.should_stop(one.trial, curve_of(one.trial)):
                        one.pruned = True
                        one.process.send_signal(signal.SIGTERM)
                    if one.process.poll() is None:
                        continue
                    running.remove(one)
                    _finish(one, bar)
        finally:
            _stop(running)
    return [read_outcome(trial) for trial in trials]


def read_outcome(trial: Trial) -> Outcome:
    """What came of a trial, as far as it got."""
    path = trial.folder / ENDED
    if not path.exists():
        return outcome_of(trial)
    found = read_json(path)
    ended: Literal["pruned", "failed"] = "pruned" if found["ended"] == "pruned" else "failed"
    return outcome_of(trial, ended=ended, message=found["message"])


def _ended(trial: Trial) -> bool:
    """Whether nothing is left to do: trained, stopped by halving, or given up. Failures are tried again."""
    if (trial.folder / ENDED).exists() and read_json(trial.folder / ENDED)["ended"] == "pruned":
        return True
    if outcome_of(trial).status == "diverged":
        return True
    return "pretrain" in done_stages(trial.recipe, trial.folder)


def _start(trial: Trial, threads: int) -> _Running:
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
    with (trial.folder / LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "tsumugu", "pretrain", str(recipe), "--run", str(trial.folder)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
        )
    return _Running(trial, process)


def _finish(one: _Running, bar: "tqdm[Any]") -> None:
    status = one.process.returncode
    if one.pruned and status:
        write_json(one.trial.folder / ENDED, {"ended": "pruned", "message": ""})
    elif status:
        message = _last_words(one.trial.folder / LOG)
        write_json(one.trial.folder / ENDED, {"ended": "failed", "message": message})
    outcome = read_outcome(one.trial)
    result = "" if outcome.bits_per_byte is None else f", {outcome.bits_per_byte:.4f} bits per byte"
    _write(f"study: {one.trial.name}, seed {one.trial.seed}: {outcome.status}{result}")
    if outcome.status == "failed":
        _write(f"study: {outcome.message.splitlines()[-1] if outcome.message else 'no word'}")
    bar.update(1)


def _write(text: str) -> None:
    tqdm.write(text, file=sys.stderr)


def _last_words(log: Path) -> str:
    text = log.read_text(encoding="utf-8", errors="replace")
    lines = [line for line in text[-_LAST_WORDS:].splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error:")]
    return "\n".join(errors or lines[-5:])


def _stop(running: Sequence[_Running]) -> None:
    """Let what is under way save and leave."""
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
