"""What people see of a run while it trains: the bar, `metrics.jsonl`, `events.jsonl`, the trackers."""

import math
import time
from collections.abc import Sequence
from typing import Any

from tqdm import tqdm

from tsumugu.training.checkpoint import Progress
from tsumugu.training.events import EventLog
from tsumugu.training.job import Job
from tsumugu.training.metrics import MetricsLog
from tsumugu.training.stability import Verdict
from tsumugu.training.step import StepResult
from tsumugu.training.throughput import memory_in_use


class Reporter:
    """All of it; the first process speaks."""

    def __init__(self, job: Job, progress: Progress, damages: Sequence[str]) -> None:
        self._job = job
        self._speaks = job.process.is_first
        self._log = self._events = None
        if self._speaks:
            self._log = MetricsLog(job.folder / "metrics.jsonl", last_step=progress.step)
            self._events = EventLog(job.folder / "events.jsonl")
        self._before = self._log.seconds if self._log else 0.0
        self._began = time.perf_counter()
        self._bar = tqdm(
            total=job.config.steps,
            initial=progress.step,
            desc="pretrain",
            unit="step",
            dynamic_ncols=True,
            disable=not self._speaks,
        )
        self.damaged(damages, progress.step)
        event = "resumed" if progress.step else "started"
        self._event(event, progress.step, layout=str(job.model.layout))

    def __enter__(self) -> "Reporter":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        if self._log is not None:
            self._log.close()
        self._job.trackers.close()

    def has_validated(self, step: int) -> bool:
        """Whether an earlier process measured the validation loss after `step`; the first process knows."""
        return self._log is not None and self._log.validated == step

    def to_disk(self) -> None:
        """Before a checkpoint: what `metrics.jsonl` says up to it must not be lost alone."""
        if self._log is not None:
            self._log.to_disk()

    def damaged(self, damages: Sequence[str], step: int) -> None:
        """Checkpoints were passed over, up to that of `step`."""
        if not self._speaks:
            return
        for damage in damages:
            self._event("damaged", step, reason=damage)
            self._bar.write(f"pretrain: {damage}; an earlier checkpoint is used")

    def stepped(
        self,
        progress: Progress,
        result: StepResult,
        verdict: Verdict,
        samples: list[range],
        *,
        rate: float,
        began: float,
    ) -> None:
        """A step is done, applied or not."""
        if not self._speaks:
            return
        job = self._job
        speed = sum(map(len, samples)) * job.config.sequence_length / (time.perf_counter() - began)
        flops = speed * job.flops_per_token / job.process.world_size
        row: dict[str, Any] = {"step": progress.step, "tokens": progress.tokens, **_read(samples)}
        if verdict.action == "apply":
            row |= {"loss": result.loss, "grad_norm": result.grad_norm, "learning_rate": rate}
        else:
            self._event("skipped", progress.step, reason=verdict.reason, samples=_pairs(samples))
        row |= {"tokens_per_second": round(speed, 1), "tflops_per_device": round(flops / 1e12, 3)}
        if job.peak_flops:
            row["mfu"] = round(flops / job.peak_flops, 4)
        row["memory_gb"] = round(memory_in_use(job.model.device) / 1e9, 3)
        self._write(row)
        shown = {"loss": f"{result.loss:.3f}", "tok/s": f"{speed:,.0f}", "TFLOP/s": f"{flops / 1e12:.3g}"}
        if job.peak_flops:
            shown["MFU"] = f"{flops / job.peak_flops:.1%}"
        shown["GB"] = f"{row['memory_gb']:.1f}"
        self._bar.set_postfix(shown, refresh=False)
        self._bar.update()

    def validated(self, progress: Progress, found: dict[str, float]) -> None:
        """The validation loss is measured."""
        if not self._speaks:
            return
        if not math.isfinite(found["validation_loss"]):
            reason = f"the validation loss is {found['validation_loss']}"
            self._event("not measured", progress.step, reason=reason)
            return
        self._write({"step": progress.step, "tokens": progress.tokens, **found})
        text = f"validation loss {found['validation_loss']:.4f}"
        if "validation_bits_per_byte" in found:
            text += f", {found['validation_bits_per_byte']:.4f} bits per byte"
        self._bar.write(f"pretrain: step {progress.step}, {text}")

    def examined(self, progress: Progress, scores: dict[str, float]) -> None:
        """Tasks are answered."""
        if not self._speaks:
            return
        self._write({"step": progress.step, "tokens": progress.tokens, **scores})
        text = ", ".join(f"{name} {value:.3f}" for name, value in scores.items())
        self._bar.write(f"pretrain: step {progress.step}, {text}")

    def rewound(self, failed_at: int, progress: Progress, verdict: Verdict, samples: list[range]) -> None:
        """Training went back."""
        if not self._speaks or self._log is None:
            return
        self._event("rewound", failed_at, to=progress.step, reason=verdict.reason, samples=_pairs(samples))
        self._bar.write(
            f"pretrain: step {failed_at}: {verdict.reason}; going on from step {progress.step} without what "
            f"the failed steps read"
        )
        self._log.cut_back(progress.step)
        self._bar.reset(self._job.config.steps)
        self._bar.update(progress.step)

    def gave_up(self, progress: Progress, verdict: Verdict, samples: list[range]) -> None:
        """Training has diverged; its last row says what the failed step read."""
        step = progress.step + 1
        self._event("gave up", step, reason=verdict.reason, samples=_pairs(samples))
        if self._speaks:
            self._write({"step": step, "tokens": progress.tokens, **_read(samples)})

    def ended_badly(self, progress: Progress, reason: str) -> None:
        """All steps are done, and the model is worth nothing."""
        self._event("gave up", progress.step, reason=reason, samples=[])

    def stopped(self, progress: Progress) -> None:
        """The run ends early."""
        self._event("stopped", progress.step)

    def _event(self, kind: str, step: int, **more: Any) -> None:
        if self._events is not None:
            self._events.append({"event": kind, "step": step, **more})

    def _write(self, row: dict[str, Any]) -> None:
        assert self._log is not None
        row["seconds"] = round(self._before + time.perf_counter() - self._began, 3)
        self._log.append(row)
        numbers = {key: value for key, value in row.items() if key not in ("step", "read")}
        self._job.trackers.log(numbers, row["step"])


def _read(samples: list[range]) -> dict[str, Any]:
    """For a row: where the data order stands after a step, and what it read if that is in several pieces."""
    found: dict[str, Any] = {"samples": samples[-1].stop}
    return found if len(samples) == 1 else {**found, "read": _pairs(samples)}


def _pairs(samples: list[range]) -> list[list[int]]:
    return [[numbers.start, numbers.stop] for numbers in samples]
