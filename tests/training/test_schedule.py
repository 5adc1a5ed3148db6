"""The learning rate and the batch size at every step."""

import itertools
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tsumugu.training.config import BatchSizeWarmupConfig, OptimizerConfig, PretrainConfig, ScheduleConfig
from tsumugu.training.schedule import batch_size, learning_rate, samples_before


def settings(steps: int, schedule: ScheduleConfig) -> PretrainConfig:
    return PretrainConfig(
        steps=steps,
        global_batch_size=4,
        sequence_length=16,
        optimizer=OptimizerConfig(learning_rate=0.01),
        schedule=schedule,
    )


def rates(schedule: ScheduleConfig) -> list[float]:
    """Of steps 0 (never asked for in a run) to 100."""
    return [learning_rate(step, settings(100, schedule)) for step in range(101)]


@pytest.mark.parametrize("name", ["cosine", "linear", "inverse_sqrt", "constant", "wsd"])
def test_every_schedule_warms_up_along_a_line_and_never_rises_again(name: str) -> None:
    found = rates(ScheduleConfig.model_validate({"name": name, "warmup_steps": 10}))
    assert found[:11] == pytest.approx([0.001 * step for step in range(11)])
    assert max(found) == found[10] == 0.01
    assert all(a >= b for a, b in itertools.pairwise(found[10:]))


@pytest.mark.parametrize("name", ["cosine", "linear", "wsd"])
def test_a_decay_ends_at_its_share(name: str) -> None:
    found = rates(ScheduleConfig.model_validate({"name": name, "warmup_steps": 10, "final_share": 0.2}))
    assert found[100] == pytest.approx(0.002)
    assert found[99] > found[100]


def test_cosine_and_linear_are_half_way_at_half_time() -> None:
    for name in ("cosine", "linear"):
        found = rates(ScheduleConfig.model_validate({"name": name, "warmup_steps": 10}))
        assert found[55] == pytest.approx(0.01 * (0.1 + 0.9 / 2))
        assert found[20] < 0.01


def test_wsd_is_stable_until_its_decay() -> None:
    found = rates(ScheduleConfig(name="wsd", warmup_steps=10, decay_share=0.4, final_share=0.0))
    assert set(found[10:61]) == {0.01}
    assert found[61:] == pytest.approx([0.01 * (1 - k / 40) for k in range(1, 41)])


def test_inverse_sqrt_halves_in_four_times_the_steps_down_to_its_share() -> None:
    found = rates(ScheduleConfig(name="inverse_sqrt", warmup_steps=10, final_share=0.4))
    assert found[40] == pytest.approx(0.005)
    assert found[100] == pytest.approx(0.004)


def test_without_warmup_the_first_step_is_just_below_the_peak() -> None:
    assert 0.0099 < learning_rate(1, settings(100, ScheduleConfig())) < 0.01


def growing(batch: int, start: int, steps: int) -> PretrainConfig:
    return PretrainConfig(
        steps=2_000_000,
        global_batch_size=batch,
        batch_size_warmup=BatchSizeWarmupConfig(start=start, steps=steps),
        sequence_length=16,
        optimizer=OptimizerConfig(learning_rate=0.01),
    )


def test_the_batch_grows_from_its_start_to_the_whole() -> None:
    sizes = [batch_size(step, growing(16, 4, 6)) for step in range(1, 9)]
    assert sizes == [4, 4, 8, 8, 12, 12, 16, 16]


@given(
    start=st.integers(1, 9), multiples=st.integers(1, 40), steps=st.integers(1, 50), step=st.integers(1, 120)
)
def test_samples_before_a_step_are_the_sum_of_its_predecessors(
    start: int, multiples: int, steps: int, step: int
) -> None:
    config = growing(start * multiples, start, steps)
    sizes = [batch_size(earlier, config) for earlier in range(1, step)]
    assert samples_before(step, config) == sum(sizes)
    assert all(size % start == 0 and start <= size <= start * multiples for size in sizes)


def test_samples_before_a_late_step_are_found_at_once() -> None:
    config = growing(4096, 64, 1_500_000)
    began = time.perf_counter()
    samples = samples_before(10**6, config)
    assert time.perf_counter() - began < 5
    # A line from 64 at the first step to 64 + 2 / 3 * 4032 at the last, less half a rise of rounding.
    assert samples == pytest.approx((64 + 4032 / 3 - 32) * 10**6, rel=1e-3)


def test_without_warmup_every_batch_is_whole() -> None:
    config = settings(100, ScheduleConfig())
    assert batch_size(1, config) == 4
    assert samples_before(101, config) == 400
