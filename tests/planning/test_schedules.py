"""The order in which a pipeline's processes work, and how long they wait, without a pipeline."""

import random
from types import SimpleNamespace
from typing import Any, get_args

import pytest
from torch.distributed.pipelining import schedules as torch_schedules

from tsumugu.errors import TsumuguError
from tsumugu.planning.schedules import Action, Times, _added, bubble, formula, order, simulate
from tsumugu.training.layout import Layout, Schedule
from tsumugu.training.pipeline_parallel import _CLASSES

SCHEDULES: tuple[Schedule, ...] = get_args(Schedule)
EQUAL = Times(1.0, 1.0, 1.0)


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize(("processes", "rounds"), [(2, 2), (2, 5), (3, 3), (4, 2), (4, 4), (8, 2), (8, 3)])
def test_every_process_does_what_pytorch_does_in_the_same_order(
    schedule: Schedule, processes: int, rounds: int
) -> None:
    layout = Layout(pipeline=processes, pipeline_schedule=schedule)
    count = rounds * processes
    for rank, actions in enumerate(order(layout, count)):
        assert [str(action) for action in actions] == order_of_pytorch(layout, count, rank)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_the_bubble_is_that_of_a_simulation_however_long_the_passes_take(schedule: Schedule) -> None:
    draw = random.Random(7)
    for _ in range(12):
        # Multiples of a hundredth of the whole, which the search's memory does not round.
        forward, backward_input = draw.randint(20, 40) / 100, draw.randint(20, 40) / 100
        times = Times(forward, backward_input, 1 - forward - backward_input)
        layout = Layout(pipeline=draw.choice([2, 3, 4, 6]), pipeline_schedule=schedule)
        count = layout.pipeline * draw.choice([2, 3, 5, 9])
        send = draw.choice([0.0, 0.0, 0.01, 0.05, 0.2])
        played = simulate(layout, count, [times] * layout.stages, send=send)
        ideal = count * layout.stages_per_process
        found = bubble(
            layout,
            count,
            forward=times.forward,
            backward_input=times.backward_input,
            backward_weight=times.backward_weight,
            send=send,
        )
        assert found == pytest.approx(played.seconds / ideal - 1, abs=1e-6)
        assert played.idle == pytest.approx([1 - ideal / played.seconds] * layout.pipeline, abs=1e-6)


@pytest.mark.parametrize(
    ("schedule", "passes_waited"),
    [
        ("gpipe", 3 * 3),
        ("1f1b", 3 * 3),
        ("interleaved_1f1b", 3 * 3),
        ("interleaved_zero_bubble", 3 * 1),
        ("zbv_zero_bubble", 3 * 1),
    ],
)
def test_four_processes_wait_as_long_as_the_papers_say(schedule: Schedule, passes_waited: int) -> None:
    """Gradients of weights fill what would be gaps: only the first forward passes are waited for."""
    layout = Layout(pipeline=4, pipeline_schedule=schedule)
    count = 8
    ideal = 3 * count * layout.stages_per_process
    assert simulate(layout, count, [EQUAL] * layout.stages).seconds == ideal + passes_waited
    found = formula(layout, count, EQUAL)
    assert found is None or found == pytest.approx(passes_waited / ideal)
    assert bubble(layout, count) == pytest.approx(passes_waited / ideal)


def test_one_slow_stage_sets_the_pace() -> None:
    layout = Layout(pipeline=4)
    times = [EQUAL, EQUAL, Times(2.0, 2.0, 2.0), EQUAL]
    played = simulate(layout, 16, times)
    # It works for 16 x 6 s. Before that, a pass comes through two stages (2 s), and the first gradient is
    # waited for (1 s); after it, a gradient goes back through two stages (4 s).
    assert played.seconds == 2 + 1 + 16 * 6 + 4
    assert played.idle == pytest.approx([1 - 48 / 103, 1 - 48 / 103, 1 - 96 / 103, 1 - 48 / 103])


def test_messages_are_waited_for_twice_per_micro_batch_unless_they_are_asked_for_ahead() -> None:
    def added(schedule: Any, count: int) -> float:
        layout = Layout(pipeline=4, pipeline_schedule=schedule)
        times = [EQUAL] * layout.stages
        late = simulate(layout, count, times, send=0.1).seconds
        return late - simulate(layout, count, times).seconds

    for schedule in ("gpipe", "1f1b"):
        assert added(schedule, 16) - added(schedule, 8) == pytest.approx(8 * 2 * 0.1)
    for schedule in ("interleaved_1f1b", "interleaved_zero_bubble", "zbv_zero_bubble"):
        assert added(schedule, 16) == pytest.approx(added(schedule, 8))


def test_a_simulation_tells_what_happened_when() -> None:
    played = simulate(Layout(pipeline=2), 2, [Times(1.0, 1.0, 1.0)] * 2)
    assert [(str(slot.action), slot.begin, slot.end) for slot in played.slots[1]] == [
        ("1F0", 1.0, 2.0),
        ("1B0", 2.0, 4.0),
        ("1F1", 4.0, 5.0),
        ("1B1", 5.0, 7.0),
    ]
    assert played.slots[0][0].action == Action(0, "F", 0)


def test_without_a_pipeline_nobody_waits() -> None:
    assert bubble(Layout(data_shard=8), 1) == 0.0


@pytest.mark.parametrize(
    ("layout", "count", "words"),
    [
        (Layout(pipeline=4), 3, "at least as many micro-batches, not 3"),
        (Layout(pipeline=4, pipeline_schedule="interleaved_1f1b"), 10, "a multiple of pipeline = 4"),
    ],
)
def test_too_few_micro_batches_are_refused(layout: Layout, count: int, words: str) -> None:
    with pytest.raises(TsumuguError, match=words):
        bubble(layout, count)
    with pytest.raises(TsumuguError, match=words):
        order(layout, count)


def test_a_search_over_thousands_of_layouts_simulates_each_pipeline_once() -> None:
    _added.cache_clear()
    layouts = [Layout(pipeline=p, pipeline_schedule=s) for p in (2, 4, 8, 16) for s in SCHEDULES]
    for layout in layouts:
        for rounds in range(2, 52):
            bubble(layout, rounds * layout.pipeline, backward_input=1.1, backward_weight=0.9, send=0.01)
    assert _added.cache_info().misses == len(layouts)


def order_of_pytorch(layout: Layout, count: int, rank: int) -> list[str]:
    """What a process's schedule calls its stages for: recorded where the schedule is a program, read where it
    is a list."""
    done: list[str] = []
    stages = [recording_stage(layout, rank, stage, done) for stage in layout.stage_ids(rank)]
    kind: Any = torch_schedules.get_schedule_class(_CLASSES[layout.pipeline_schedule])
    single = issubclass(kind, torch_schedules.PipelineScheduleSingle)
    schedule = kind(stages[0] if single else stages, count, loss_fn=None)
    if not single:
        kinds = "FBIW"
        listed = map(str, schedule.pipeline_order_with_comms[rank])
        return [action for action in listed if action.strip("0123456789") in kinds]
    schedule._initialize_stage = lambda *_: None
    schedule._step_microbatches([()] * count, [{}] * count)
    return done


def recording_stage(layout: Layout, rank: int, stage: int, done: list[str]) -> Any:
    """As much of a stage as the schedules look at."""

    def nothing(*_: Any, **__: Any) -> list[Any]:
        return []

    def forward(n: int, *_: Any, **__: Any) -> None:
        done.append(f"{stage}F{n}")

    def backward(n: int, *_: Any, **__: Any) -> None:
        done.append(f"{stage}B{n}")

    return SimpleNamespace(
        stage_index=stage,
        num_stages=layout.stages,
        group_size=layout.pipeline,
        group_rank=rank,
        is_first=stage == 0,
        is_last=stage == layout.stages - 1,
        has_backward=True,
        submod=None,
        forward_one_chunk=forward,
        backward_one_chunk=backward,
        get_fwd_recv_ops=nothing,
        get_fwd_send_ops=nothing,
        get_bwd_recv_ops=nothing,
        get_bwd_send_ops=nothing,
        perform_reduce_grad=nothing,
    )
