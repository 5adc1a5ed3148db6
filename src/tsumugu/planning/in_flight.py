"""How many micro-batches a process of a pipeline holds between their forward and their backward pass.

The orders are those of PyTorch's schedules, which training takes; `tests/planning/test_memory.py` holds them
against the schedules themselves.
"""

from collections.abc import Iterator
from functools import cache

from tsumugu.training.layout import Layout, Schedule

_ROUNDS = 4
"""Rounds of as many micro-batches as processes after which a schedule only repeats itself."""


def in_flight(layout: Layout, micro_batches: int, rank: int) -> tuple[tuple[int, ...], ...]:
    """What a process may hold at a time, for each of its stages.

    Args:
        layout: with its pipeline and schedule.
        micro_batches: of one step.
        rank: of the process in the pipeline.

    Returns:
        Micro-batches for every stage of `layout.stage_ids(rank)`: all combinations that occur and that no
        other one exceeds in every number. The one whose backward pass has begun is among them.
    """
    if layout.pipeline == 1:
        return ((1,),)
    return _in_flight(layout.pipeline_schedule, layout.pipeline, micro_batches, rank)


@cache
def _in_flight(schedule: Schedule, processes: int, count: int, rank: int) -> tuple[tuple[int, ...], ...]:
    if schedule == "gpipe":
        return ((count,),)
    if schedule == "1f1b":
        return ((min(count, processes - rank),),)
    if schedule == "zbv_zero_bubble":
        actions = _zbv(processes, min(count, _ROUNDS * processes), rank)
    else:
        split = schedule == "interleaved_zero_bubble"
        actions = _interleaved(processes, count, rank, split=split)
    held = [0, 0]
    found: set[tuple[int, ...]] = set()
    for stage, change in actions:
        held[stage] += change
        if change > 0:
            found.add(tuple(held))
    return tuple(sorted(one for one in found if not any(_exceeds(other, one) for other in found)))


def _exceeds(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))


def _interleaved(processes: int, count: int, rank: int, *, split: bool) -> Iterator[tuple[int, int]]:
    """(stage of this process, +1 or -1), in order (Narayanan et al. 2021; ZB1P: Qi et al. 2023)."""
    rounds = max(1, count // processes)
    in_round = count // rounds
    if rounds > _ROUNDS:
        count = _ROUNDS * in_round
    factor = 1 if split else 2
    warmup = min(in_round + factor * (processes - 1 - rank), 2 * count)
    # With a split backward pass, the weights' part of it begins so many micro-batches late.
    late = rank if split else 0
    released = 0
    for step in range(2 * count + warmup):
        if step < 2 * count:
            yield step // in_round % 2, 1
        if step >= warmup + late:
            yield 1 - released // in_round % 2, -1
            released += 1


def _zbv(processes: int, count: int, rank: int) -> Iterator[tuple[int, int]]:
    """As `_interleaved`, for stages in the shape of a V (Qi et al. 2023, section 6)."""
    planned = max(2 * processes - 1, count)
    begun, released = [0, 0], [0, 0]

    def forward(stage: int) -> Iterator[tuple[int, int]]:
        begun[stage] += 1
        if begun[stage] <= count:
            yield stage, 1

    def backward(stage: int) -> Iterator[tuple[int, int]]:
        released[stage] += 1
        if released[stage] <= count:
            yield stage, -1

    for _ in range(2 * (processes - rank) - 1):
        yield from forward(0)
    for _ in range(rank):
        yield from forward(1)
        yield from forward(0)
    for _ in range(processes - rank):
        yield from forward(1)
        yield from backward(1)
    while begun[1] < begun[0] or begun[0] < planned:
        if begun[0] < planned:
            yield from forward(0)
        yield from backward(0)
        yield from forward(1)
        yield from backward(1)
