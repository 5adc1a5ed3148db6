"""The training loop.

Everything random in step n is a function of (seed, n, process), and the state of a run is its weights,
its optimizer and a few counters. So a run that was stopped and goes on computes the same numbers, to
the bit, as one that was not (on the same layout of the same devices).
"""

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NoReturn

import torch

from tsumugu.errors import Stopped, TsumuguError
from tsumugu.tokens.loader import Batch
from tsumugu.tokens.prefetching import prefetched
from tsumugu.training.checkpoint import Checkpoints, Progress
from tsumugu.training.job import Job
from tsumugu.training.optimizer import build_optimizer, set_learning_rate
from tsumugu.training.processes import any_process, broadcast_object, is_lost
from tsumugu.training.profiling import Trace, profiled
from tsumugu.training.reporter import Reporter
from tsumugu.training.schedule import batch_size, learning_rate
from tsumugu.training.stability import SpikeGuard, Verdict
from tsumugu.training.step import StepResult, compute_gradients, micro_batches
from tsumugu.training.validation import validation_loss


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
        TsumuguError: training diverges, or weights cannot be saved. Raised on all processes.
    """
    config, model = job.config, job.model
    optimizer = build_optimizer(model.named_parameters(), config.optimizer, model=model.parts[0].config)
    checkpoints = Checkpoints(job.folder / "checkpoints", keep=config.keep_checkpoints)
    progress = checkpoints.restore(model, optimizer) or Progress()
    guard = SpikeGuard(config.stability)
    if progress.guard:
        guard.restore(progress.guard)
    with (
        checkpoints.at_rest_in_the_end(),
        Reporter(job, progress, checkpoints.damages) as reporter,
        _asked_to_stop() as asked,
    ):
        with profiled(job) as trace:
            run = _Run(job, optimizer, checkpoints, guard, reporter, asked, trace, progress)
            run.to_the_end()
        checkpoints.wait()
        if any_process(asked.to_stop, model.device):
            run.stop()
    return run.progress


@dataclass
class _Run:
    """Training as far as it is."""

    job: Job
    optimizer: torch.optim.Optimizer
    checkpoints: Checkpoints
    guard: SpikeGuard
    reporter: Reporter
    asked: "_Asked"
    trace: Trace
    progress: Progress

    def to_the_end(self) -> None:
        """All steps that are left, as often as it takes."""
        if self._measures_now() and not broadcast_object(self.reporter.has_validated(self.progress.step)):
            # A stop came in between.
            self._validate()
        while True:
            failed = self._steps()
            if failed is None:
                return
            verdict, samples = failed
            if verdict.action == "stop":
                self._give_up(verdict, samples)
            self._rewind(verdict, samples)

    def stop(self) -> NoReturn:
        """Save, and end early."""
        self._save()
        self.checkpoints.wait()
        self.reporter.stopped(self.progress)
        raise Stopped(
            f"pretrain: asked to stop after step {self.progress.step}; the checkpoint is written, and the "
            f"same command goes on from it"
        )

    def _steps(self) -> tuple[Verdict, list[range]] | None:
        """Steps until the last one (None), or until one cannot be answered by leaving it out."""
        job, progress = self.job, self.progress
        config = job.config
        planned = _Planner(job, self.guard, progress)
        with prefetched(planned, progress.step, config.steps) as batches:
            began = time.perf_counter()
            for read in batches:
                step = progress.step + 1
                torch.manual_seed(_step_seed(job, step))
                result = _gradients(job, read.batch, stop=self._wants_to_stop)
                verdict = self.guard.judge(result.loss, result.grad_norm, step=step, samples=read.samples)
                if verdict.action in ("rewind", "stop"):
                    self.optimizer.zero_grad(set_to_none=True)
                    return verdict, read.samples
                rate = learning_rate(step, config)
                if verdict.action == "apply":
                    set_learning_rate(self.optimizer, rate)
                    self.optimizer.step()
                    progress.updates += 1
                    progress.tokens += result.targets
                self.optimizer.zero_grad(set_to_none=True)
                progress.step = step
                progress.samples = read.samples[-1].stop
                progress.guard = self.guard.state()
                self.reporter.stepped(progress, result, verdict, read.samples, rate=rate, began=began)
                self.trace.step()
                if result.signals:
                    self.stop()
                if self._measures_now():
                    self._validate()
                if job.examine and config.evaluation and step % config.evaluation.every == 0:
                    self.reporter.examined(progress, job.examine(job.model))
                if step == config.steps or step % config.checkpoint_every == 0:
                    self._save()
                began = time.perf_counter()
        return None

    def _wants_to_stop(self) -> bool:
        # A process on which a save failed ends all of them: the stop begins with waiting for that save.
        return self.asked.to_stop or self.checkpoints.has_failed

    def _measures_now(self) -> bool:
        step, config = self.progress.step, self.job.config
        return step > 0 and (step == config.steps or step % config.validation_every == 0)

    def _validate(self) -> None:
        found = validation_loss(self.job.model, self.job.validation, asked_to_stop=self._wants_to_stop)
        if found is None:
            self.stop()
        loss, step = found["validation_loss"], self.progress.step
        if not math.isfinite(loss) and step == self.job.config.steps:
            self.reporter.ended_badly(self.progress, f"the validation loss is {loss}")
            raise TsumuguError(
                f"pretrain: the trained model's validation loss is {loss}. The last checkpoint is that of an "
                f"earlier step; lower pretrain.optimizer.learning_rate, or train on from it with fewer steps"
            )
        self.reporter.validated(self.progress, found)

    def _save(self) -> None:
        self.checkpoints.wait()
        self.reporter.to_disk()
        self.checkpoints.save(self.job.model, self.optimizer, self.progress)

    def _rewind(self, verdict: Verdict, samples: list[range]) -> None:
        """Back to the weights, optimizer and counters of a checkpoint, or of the beginning.

        The guard keeps what it knows in memory alone until the next checkpoint. If this process is killed
        before, the next one does again what led here, and comes to the same verdicts.
        """
        failed_at = self.progress.step + 1
        self.optimizer.state.clear()
        progress = self.checkpoints.restore(self.job.model, self.optimizer)
        if progress is None:
            self.job.model.initialize()
            progress = Progress()
        self.progress = progress
        self.guard.rewind(progress.guard or None)
        self.reporter.damaged(self.checkpoints.damages, progress.step)
        self.reporter.rewound(failed_at, progress, verdict, samples)

    def _give_up(self, verdict: Verdict, samples: list[range]) -> NoReturn:
        self.checkpoints.wait()
        self.reporter.gave_up(self.progress, verdict, samples)
        job, step = self.job, self.progress.step + 1
        tried = ""
        if self.guard.rewinds:
            tried = (
                f" Going back to a checkpoint and leaving out what the failed steps read did not help, "
                f"{self.guard.rewinds} times."
            )
        raise TsumuguError(
            f"pretrain: training has diverged at step {step}: {verdict.reason}.{tried} Lower "
            f"pretrain.optimizer.learning_rate, lengthen schedule.warmup_steps, or raise "
            f"stability.spike_sigmas if the losses in metrics.jsonl look sound. What the step read: "
            f"tsumugu tokens show {job.folder.parent} --batch {step}"
        )


def _gradients(job: Job, batch: Batch, *, stop: Callable[[], bool]) -> StepResult:
    job.model.train()
    parts = micro_batches(batch, job.micro_batch_size, job.model)
    return compute_gradients(job.model, parts, max_grad_norm=job.config.optimizer.max_grad_norm, stop=stop)


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
    """Notice SIGTERM (Slurm, spot machines, Kubernetes) instead of dying of it, however often it comes."""
    asked = _Asked()

    def notice(number: int, frame: object) -> None:
        asked.to_stop = True

    before = signal.signal(signal.SIGTERM, notice)
    try:
        yield asked
    except RuntimeError as error:
        if asked.to_stop and is_lost(error):
            # Another process has ended, and torchrun ends this one: there is nothing to be saved or said.
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.raise_signal(signal.SIGTERM)
        raise
    finally:
        signal.signal(signal.SIGTERM, before)
