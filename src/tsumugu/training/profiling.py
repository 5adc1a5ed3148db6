"""A trace of chosen steps, for https://ui.perfetto.dev or chrome://tracing."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch.profiler import ProfilerActivity, profile, schedule

from tsumugu.training.job import Job


class Trace(Protocol):
    """Wants to be told of every step."""

    def step(self) -> None:
        """A step is over."""
        ...


class _NoTrace:
    def step(self) -> None:
        """Nothing to do."""


@contextmanager
def profiled(job: Job) -> Iterator[Trace]:
    """Trace the steps of `pretrain.profile`, counted from where this process begins, into
    `profile/rank-R.json` in the job's side folder."""
    wanted = job.config.profile
    if wanted is None:
        yield _NoTrace()
        return
    folder = job.side_folder / "profile"
    folder.mkdir(parents=True, exist_ok=True)
    activities = [ProfilerActivity.CPU]
    if torch.cuda.is_available():
        activities.append(ProfilerActivity.CUDA)
    warmup = min(1, wanted.first_step - 1)
    with profile(
        activities=activities,
        schedule=schedule(wait=wanted.first_step - 1 - warmup, warmup=warmup, active=wanted.steps, repeat=1),
        on_trace_ready=lambda found: found.export_chrome_trace(str(folder / f"rank-{job.process.rank}.json")),
        record_shapes=True,
    ) as trace:
        yield trace
