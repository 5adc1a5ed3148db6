"""What our callback does while a trainer of TRL works: the bar, `metrics.jsonl`, checkpoints, SIGTERM.

The rows of `metrics.jsonl` are those of the trainer's own history, which is part of a checkpoint: the
file of a run that was stopped is to the byte that of one that never was.
"""

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch.distributed as dist
from tqdm import tqdm
from transformers import TrainerCallback
from transformers.trainer_utils import get_last_checkpoint

from tsumugu.files import write_text

_WHOLE = "whole"
_KEPT = ("loss", "learning_rate", "grad_norm", "mean_token_accuracy", "rewards/accuracies", "rewards/margins")


@dataclass
class Asked:
    """Whether the process was asked to end."""

    to_stop: bool = False

    def look(self) -> None:
        """After every step: what is asked by now."""


@contextmanager
def asked_to_stop() -> Iterator[Asked]:
    """Notice SIGTERM instead of dying of it."""
    asked = Asked()

    def notice(number: int, frame: object) -> None:
        asked.to_stop = True

    before = signal.signal(signal.SIGTERM, notice)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


class Watcher(TrainerCallback):  # type: ignore[misc]
    """One phase of a tuning."""

    def __init__(self, name: str, metrics: Path | None, asked: Asked) -> None:
        """`metrics` is None in all processes but the first, which speaks and writes."""
        self._name, self._metrics, self._asked = name, metrics, asked
        self._bar: tqdm[Any] | None = None

    def on_train_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """The first step is about to begin."""
        if self._metrics is None:
            return
        self._bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc=f"tune: {self._name}", unit="step",
            dynamic_ncols=True,
        )  # fmt: skip

    def on_step_end(self, args: Any, state: Any, control: Any, **rest: Any) -> Any:
        """An update was made."""
        if self._bar is not None:
            self._bar.update()
        self._asked.look()
        if self._asked.to_stop:
            control.should_save = control.should_training_stop = True
        return control

    def on_log(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """The trainer's history has a new row."""
        if self._metrics is None:
            return
        rows = history(state)
        write_text(self._metrics, "".join(json.dumps(row) + "\n" for row in rows))
        if rows and self._bar is not None:
            self._bar.set_postfix({"loss": f"{rows[-1]['loss']:.3f}"}, refresh=False)

    def on_save(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """All files of a checkpoint are written, when the last process comes here."""
        if dist.is_initialized():
            dist.barrier()
        if self._metrics is not None:
            write_text(Path(args.output_dir) / f"checkpoint-{state.global_step}" / _WHOLE, "")

    def on_train_end(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        """No step follows."""
        if self._bar is not None:
            self._bar.close()


def history(state: Any) -> list[dict[str, Any]]:
    """The rows of the steps: what depends on the data and the weights alone, no timings."""
    return [
        {"step": row["step"], **{key: row[key] for key in _KEPT if key in row}}
        for row in state.log_history
        if "loss" in row
    ]


def read_history(metrics: Path) -> list[dict[str, Any]]:
    """The rows that `metrics.jsonl` holds."""
    return [json.loads(line) for line in metrics.read_text(encoding="utf-8").splitlines()]


def newest_checkpoint(folder: Path) -> str | None:
    """The newest checkpoint that was written to its end; half-written ones are removed."""
    import shutil

    if not folder.is_dir():
        return None
    for path in folder.glob("checkpoint-*"):
        if not (path / _WHOLE).exists():
            shutil.rmtree(path)
    found: str | None = get_last_checkpoint(str(folder))
    return found
