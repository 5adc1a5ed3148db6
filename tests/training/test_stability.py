"""When a step is applied, skipped, or reason to go back; and what is read afterwards."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsumugu.training.config import StabilityConfig
from tsumugu.training.stability import SpikeGuard

CONFIG = StabilityConfig(window=8, skips_before_rewind=2, rewinds_before_stop=2)
SPIKE = 50.0


def judge(guard: SpikeGuard, loss: float, *, step: int = 1, grad_norm: float = 1.0) -> str:
    return guard.judge(loss, grad_norm, step=step, samples=[range(step * 10, step * 10 + 10)]).action


def warm(config: StabilityConfig = CONFIG, *, steps: int = 8) -> SpikeGuard:
    guard = SpikeGuard(config)
    for step in range(1, steps + 1):
        assert judge(guard, 3.0 + 0.1 * (step % 2), step=step) == "apply"
    return guard


def test_a_step_far_above_the_last_ones_is_skipped_and_said_why() -> None:
    guard = warm()
    # Losses 3.0 and 3.1, four each: the standard deviation is 0.1 * sqrt(2 / 7).
    bound = 3.05 + 6 * 0.1 * math.sqrt(2 / 7)
    assert judge(guard, bound - 0.001, step=9) == "apply"
    guard = warm()
    verdict = guard.judge(bound + 0.001, 1.0, step=9, samples=[range(4)])
    assert verdict.action == "skip"
    assert verdict.reason == (
        "the loss is 3.372, more than 6 standard deviations (0.053) above 3.05, the mean of the last 8 steps"
    )


def test_loss_and_gradient_norm_are_each_enough() -> None:
    assert judge(warm(), 3.0, grad_norm=SPIKE) == "skip"
    assert judge(warm(), SPIKE, grad_norm=1.0) == "skip"


def test_far_below_is_no_spike() -> None:
    assert judge(warm(), 0.1, grad_norm=0.01) == "apply"


def test_nothing_is_a_spike_before_the_window_is_half_full() -> None:
    assert judge(warm(steps=3), SPIKE) == "apply"
    assert judge(warm(steps=4), SPIKE) == "skip"


@pytest.mark.parametrize("number", [math.nan, math.inf, -math.inf])
def test_what_is_no_number_is_always_skipped(number: float) -> None:
    config = StabilityConfig(spike_sigmas=None)
    assert judge(SpikeGuard(config), number) == "skip"
    assert judge(SpikeGuard(config), 3.0, grad_norm=number) == "skip"
    assert judge(warm(config), SPIKE) == "apply"


def test_skipped_steps_do_not_move_the_statistics() -> None:
    guard = warm(StabilityConfig(window=8, skips_before_rewind=100))
    for step in range(9, 40):
        assert judge(guard, SPIKE, step=step) == "skip"


def test_a_good_step_in_between_forgives_the_failures() -> None:
    guard = warm()
    assert [judge(guard, loss) for loss in (SPIKE, 3.0, SPIKE, 3.0)] == ["skip", "apply", "skip", "apply"]


def test_failures_in_a_row_rewind_and_fruitless_rewinds_stop() -> None:
    guard = warm()
    checkpoint = guard.state()
    for rewinds in (1, 2):
        assert judge(guard, SPIKE, step=9) == "skip"
        assert judge(guard, SPIKE, step=10) == "rewind"
        assert guard.rewinds == rewinds
        guard.rewind(checkpoint)
    assert judge(guard, 3.0, step=9) == "apply"
    assert judge(guard, math.nan, step=10) == "skip"
    assert judge(guard, math.nan, step=11) == "stop"


def test_a_rewind_that_led_a_window_further_does_not_count() -> None:
    guard = warm()
    judge(guard, SPIKE, step=9)
    assert judge(guard, SPIKE, step=10) == "rewind"
    guard.rewind(None)
    for step in range(1, 18):
        assert judge(guard, 3.0 + 0.1 * (step % 2), step=step) == "apply"
    assert guard.rewinds == 1
    judge(guard, 3.0, step=18)
    assert guard.rewinds == 0


def test_without_rewinds_the_first_series_stops() -> None:
    guard = SpikeGuard(StabilityConfig(skips_before_rewind=1, rewinds_before_stop=0))
    assert judge(guard, math.nan) == "stop"


def test_offending_samples_are_left_out_after_a_rewind() -> None:
    guard = warm()
    assert guard.next_samples(40, 8) == [range(40, 48)]
    guard.judge(SPIKE, 1.0, step=9, samples=[range(44, 48)])
    guard.judge(SPIKE, 1.0, step=10, samples=[range(48, 52)])
    guard.judge(SPIKE, 1.0, step=11, samples=[range(60, 64)])
    guard.rewind(None)
    assert guard.offending == (range(44, 52), range(60, 64))
    assert guard.next_samples(40, 8) == [range(40, 44), range(52, 56)]
    assert guard.next_samples(46, 4) == [range(52, 56)]
    assert guard.next_samples(52, 16) == [range(52, 60), range(64, 72)]
    assert guard.next_samples(64, 2) == [range(64, 66)]


@given(
    failed=st.lists(st.tuples(st.integers(0, 60), st.integers(1, 9)), max_size=6),
    sizes=st.lists(st.integers(1, 12), min_size=1, max_size=6),
)
def test_steps_read_every_other_sample_once_and_in_order(
    failed: list[tuple[int, int]], sizes: list[int]
) -> None:
    guard = SpikeGuard(StabilityConfig(skips_before_rewind=100))
    bad = set()
    for first, count in failed:
        guard.judge(math.nan, 1.0, step=1, samples=[range(first, first + count)])
        bad |= set(range(first, first + count))
    consumed, seen = 0, []
    for size in sizes:
        ranges = guard.next_samples(consumed, size)
        numbers = [number for part in ranges for number in part]
        assert len(numbers) == size
        seen += numbers
        consumed = ranges[-1].stop
    assert seen == [number for number in range(consumed) if number not in bad]


def test_state_goes_through_json_and_decides_the_same() -> None:
    guard = warm()
    judge(guard, SPIKE, step=9)
    other = SpikeGuard(CONFIG)
    other.restore(json.loads(json.dumps(guard.state(), allow_nan=False)))
    assert other.state() == guard.state()
    for step, loss in enumerate((SPIKE, 3.2, 3.35, SPIKE, math.nan), start=10):
        assert judge(other, loss, step=step) == judge(guard, loss, step=step)
    assert other.state() == guard.state()
