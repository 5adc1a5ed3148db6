"""A study is run: shared stages once, then trials, each in processes of its own, several at a time.

A trial is `tsumugu pretrain` (or `tune`) in its run folder, so it goes on after a kill as any training does,
and is not trained again when it is done; where the study has a judge, a second process follows. What only
the one who ran it knows (it was stopped by halving, it failed and why) is written beside it as `ended.json`.
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

from tsumugu.corpus.inputs import listed_once
from tsumugu.engine import Resources
from tsumugu.errors import Stopped, TsumuguError
from tsumugu.files import read_json, write_json, write_text
from tsumugu.pipeline import done_stages, locked, run_stages
from tsumugu.recipe import recipe_text
from tsumugu.study.config import StudyConfig
from tsumugu.study.halving import Halving
from tsumugu.study.judging import judgement_of, task_of, words_of
from tsumugu.study.outcomes import MEASURES, Outcome, curve_of, outcome_of
from tsumugu.study.trials import Trial

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
    judging: bool = False
    """Whether it is trained already, and measured now."""


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
    began = time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    with locked(folder):
        judge = trials[0].judge
        for one in (trials[0].tokenizer, None if judge is None else judge.corpus):
            if one is None:
                continue
            run_stages(one.recipe, one.folder, last=one.last, resources=resources, say=say)
        firsts = {trial.shared: trial for trial in reversed(trials)}
        for shared, trial in reversed(firsts.items()):
            run_stages(trial.recipe, shared, last="tokens", resources=resources, say=say)
        with _stopped_by_sigterm():
            if study.stage != "pretrain":
                for trial in reversed(firsts.values()):
                    _train_shared(trial, study, slots[0], say)
            _run(study, trials, list(slots), say, began=began)
    return [read_outcome(trial, study) for trial in trials]


def _run(
    study: StudyConfig,
    trials: Sequence[Trial],
    slots: list[int | None],
    say: Callable[[str], None],
    *,
    began: float,
) -> None:
    halving = Halving(study, trials) if study.search == "halving" else None
    with listed_once():
        waiting = [trial for trial in trials if not _ended(trial, study)]
    say(f"study: {len(trials)} trials, {len(trials) - len(waiting)} done, {len(slots)} at a time")
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
                    if _wants_judgement(one):
                        one.process = _judge(one, study.threads)
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
    judged = trial.judge is None or judgement_of(trial) is not None
    return judged and trial.stage in done_stages(trial.recipe, trial.folder)


def _train_shared(trial: Trial, study: StudyConfig, gpu: int | None, say: Callable[[str], None]) -> None:
    """Train what trials of a later stage begin with: in a process with the threads of a trial."""
    if trial.earlier[-1] in done_stages(trial.recipe, trial.shared):
        return
    say(f"study: {trial.earlier[-1]} of {trial.shared.name}, which its trials share")
    words = _command(trial, trial.earlier[-1], trial.shared, study.threads)
    one = _Running(trial, _launch(words, trial.shared / LOG, study.threads, gpu), gpu)
    try:
        if one.process.wait():
            log = trial.shared / LOG
            raise TsumuguError(f"what the trials share failed; {log} says why: {_last_words(log)}")
    finally:
        _stop([one])


def _prune(one: _Running, halving: Halving | None) -> None:
    if halving is None or one.judging or (one.trial.folder / ENDED).exists():
        return
    if halving.should_stop(one.trial, curve_of(one.trial)):
        # Before it is told: whoever is stopped here in between must find it.
        write_json(one.trial.folder / ENDED, {"ended": "pruned", "message": ""})
        one.process.send_signal(signal.SIGTERM)


def _start(trial: Trial, threads: int, gpu: int | None) -> _Running:
    trial.folder.mkdir(parents=True, exist_ok=True)
    for name in (ENDED, LOG):
        (trial.folder / name).unlink(missing_ok=True)
    for stage in trial.earlier:
        link = trial.folder / stage
        target = os.path.relpath(trial.shared / stage, trial.folder)
        if not link.is_symlink() or str(link.readlink()) != target:
            link.unlink(missing_ok=True)
            link.symlink_to(target, target_is_directory=True)
    words = _command(trial, trial.stage, trial.folder, threads)
    return _Running(trial, _launch(words, trial.folder / LOG, threads, gpu), gpu)


def _command(trial: Trial, stage: str, folder: Path, threads: int) -> list[str]:
    """Arguments of Python for a stage of a trial's recipe, which is written beside it."""
    recipe = folder / "trial.yaml"
    write_text(recipe, recipe_text(trial.recipe))
    return ["-m", "tsumugu", stage, str(recipe), "--run", str(folder), "--workers", str(threads)]


def _wants_judgement(one: _Running) -> bool:
    """Whether a trial has just been trained, and is to be judged."""
    if one.judging or one.process.returncode or one.trial.judge is None:
        return False
    return judgement_of(one.trial) is None


def _judge(one: _Running, threads: int) -> "subprocess.Popen[bytes]":
    assert one.trial.judge is not None
    one.judging = True
    words = words_of(task_of(one.trial, one.trial.judge))
    return _launch(words, one.trial.folder / LOG, threads, one.gpu)


def _launch(words: Sequence[str], log_path: Path, threads: int, gpu: int | None) -> "subprocess.Popen[bytes]":
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    if gpu is not None:
        # Some of the machine's may be hidden from this process already.
        visible = os.environ.get("CUDA_VISIBLE_DEVICES")
        environment["CUDA_VISIBLE_DEVICES"] = visible.split(",")[gpu] if visible else str(gpu)
    # Behind what training said, if this is a judgement.
    with log_path.open("ab") as log:
        return subprocess.Popen(
            [sys.executable, *words],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=environment,
            # Ctrl-C is for the study, which tells its trials so that they save.
            start_new_session=True,
        )


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
    value = outcome.all_measures.get(study.judged_by)
    result = "" if value is None else f", {value:.4f} {MEASURES[study.judged_by]}"
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
