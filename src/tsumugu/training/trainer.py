"""The training loop.

Everything random in step n is a function of (seed, n, process), and the state of a run is its weights,
its optimizer and a few counters. So a run that was stopped and goes on computes the same numbers, to
the bit, as one that was not (on the same layout of the same devices).
"""

import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from tsumugu.errors import TsumuguError
from tsumugu.tokens.loader import Batch, Loader
from tsumugu.tokens.prefetching import prefetched
from tsumugu.training.checkpoint import Checkpoints, Progress
from tsumugu.training.config import PretrainConfig
from tsumugu.training.events import EventLog
from tsumugu.training.metrics import MetricsLog
from tsumugu.training.optimizer import build_optimizer, set_learning_rate
from tsumugu.training.parallelize import ParallelModel
from tsumugu.training.processes import Process
from tsumugu.training.profiling import profiled
from tsumugu.training.schedule import batch_size, learning_rate
from tsumugu.training.stability import SpikeGuard, Verdict
from tsumugu.training.step import StepResult, compute_gradients, micro_batches
from tsumugu.training.throughput import memory_in_use
from tsumugu.training.tracking import Trackers
from tsumugu.training.validation import Validation, validation_loss


class Stopped(TsumuguError):
    """The run was asked to stop, and has saved what it had."""


@dataclass(frozen=True)
class Job:
    """A training run as this process sees it."""

    model: ParallelModel
    config: PretrainConfig
    loader: Loader
    validation: Validation
    process: Process
    seed: int
    folder: Path
    """For checkpoints, `metrics.jsonl` and `events.jsonl`."""
    side_folder: Path
    """For traces and the like, which are not part of the result."""
    micro_batch_size: int
    flops_per_token: int
    peak_flops: float | None
    """Of one device; None if unknown."""
    trackers: Trackers


@dataclass(frozen=True)
class _Planned:
    """A batch, and which samples are in the whole of it."""

    samples: list[range]
    batch: Batch


def train(job: Job) -> Progress:
    """Train from the newest checkpoint on to the last step.

    Args:
        job: everything.

    Raises:
        Stopped: on SIGTERM, when the checkpoint is written.
        TsumuguError: training diverges, or weights cannot be saved.
    """
    config, model = job.config, job.model
    optimizer = build_optimizer(model.named_parameters(), config.optimizer, model=model.parts[0].config)
    checkpoints = Checkpoints(job.folder / "checkpoints", keep=config.keep_checkpoints)
    progress = checkpoints.restore(model, optimizer) or Progress()
    guard = SpikeGuard(config.stability)
    if progress.guard:
        guard.restore(progress.guard)
    with _Reporter(job, progress) as reporter, _asked_to_stop() as asked, profiled(job) as trace:
        while progress.step < config.steps:
            verdict = _train_on(job, optimizer, checkpoints, progress, guard, reporter, asked, trace)
            if verdict is None:
                break
            if verdict.action == "stop":
                _give_up(job, progress, guard, verdict)
            checkpoints.wait()
            failed_at = progress.step + 1
            progress = _rewind(job, optimizer, checkpoints, guard)
            reporter.rewound(failed_at, progress, verdict)
        checkpoints.wait()
    return progress


def _train_on(
    job: Job,
    optimizer: torch.optim.Optimizer,
    checkpoints: Checkpoints,
    progress: Progress,
    guard: SpikeGuard,
    reporter: "_Reporter",
    asked: "_Asked",
    trace: Any,
) -> Verdict | None:
    """Steps until the last one (None), or until one cannot be answered by leaving it out."""
    config, model = job.config, job.model
    planned = _Planner(job, guard, progress)
    with prefetched(planned, progress.step, config.steps) as batches:
        began = time.perf_counter()
        for read in batches:
            step = progress.step + 1
            torch.manual_seed(_step_seed(job, step))
            result = _gradients(job, read.batch, stop=asked.to_stop)
            verdict = guard.judge(result.loss, result.grad_norm, step=step, samples=read.samples)
            if verdict.action in ("rewind", "stop"):
                optimizer.zero_grad(set_to_none=True)
                return verdict
            rate = learning_rate(step, config)
            if verdict.action == "apply":
                set_learning_rate(optimizer, rate)
                optimizer.step()
                progress.updates += 1
                progress.tokens += result.targets
            optimizer.zero_grad(set_to_none=True)
            progress.step = step
            progress.samples = read.samples[-1].stop
            progress.guard = guard.state()
            reporter.stepped(progress, result, verdict, read.samples, rate=rate, began=began)
            trace.step()
            checkpoints.check()
            last = step == config.steps
            if last or step % config.validation_every == 0:
                reporter.validated(progress, validation_loss(model, job.validation))
            if last or result.signals or step % config.checkpoint_every == 0:
                checkpoints.save(model, optimizer, progress)
            if result.signals and not last:
                checkpoints.wait()
                reporter.stopped(progress)
                raise Stopped(
                    f"pretrain: asked to stop at step {step}; the checkpoint is written, and the same "
                    f"command goes on from it"
                )
            began = time.perf_counter()
    return None


def _gradients(job: Job, batch: Batch, *, stop: bool) -> StepResult:
    job.model.train()
    parts = micro_batches(batch, job.micro_batch_size, job.model)
    return compute_gradients(job.model, parts, max_grad_norm=job.config.optimizer.max_grad_norm, stop=stop)


def _rewind(
    job: Job,
    optimizer: torch.optim.Optimizer,
    checkpoints: Checkpoints,
    guard: SpikeGuard,
) -> Progress:
    """Weights, optimizer and counters of the last checkpoint, or of the beginning."""
    optimizer.state.clear()
    progress = checkpoints.restore(job.model, optimizer)
    if progress is None:
        job.model.initialize()
        progress = Progress()
    guard.rewind(progress.guard or None)
    return progress


def _give_up(job: Job, progress: Progress, guard: SpikeGuard, verdict: Verdict) -> None:
    step = progress.step + 1
    raise TsumuguError(
        f"pretrain: training has diverged at step {step}: {verdict.reason}. Going back to a checkpoint and "
        f"leaving out what the failed steps read did not help {guard.rewinds} times. Lower "
        f"pretrain.optimizer.learning_rate, lengthen schedule.warmup_steps, or raise "
        f"stability.spike_sigmas if the losses in metrics.jsonl look sound. What the step read: "
        f"tsumugu tokens show {job.folder.parent} --batch {step}"
    )


def _step_seed(job: Job, step: int) -> int:
    """For dropout: another one on every process, but for one process what it always was."""
    return job.seed * 1_000_003 + step + job.process.rank * 7_368_787_027


class _Planner:
    """Batches in the order of training, each with the samples that it is made of."""

    def __init__(self, job: Job, guard: SpikeGuard, progress: Progress) -> None:
        self._job = job
        self._guard = guard
        self._consumed = progress.samples

    def batch(self, index: int) -> _Planned:
        """The batch of step `index + 1`; to be called for one step after the other."""
        size = batch_size(index + 1, self._job.config)
        samples = self._guard.next_samples(self._consumed, size)
        self._consumed = samples[-1].stop
        share = size // self._job.model.layout.data
        mine = _part(samples, self._job.model.data_rank * share, share)
        return _Planned(samples, self._job.loader.read(mine))


def _part(samples: Sequence[range], first: int, count: int) -> list[range]:
    """`count` numbers from place `first` of `samples` on."""
    found = []
    for numbers in samples:
        part = numbers[first : first + count]
        if len(part):
            found.append(part)
            count -= len(part)
        first = max(0, first - len(numbers))
    return found


@dataclass
class _Asked:
    to_stop: bool = False


@contextmanager
def _asked_to_stop() -> Iterator[_Asked]:
    """Notice SIGTERM (Slurm, spot machines, Kubernetes) instead of dying of it."""
    asked = _Asked()

    def notice(number: int, frame: object) -> None:
        asked.to_stop = True

    before = signal.signal(signal.SIGTERM, notice)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)


class _Reporter:
    """What people see: the bar, `metrics.jsonl`, `events.jsonl`, the trackers. The first process speaks."""

    def __init__(self, job: Job, progress: Progress) -> None:
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
        if progress.step:
            self._event("resumed", progress.step)

    def __enter__(self) -> "_Reporter":
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()
        if self._log is not None:
            self._log.close()
        self._job.trackers.close()

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
        row: dict[str, Any] = {"step": progress.step, "tokens": progress.tokens, "samples": progress.samples}
        if verdict.action == "apply":
            row |= {"loss": result.loss, "grad_norm": result.grad_norm, "learning_rate": rate}
        else:
            read = [[numbers.start, numbers.stop] for numbers in samples]
            self._event("skipped", progress.step, reason=verdict.reason, samples=read)
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
        self._write({"step": progress.step, "tokens": progress.tokens, **found})
        text = f"validation loss {found['validation_loss']:.4f}"
        if "validation_bits_per_byte" in found:
            text += f", {found['validation_bits_per_byte']:.4f} bits per byte"
        self._bar.write(f"pretrain: step {progress.step}, {text}")

    def rewound(self, failed_at: int, progress: Progress, verdict: Verdict) -> None:
        """Training went back."""
        if not self._speaks or self._log is None:
            return
        self._event("rewound", failed_at, to=progress.step, reason=verdict.reason)
        self._bar.write(
            f"pretrain: step {failed_at}: {verdict.reason}; going on from step {progress.step} without what "
            f"the failed steps read"
        )
        self._log.cut_back(progress.step)
        self._bar.reset(self._job.config.steps)
        self._bar.update(progress.step)

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
        self._job.trackers.log({k: v for k, v in row.items() if k != "step"}, row["step"])
