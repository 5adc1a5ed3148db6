"""The share of a step in which the processes of a pipeline have nothing to do, beside the planner's answer.

Layers are replaced by ones that sleep, for as long in the forward pass as for the gradient of their input
and for that of their weight, so that more processes than cores can take part. All the rest is real:
`build_model`, the stages, PyTorch's schedules through our `Pipeline`, gloo between the processes.

The answer is `tsumugu.planning.schedules.simulate`. What an action takes besides its sleep (autograd, the
message, Python) comes from steps in which nobody sleeps: their time over that of a simulated step whose
actions take one unit each. Beside it, in the details, what is idle if all that took no time (`bubble`).
"""

import argparse
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from harness import Row, print_table, write_result
from trainees import CPU
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.planning.schedules import Times, bubble, simulate
from tsumugu.training.layout import SPLIT_BACKWARD, Layout, Schedule
from tsumugu.training.parallelize import MicroBatch, Settings, build_model
from tsumugu.training.processes import build_mesh

NAME = "pipeline_bubble"
SCHEDULES: tuple[Schedule, ...] = (
    "gpipe",
    "1f1b",
    "interleaved_1f1b",
    "interleaved_zero_bubble",
    "zbv_zero_bubble",
)
_GOAL = 0.9
_LENGTH, _WIDTH = 8, 16


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--processes", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--seconds", type=float, default=0.04, help="a process's share of a forward pass")
    options = parser.parse_args()
    rows = []
    for processes in options.processes:
        with _processes(processes) as connections:
            for schedule in SCHEDULES:
                count = 2 * processes
                answers = _ask(connections, (schedule, count, options.seconds, options.runs))
                empty = _ask(connections, (schedule, count, 0.0, options.runs))
                rows.append(_row(schedule, processes, count, answers, empty))
    print_table(rows)
    write_result(NAME, rows, packages=["torch"])


def _ask(connections: list[Connection], order: Any) -> list[Any]:
    for connection in connections:
        connection.send(order)
    return [connection.recv() for connection in connections]


def _row(schedule: Schedule, processes: int, count: int, answers: list[Any], empty: list[Any]) -> Row:
    layout = Layout(pipeline=processes, pipeline_schedule=schedule)
    steps = _steps(answers)
    # What was slept: sleeping may last longer than it was asked for, which is no bubble.
    slept = [sum(times) / processes for times in zip(*(answer["slept"] for answer in answers), strict=True)]
    idle = [1 - busy / step for busy, step in zip(slept, steps, strict=True)]
    # Of a backward pass that is not split, both halves are one action.
    weight = 1.0 if schedule in SPLIT_BACKWARD else 0.0
    units = simulate(layout, count, [Times(1.0, 1.0, weight)] * layout.stages).seconds
    besides = median(_steps(empty)) / units
    sleep = median(slept) / (3 * count * layout.stages_per_process)
    times = Times(sleep + besides, sleep + besides, sleep + weight * besides)
    predicted = 1 - median(slept) / simulate(layout, count, [times] * layout.stages).seconds
    waiting = bubble(layout, count)
    name = f"{schedule}, {processes} processes, {count} micro-batches: idle"
    why = (
        f"a process has {median(slept):.2f} s to do in a step of {median(steps):.2f} s; an action takes "
        f"{1000 * besides:.1f} ms besides"
    )
    load = os.getloadavg()[0]
    busy = load > len(os.sched_getaffinity(0))
    if busy:
        why = f"others' work (load {load:.0f}) delays what the processes send each other; {why}"
    return Row(
        name,
        ours=round(median(idle), 4),
        peer=round(predicted, 4),
        unit="of a step",
        goal=_GOAL,
        better="lower",
        conclusive=not busy,
        why=why,
        details={
            "idle": [round(share, 4) for share in idle],
            "seconds": [round(step, 4) for step in steps],
            "predicted_if_messages_took_no_time": round(waiting / (1 + waiting), 4),
            "milliseconds_of_an_action_besides": round(1000 * besides, 3),
        },
    )


def _steps(answers: list[Any]) -> list[float]:
    """A step lasts as long as its slowest process."""
    return [max(times) for times in zip(*(answer["steps"] for answer in answers), strict=True)]


@contextmanager
def _processes(count: int) -> Iterator[list[Connection]]:
    """`count` processes in one gloo group that measure what they are told to."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder:
        connections, started = [], []
        for rank in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(rank, count, str(Path(folder) / "store"), theirs))
            process.start()
            theirs.close()
            connections.append(ours)
            started.append(process)
        try:
            yield connections
        finally:
            for connection in connections:
                connection.send(None)
            for process in started:
                process.join()


def _serve(rank: int, count: int, store: str, connection: Connection) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=count)
    while (order := connection.recv()) is not None:
        connection.send(_measure(*order))
    dist.destroy_process_group()


def _measure(schedule: Schedule, count: int, seconds: float, runs: int) -> dict[str, list[float]]:
    """Seconds of every step, and seconds that were slept in it."""
    layout = Layout(pipeline=dist.get_world_size(), pipeline_schedule=schedule)
    config = ModelConfig(
        num_hidden_layers=layout.stages, hidden_size=_WIDTH, num_attention_heads=1, max_position_embeddings=64
    )

    def put_to_sleep(part: Decoder) -> None:
        for name in part.layers:
            part.layers[name] = SleepingLayer(seconds / layout.stages_per_process)

    model = build_model(
        config,
        32,
        layout=layout,
        mesh=build_mesh(layout, CPU),
        device=CPU,
        settings=Settings(seed=0, prepare_blocks=put_to_sleep),
        micro_batch=(1, _LENGTH),
    )
    model.train()
    tokens = torch.zeros(1, _LENGTH, dtype=torch.int64)
    batch = MicroBatch(tokens, tokens, torch.arange(_LENGTH)[None], None)
    found: dict[str, list[float]] = {"steps": [], "slept": []}
    # The first step is a warm-up.
    for run in range(runs + 1):
        dist.barrier()
        Sleep.total = 0.0
        began = time.perf_counter()
        model.forward_backward([batch] * count)
        if run:
            found["steps"].append(time.perf_counter() - began)
            found["slept"].append(Sleep.total)
    return found


class SleepingLayer(nn.Module):
    """Takes its time, computes next to nothing."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds
        self.weight = nn.Parameter(torch.empty(_WIDTH))

    def forward(self, x: Tensor, where: Any) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        x = Sleep.apply(x, self.seconds, self.seconds)  # type: ignore[no-untyped-call]
        weight: Tensor = Sleep.apply(self.weight, 0.0, self.seconds)  # type: ignore[no-untyped-call]
        return x * weight


class Sleep(torch.autograd.Function):
    """The same numbers, later; so are their gradients."""

    total = 0.0
    """Seconds that this process has slept."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, seconds: float, backward_seconds: float) -> Tensor:
        ctx.seconds = backward_seconds
        Sleep._sleep(seconds)
        return x.clone()

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None]:
        Sleep._sleep(ctx.seconds)
        return grad, None, None

    @staticmethod
    def _sleep(seconds: float) -> None:
        if seconds:
            began = time.perf_counter()
            time.sleep(seconds)
            Sleep.total += time.perf_counter() - began


if __name__ == "__main__":
    main()
