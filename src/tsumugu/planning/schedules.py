"""How long a pipeline's processes wait for each other.

`order` lists what every process does, one action after the other, exactly as PyTorch's schedules have it
(torch.distributed.pipelining, 2.13). `simulate` plays it: an action begins when its process is free and what
it needs has arrived. `bubble` is the answer that a search over thousands of layouts wants, from a closed
formula where there is one.

Not in it: messages that hold each other up, and the computation that a message slows down.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal, NamedTuple

from tsumugu.errors import TsumuguError
from tsumugu.training.layout import SPLIT_BACKWARD, Layout, Schedule

Kind = Literal["F", "B", "I", "W"]
"""Forward; whole backward; or its two halves, the gradient of the input and that of the weights."""
_DIGITS = 4
"""Of the shares of the time that answers are remembered by: 0.01 % of a step."""


class Action(NamedTuple):
    """A stage's pass over a micro-batch; as text, like PyTorch's: `3F0`."""

    stage: int
    kind: Kind
    micro_batch: int

    def __str__(self) -> str:
        return f"{self.stage}{self.kind}{self.micro_batch}"


@dataclass(frozen=True)
class Times:
    """Seconds that one stage takes for one micro-batch."""

    forward: float
    backward_input: float
    """The gradient of its input, and what is computed anew for it under checkpointing."""
    backward_weight: float
    """The gradient of its weights."""

    def of(self, kind: Kind) -> float:
        """Seconds of an action."""
        if kind == "F":
            return self.forward
        if kind == "I":
            return self.backward_input
        if kind == "W":
            return self.backward_weight
        return self.backward_input + self.backward_weight

    @property
    def total(self) -> float:
        """Seconds of a forward and a backward pass."""
        return self.forward + self.backward_input + self.backward_weight


class Slot(NamedTuple):
    """When an action happened, in seconds since the step began."""

    action: Action
    begin: float
    end: float


@dataclass(frozen=True)
class Simulation:
    """A step of a pipeline, without the optimizer."""

    seconds: float
    """From the first action to the last one's end."""
    slots: tuple[tuple[Slot, ...], ...]
    """What each process did, in order."""

    @property
    def idle(self) -> tuple[float, ...]:
        """The share of the step in which each process waited."""
        busy = [sum(slot.end - slot.begin for slot in slots) for slots in self.slots]
        return tuple(1 - part / self.seconds for part in busy)


def order(layout: Layout, micro_batches: int) -> list[list[Action]]:
    """The actions of every process of the pipeline, in PyTorch's order.

    Raises:
        TsumuguError: the schedule cannot work with so many micro-batches.
    """
    processes, schedule = layout.pipeline, layout.pipeline_schedule
    _check(layout, micro_batches)
    if schedule == "gpipe":
        return [
            [Action(rank, kind, n) for kind in ("F", "B") for n in range(micro_batches)]
            for rank in range(processes)
        ]
    if schedule == "zbv_zero_bubble":
        return [_zbv(rank, processes, micro_batches) for rank in range(processes)]
    return [_alternating(layout, rank, micro_batches) for rank in range(processes)]


def simulate(layout: Layout, micro_batches: int, times: Sequence[Times], *, send: float = 0.0) -> Simulation:
    """Play a step.

    Args:
        layout: of which the pipeline counts.
        micro_batches: passes of a process in a step.
        times: of every stage, `layout.stages` of them.
        send: seconds that a stage's output is on its way to another process. GPipe and 1F1B ask for it only
            when they want to go on with it, so that it sets out when both sides are ready; the others ask
            ahead.

    Raises:
        TsumuguError: the schedule cannot work with so many micro-batches.
    """
    if len(times) != layout.stages:
        raise ValueError(f"times of {len(times)} stages for {layout.stages}")
    actions = order(layout, micro_batches)
    asks_ahead = layout.stages_per_process > 1
    owners = [layout.stage_owner(stage) for stage in range(layout.stages)]
    seconds = [{kind: time.of(kind) for kind in ("F", "B", "I", "W")} for time in times]
    last = layout.stages - 1
    # When the output of a stage's forward pass, and of its backward pass, was there.
    forward = [[-1.0] * micro_batches for _ in owners]
    backward = [[-1.0] * micro_batches for _ in owners]
    free = [0.0] * len(actions)
    slots: list[list[Slot]] = [[] for _ in actions]
    waiting = set(range(len(actions)))
    while waiting:
        before = len(waiting), sum(map(len, slots))
        for rank in sorted(waiting):
            done = slots[rank]
            for action in actions[rank][len(done) :]:
                stage, kind, n = action
                begin = free[rank]
                source = None
                if kind == "F" and stage > 0:
                    source, ready = stage - 1, forward[stage - 1][n]
                elif kind in "BI" and stage < last:
                    source, ready = stage + 1, backward[stage + 1][n]
                if source is not None:
                    if ready < 0:
                        break
                    way = send if owners[source] != rank else 0.0
                    begin = max(begin, ready + way) if asks_ahead else max(begin, ready) + way
                end = begin + seconds[stage][kind]
                if kind == "F":
                    forward[stage][n] = end
                elif kind != "W":
                    backward[stage][n] = end
                free[rank] = end
                done.append(Slot(action, begin, end))
            if len(done) == len(actions[rank]):
                waiting.remove(rank)
        assert before != (len(waiting), sum(map(len, slots))), "an order in which everybody waits"
    return Simulation(max(free), tuple(tuple(part) for part in slots))


def bubble(
    layout: Layout,
    micro_batches: int,
    *,
    forward: float = 1.0,
    backward_input: float = 1.0,
    backward_weight: float = 1.0,
    send: float = 0.0,
) -> float:
    """What waiting adds to a step, as a share of the time in which nobody would wait; 0 without a pipeline.

    Equal to a simulation of equal stages (`idle / (1 - idle)`), and fast.

    Args:
        layout: of which the pipeline counts.
        micro_batches: passes of a process in a step.
        forward, backward_input, backward_weight, send: as in `Times` and `simulate`, in any one unit.

    Raises:
        TsumuguError: the schedule cannot work with so many micro-batches.
    """
    if layout.pipeline == 1:
        return 0.0
    _check(layout, micro_batches)
    times = Times(forward, backward_input, backward_weight)
    if not send:
        added = formula(layout, micro_batches, times)
        if added is not None:
            return added
    parts = (forward, backward_input, backward_weight, send)
    shares = tuple(round(part / times.total, _DIGITS) for part in parts)
    once, each = _added(layout.pipeline, layout.pipeline_schedule, *shares)
    return (once + each * micro_batches) / (layout.stages_per_process * micro_batches)


def formula(layout: Layout, micro_batches: int, times: Times) -> float | None:
    """`bubble` of equal stages that send in no time, from a formula; None where there is none.

    With p processes of v stages and m micro-batches: (p - 1) / m for GPipe and 1F1B, (p - 1) / (v m) for
    interleaved 1F1B (Narayanan et al. 2021, section 2.2). Interleaved zero bubble waits p - 1 times for the
    longest of F, I and F + I - W: the last is ZB-H1's (Qi et al. 2023), the others are what simulations show
    where gradients of weights take longer. ZBV waits for (p - 1) F if all three are equal, and has no formula
    if they are not.
    """
    gaps = layout.pipeline - 1
    passes = layout.stages_per_process * micro_batches
    if layout.pipeline_schedule == "zbv_zero_bubble":
        return None
    if layout.pipeline_schedule == "interleaved_zero_bubble":
        f, i, w = times.forward, times.backward_input, times.backward_weight
        return gaps * max(f, i, f + i - w) / (passes * times.total)
    return gaps / passes


@cache
def _added(
    processes: int,
    schedule: Schedule,
    forward: float,
    backward_input: float,
    backward_weight: float,
    send: float,
) -> tuple[float, float]:
    """What waiting adds to a step once, and with every micro-batch, in passes over a stage: a pipeline that
    is full goes on evenly, so that two simulations tell those of all lengths."""
    layout = Layout(pipeline=processes, pipeline_schedule=schedule)
    times = Times(forward, backward_input, backward_weight)

    def added(count: int) -> float:
        seconds = simulate(layout, count, [times] * layout.stages, send=send).seconds
        return seconds / times.total - count * layout.stages_per_process

    first = layout.stages_per_process * processes
    each = (added(first + processes) - added(first)) / processes
    return added(first) - each * first, each


def _check(layout: Layout, micro_batches: int) -> None:
    if micro_batches < layout.stages:
        raise TsumuguError(
            f"a pipeline of {layout.stages} stages needs at least as many micro-batches, not {micro_batches}"
        )
    if layout.stages_per_process > 1 and micro_batches % layout.pipeline:
        raise TsumuguError(
            f"{layout.pipeline_schedule} needs a multiple of pipeline = {layout.pipeline} micro-batches, not "
            f"{micro_batches}"
        )


def _alternating(layout: Layout, rank: int, micro_batches: int) -> list[Action]:
    """1F1B, and its relatives that interleave: forward passes until the first gradient can be there, then one
    backward pass for each further one."""
    processes, chunks = layout.pipeline, layout.stages_per_process
    split = layout.pipeline_schedule in SPLIT_BACKWARD
    passes = chunks * micro_batches

    def place(index: int) -> tuple[int, int]:
        # `processes` micro-batches go through a stage, then the same ones through the process's next stage.
        around, n = divmod(index, processes)
        return around % chunks, around // chunks * processes + n

    forwards = [
        Action(chunk * processes + rank, "F", n) for chunk, n in (place(index) for index in range(passes))
    ]
    backwards = [
        Action((chunks - 1 - chunk) * processes + rank, "I" if split else "B", n)
        for chunk, n in (place(index) for index in range(passes))
    ]
    weights = [Action(action.stage, "W", action.micro_batch) for action in backwards] if split else []
    hops = processes - 1 - rank
    ahead = (chunks - 1) * processes + (2 * hops if chunks > 1 and not split else hops)
    actions = forwards[:ahead]
    written = 0
    for index, backward in enumerate(backwards):
        actions += [*forwards[ahead + index : ahead + index + 1], backward]
        # The later a process is, the longer it can put its weights' gradients off; they fill its end.
        if split and index >= rank:
            actions.append(weights[written])
            written += 1
    return actions + weights[written:]


def _zbv(rank: int, processes: int, micro_batches: int) -> list[Action]:
    """ZBV: every process has a stage on the way down and one on the way up again."""
    down, up = rank, 2 * processes - 1 - rank
    done = dict.fromkeys([(stage, kind) for stage in (down, up) for kind in ("F", "I", "W")], 0)
    actions: list[Action] = []

    def do(stage: int, *kinds: Kind) -> None:
        for kind in kinds:
            actions.append(Action(stage, kind, done[stage, kind]))
            done[stage, kind] += 1

    for _ in range(2 * (processes - rank) - 1):
        do(down, "F")
    for _ in range(rank):
        do(up, "F")
        do(down, "F")
    for _ in range(processes - rank):
        do(up, "F", "I", "W")
    while done[up, "F"] < micro_batches:
        if done[down, "F"] < micro_batches:
            do(down, "F")
        do(down, "I", "W")
        do(up, "F", "I", "W")
    for _ in range(rank):
        do(down, "I")
        do(up, "I")
    for _ in range(processes - rank):
        do(down, "I", "W")
    for stage in (up, down):
        while done[stage, "W"] < done[stage, "I"]:
            do(stage, "W")
    return actions
