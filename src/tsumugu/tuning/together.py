"""One training on several devices: torchrun's processes, started for it and gone after it.

The stage stays one process. It writes down what is to be trained, and torchrun starts a process per device
that reads it (`python -m tsumugu.tuning.together JOB`). Each has the whole model; TRL and accelerate deal
the rows and average the gradients (DistributedDataParallel). Only the first writes.

A process that is told to end ends in the middle of a step. So they are told by a file: the first looks
for it after every step, and all of them save and stop at the same one. They stop too when the stage is gone.
"""

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from tsumugu.errors import Stopped, TsumuguError
from tsumugu.files import read_json, write_json, write_text
from tsumugu.model.config import ModelConfig
from tsumugu.tuning.config import PreferenceConfig, TuneConfig
from tsumugu.tuning.packing import Row
from tsumugu.tuning.phase import Phase, Preference
from tsumugu.tuning.watching import Asked, asked_to_stop, newest_checkpoint

_JOB, _STOP = "job.json", "stop"
_PATHS = ("base", "output", "work", "metrics")
_LOOK = 0.1
"""Seconds between two looks at what was asked."""


def train_together(
    phase: Phase,
    records: Sequence[Row] | Sequence[Preference],
    tokenizer: Any,
    preference: PreferenceConfig | None = None,
) -> None:
    """Train on `phase.config.processes` devices of this machine; `phase.output` is there afterwards.

    Raises:
        Stopped: on SIGTERM, when a checkpoint is written.
        TsumuguError: there are fewer GPUs, or a process failed; it has told why.
    """
    _refuse_too_many(phase.config.processes)
    phase.work.mkdir(parents=True, exist_ok=True)
    # What is half written goes before anybody looks.
    newest_checkpoint(phase.work / "checkpoints")
    stop = phase.work / _STOP
    stop.unlink(missing_ok=True)
    job = {
        "phase": _phase_as_json(phase),
        "records": [asdict(record) for record in records],
        "tokenizer": str(tokenizer.name_or_path),
        "preference": None if preference is None else preference.model_dump_json(),
        "stage": os.getpid(),
    }
    write_json(phase.work / _JOB, job)
    command = [
        *(sys.executable, "-m", "torch.distributed.run", "--standalone"),
        *("--nproc-per-node", str(phase.config.processes)),
        *("-m", "tsumugu.tuning.together", str(phase.work / _JOB)),
    ]
    environment = {
        "OMP_NUM_THREADS": str(max(1, len(os.sched_getaffinity(0)) // phase.config.processes)),
        **os.environ,
        "PYTHONPATH": os.pathsep.join(each for each in sys.path if each),
    }
    with asked_to_stop() as asked:
        # A session of its own: what the terminal and schedulers send to all is not for torchrun, which kills.
        process = subprocess.Popen(command, env=environment, start_new_session=True, stdin=subprocess.DEVNULL)
        try:
            while process.poll() is None:
                if asked.to_stop and not stop.exists():
                    write_text(stop, "")
                try:
                    process.wait(_LOOK)
                except subprocess.TimeoutExpired:
                    continue
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode:
        raise TsumuguError(
            f"tune: a process of the {phase.name} training failed; what it said is above. The same command "
            f"goes on from the last checkpoint"
        )
    if not phase.output.exists():
        raise Stopped(
            "tune: stopped after a step, and a checkpoint is written; the same command goes on from here"
        )


@dataclass
class TogetherAsked(Asked):
    """What the first process was asked, known to all."""

    stop: Path = Path()
    stage: int = 0
    """The process of the stage."""

    def look(self) -> None:
        """Agree on it; all processes must come here."""
        from accelerate.utils import broadcast_object_list

        found = [self.stop.exists() or not _is_alive(self.stage)]
        broadcast_object_list(found)
        self.to_stop = bool(found[0])


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def _refuse_too_many(processes: int) -> None:
    import torch

    if torch.cuda.is_available() and torch.cuda.device_count() < processes:
        raise TsumuguError(
            f"tune.processes = {processes}, and this machine shows {torch.cuda.device_count()} GPUs"
        )


def _phase_as_json(phase: Phase) -> dict[str, Any]:
    values: dict[str, Any] = {field.name: getattr(phase, field.name) for field in fields(phase)}
    return {
        **values,
        **{name: str(values[name]) for name in _PATHS},
        "config": phase.config.model_dump_json(),
        "model": phase.model.model_dump_json(),
    }


def _phase_of(values: Mapping[str, Any]) -> Phase:
    return Phase(
        **{
            **values,
            **{name: Path(values[name]) for name in _PATHS},
            "config": TuneConfig.model_validate_json(values["config"]),
            "model": ModelConfig.model_validate_json(values["model"]),
        }
    )


def main(job_file: Path) -> None:
    """One of the processes: everything again from the file, then the training."""
    from tsumugu.release.loading import load_tokenizer
    from tsumugu.tuning.training import prefer, tune

    job = read_json(job_file)
    phase = _phase_of(job["phase"])
    tokenizer = load_tokenizer(Path(job["tokenizer"]))
    asked = TogetherAsked(stop=phase.work / _STOP, stage=int(job["stage"]))
    try:
        if job["preference"] is None:
            rows = [Row(**{name: tuple(value) for name, value in row.items()}) for row in job["records"]]
            tune(phase, rows, tokenizer, asked=asked)
        else:
            pairs = [Preference(**record) for record in job["records"]]
            settings = PreferenceConfig.model_validate_json(job["preference"])
            prefer(phase, pairs, tokenizer, settings, asked=asked)
    except Stopped:
        # The stage says so. An error here would be a failure to torchrun.
        return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
