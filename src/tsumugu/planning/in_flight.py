"""How many micro-batches a process of a pipeline holds between their forward and their backward pass.

Read off the orders of `schedules.py`, the first rounds of them: what follows repeats itself.
"""

from functools import cache

from tsumugu.planning.schedules import Kind, order
from tsumugu.training.layout import Layout, Schedule

_ROUNDS = 4
"""Rounds of as many micro-batches as processes after which a schedule only repeats itself."""
_CHANGE: dict[Kind, int] = {"F": 1, "B": -1, "I": 0, "W": -1}
"""Micro-batches held more after an action. A split backward pass holds on until its second part."""


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
    layout = Layout(pipeline=processes, pipeline_schedule=schedule)
    stages = layout.stage_ids(rank)
    held = [0] * len(stages)
    found: set[tuple[int, ...]] = set()
    for action in order(layout, min(count, _ROUNDS * processes))[rank]:
        held[stages.index(action.stage)] += _CHANGE[action.kind]
        found.add(tuple(held))
    return tuple(sorted(one for one in found if not any(_exceeds(other, one) for other in found)))


def _exceeds(one: tuple[int, ...], other: tuple[int, ...]) -> bool:
    return one != other and all(a >= b for a, b in zip(one, other, strict=True))
