"""What came of a trial: its curve, its end, spikes, and whether it diverged.

All of it is read from the files of its run folder, so that every figure on the page can be traced.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean, pstdev
from typing import Any, Literal

from tsumugu.files import read_json
from tsumugu.pipeline import MANIFEST
from tsumugu.study.judging import REPETITION, judgement_of
from tsumugu.study.trials import Trial
from tsumugu.training.events import read_events
from tsumugu.training.metrics import read_metrics

MEASURES = {
    "judge_bits_per_byte": "bits per byte of the judge's text",
    "answer_loss": "loss of held-out answers (nats per token)",
    "bits_per_byte": "bits per byte of held-out text",
    "answer_loss_before": "loss of answers before tuning",
    "bits_per_byte_before": "bits per byte before tuning",
    "repeated_5gram_share": "written: repeated 5-grams",
    "duplicated_10gram_share": "written: characters in repeated 10-grams",
    "duplicate_line_share": "written: characters in repeated lines",
    "training_tokens": "tokens to train on",
    "epochs": "times they are read",
}
"""All that a trial may be measured by, in words. Of those that decide, less is better."""

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
    """Of training; of a tuning with what is measured before and after."""
    tokens: int
    """That were trained on."""
    read_tokens: int
    """That went through the model, also in steps that were not applied."""
    message: str = ""
    """Of an error."""
    measures: dict[str, float] = field(default_factory=dict)
    """More, by names of `MEASURES`. After a tuning: the loss of held-out answers, and both figures before it.
    With a judge: its figures, and how much text there was."""

    @property
    def all_measures(self) -> dict[str, float]:
        """With the held-out bits per byte, in the order of `MEASURES`."""
        own = {} if self.bits_per_byte is None else {"bits_per_byte": self.bits_per_byte}
        found = {**self.measures, **own}
        return {name: found[name] for name in MEASURES if name in found}

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


@dataclass(frozen=True)
class Curve:
    """Held-out bits per byte along the way."""

    steps: tuple[int, ...]
    tokens: tuple[int, ...]
    """That were trained on until then; fewer where a step was not applied."""
    bits_per_byte: tuple[float, ...]


def outcome_of(
    trial: Trial, *, ended: Literal["pruned", "failed"] | None = None, message: str = ""
) -> Outcome:
    """What the files of `trial` say; `ended` is what only the one who ran it knows."""
    if trial.stage == "tune":
        return _tuning_outcome(trial, failed=ended == "failed", message=message)
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
    judgement = judgement_of(trial)
    status: Status
    if gave_up or (done and rose):
        status = "diverged"
    elif done and (trial.judge is None or judgement is not None):
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
        read_tokens=int(steps[-1]["samples"]) * trial.recipe.pretrain.sequence_length if steps else 0,
        message=message if status == "failed" else "",
        measures={} if judgement is None else _judged(trial, judgement),
    )


def _judged(trial: Trial, judgement: dict[str, Any]) -> dict[str, float]:
    tokens = read_json(trial.folder / "tokens" / MANIFEST)["counts"]["train"]["tokens"]
    config = trial.recipe.pretrain
    return {
        "judge_bits_per_byte": judgement["text"]["bits_per_byte"],
        **{name: judgement["written"][name] for name in REPETITION},
        "training_tokens": tokens,
        "epochs": config.steps * config.global_batch_size * config.sequence_length / tokens,
    }


def _tuning_outcome(trial: Trial, *, failed: bool, message: str) -> Outcome:
    done, partial = trial.folder / "tune", trial.folder / "tune.partial"
    if not done.exists():
        status: Status = "failed" if failed else "unfinished" if partial.exists() else "missing"
        return Outcome(status, 0, None, None, None, 0.0, 0, 0, message if failed else "")
    scores, manifest = read_json(done / "scores.json"), read_json(done / MANIFEST)
    return Outcome(
        status="done",
        steps=manifest["counts"]["steps"],
        bits_per_byte=scores["bits_per_byte"]["after"],
        validation_loss=scores["perplexity"]["nats_per_token"],
        spikes=None,
        seconds=manifest["seconds"],
        tokens=manifest["counts"]["read_tokens"],
        read_tokens=manifest["counts"]["read_tokens"],
        measures={
            "answer_loss": scores["answer_loss"]["after"],
            "answer_loss_before": scores["answer_loss"]["before"],
            "bits_per_byte_before": scores["bits_per_byte"]["before"],
        },
    )


def curve_of(trial: Trial) -> Curve:
    """The held-out curve as far as it got; a tuning measures once, at its end, and has none."""
    folder = training_folder(trial.folder) if trial.stage == "pretrain" else None
    rows = read_metrics(folder / "metrics.jsonl") if folder else []
    checks = [row for row in rows if "validation_bits_per_byte" in row]
    return Curve(
        steps=tuple(row["step"] for row in checks),
        tokens=tuple(row["tokens"] for row in checks),
        bits_per_byte=tuple(row["validation_bits_per_byte"] for row in checks),
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
