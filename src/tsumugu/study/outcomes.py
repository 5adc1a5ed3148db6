"""What came of a trial: its curve, its end, spikes, and whether it diverged.

All of it is read from the files of its run folder, so that every figure on the page can be traced.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean, pstdev
from typing import Any, Literal

from tsumugu.study.trials import Trial
from tsumugu.training.events import read_events
from tsumugu.training.metrics import read_metrics

Status = Literal["done", "diverged", "pruned", "failed", "unfinished", "missing"]

SPIKE_WINDOW = 64
"""Applied steps before a step with which its loss is compared."""
SPIKE_SIGMAS = 6.0
"""So many standard deviations above their mean is a spike."""
DIVERGED = 1.1
"""A training whose held-out loss ends at more than this times the least it had has diverged."""


@dataclass(frozen=True)
class Outcome:
    """Of one trial."""

    status: Status
    """`done`; `diverged`: training gave up, or its held-out loss rose to more than 1.1 times its least;
    `pruned`: stopped by halving; `failed`: another error; `unfinished`: under way, or cut off; `missing`: it
    was not begun."""
    steps: int
    bits_per_byte: float | None
    """Held out, of the last measurement; None if there is none."""
    validation_loss: float | None
    """The same in nats per token."""
    spikes: int | None
    """Steps whose loss is more than 6 standard deviations above the mean of the 64 steps before; those that
    follow one another count once."""
    seconds: float
    """Of training."""
    tokens: int
    message: str = ""
    """Of an error."""

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


@dataclass(frozen=True)
class Curve:
    """Held-out bits per byte along the way."""

    tokens: tuple[int, ...]
    bits_per_byte: tuple[float, ...]


def outcome_of(
    trial: Trial, *, ended: Literal["pruned", "failed"] | None = None, message: str = ""
) -> Outcome:
    """What the files of `trial` say; `ended` is what only the one who ran it knows."""
    folder = training_folder(trial.folder)
    rows = read_metrics(folder / "metrics.jsonl") if folder else []
    steps = [row for row in rows if "loss" in row]
    checks = [row for row in rows if "validation_loss" in row]
    last = checks[-1] if checks else {}
    gave_up = folder is not None and any(
        event["event"] == "gave up" for event in read_events(folder / "events.jsonl")
    )
    done = (trial.folder / "pretrain").exists()
    rose = bool(checks) and last["validation_loss"] > DIVERGED * min(row["validation_loss"] for row in checks)
    status: Status
    if gave_up or (done and rose):
        status = "diverged"
    elif done:
        status = "done"
    else:
        status = ended or ("unfinished" if folder else "missing")
    return Outcome(
        status=status,
        steps=steps[-1]["step"] if steps else 0,
        bits_per_byte=last.get("validation_bits_per_byte"),
        validation_loss=last.get("validation_loss"),
        spikes=count_spikes([row["loss"] for row in steps]) if steps else None,
        seconds=float(rows[-1]["seconds"]) if rows else 0.0,
        tokens=int(steps[-1]["tokens"]) if steps else 0,
        message=message if status == "failed" else "",
    )


def curve_of(trial: Trial) -> Curve:
    """The held-out curve as far as it got."""
    folder = training_folder(trial.folder)
    rows = read_metrics(folder / "metrics.jsonl") if folder else []
    checks = [row for row in rows if "validation_bits_per_byte" in row]
    return Curve(
        tuple(row["tokens"] for row in checks), tuple(row["validation_bits_per_byte"] for row in checks)
    )


def training_folder(run_folder: Path) -> Path | None:
    """The folder of a training, done or under way; None if it has not begun."""
    for name in ("pretrain", "pretrain.partial"):
        if (run_folder / name / "metrics.jsonl").exists():
            return run_folder / name
    return None


def count_spikes(losses: Sequence[float]) -> int:
    """See `Outcome.spikes`."""
    spikes, within = 0, False
    for place in range(SPIKE_WINDOW, len(losses)):
        before = losses[place - SPIKE_WINDOW : place]
        high = losses[place] > mean(before) + SPIKE_SIGMAS * pstdev(before)
        spikes += high and not within
        within = high
    return spikes
