"""Metrics for those who watch: TensorBoard, Weights & Biases, Trackio.

`metrics.jsonl` is the record; these are copies of its rows, made as they happen by one process. Their
packages are imported when a recipe names them.
"""

import os
import uuid
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tsumugu.errors import TsumuguError
from tsumugu.files import write_text
from tsumugu.training.config import Tracker

_PROJECT = "tsumugu"
_EXTRAS: dict[Tracker, str] = {"tensorboard": "train", "wandb": "wandb", "trackio": "trackio"}


class _Sink(NamedTuple):
    log: Callable[[dict[str, float], int], None]
    close: Callable[[], None]


class Trackers:
    """All that were asked for."""

    def __init__(self, sinks: Sequence[_Sink]) -> None:
        self._sinks = sinks

    def log(self, row: Mapping[str, float], step: int) -> None:
        """Send a row of `metrics.jsonl`; a step may have several."""
        numbers = {key: value for key, value in row.items() if key != "step"}
        for sink in self._sinks:
            sink.log(numbers, step)

    def close(self) -> None:
        """Send what is waiting, and end."""
        for sink in self._sinks:
            sink.close()


def open_trackers(names: Sequence[Tracker], folder: Path, run_name: str, resume_step: int) -> Trackers:
    """Open the trackers of `pretrain.tracking`.

    Args:
        names: which.
        folder: what TensorBoard and W&B write goes below it. Not a stage's folder: those move when they are
            finished, and W&B's tools write to their files later. Trackio's go where `TRACKIO_DIR` says.
        run_name: the name under which the run is shown, in the project "tsumugu" (or `WANDB_PROJECT`).
        resume_step: steps that were done, 0 for a new run. A run that goes on continues its curves:
            TensorBoard drops what came after this step, W&B keeps the first values of a step, and Trackio
            shows the steps that are computed again twice.

    Raises:
        TsumuguError: a package is missing.
    """
    openers = {"tensorboard": _open_tensorboard, "wandb": _open_wandb, "trackio": _open_trackio}
    sinks = []
    for name in names:
        try:
            sinks.append(openers[name](folder, run_name, resume_step))
        except ImportError as error:
            raise TsumuguError(
                f"pretrain.tracking names {name}, which cannot be imported ({error}). Install it, "
                f'pip install "tsumugu[{_EXTRAS[name]}]", or take it out of pretrain.tracking'
            ) from error
    return Trackers(sinks)


def _open_tensorboard(folder: Path, run_name: str, resume_step: int) -> _Sink:
    from torch.utils.tensorboard import SummaryWriter

    writer = SummaryWriter(str(folder / "tensorboard"), purge_step=resume_step + 1, flush_secs=10)

    def log(row: dict[str, float], step: int) -> None:
        for key, value in row.items():
            writer.add_scalar(key, value, step)

    return _Sink(log, writer.close)


def _open_wandb(folder: Path, run_name: str, resume_step: int) -> _Sink:
    import wandb

    folder.mkdir(parents=True, exist_ok=True)
    known = folder / "wandb-id.txt"
    if not resume_step or not known.exists():
        write_text(known, uuid.uuid4().hex)
    run = wandb.init(
        project=os.environ.get("WANDB_PROJECT", _PROJECT),
        name=run_name,
        id=known.read_text(encoding="utf-8"),
        resume="allow",
        dir=str(folder),
    )
    return _Sink(lambda row, step: run.log(row, step=step), run.finish)


def _open_trackio(folder: Path, run_name: str, resume_step: int) -> _Sink:
    import trackio

    run = trackio.init(project=_PROJECT, name=run_name, resume="allow" if resume_step else "never")
    return _Sink(lambda row, step: run.log(row, step=step), trackio.finish)
