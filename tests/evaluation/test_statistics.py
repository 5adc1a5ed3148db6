"""The paired tests give what the formulas give, whichever way they are computed."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsumugu.evaluation.statistics import (
    MCNEMAR,
    PERMUTATION,
    bootstrap_interval,
    compare_right_and_wrong,
    compare_sums,
    compare_values,
    holm,
    mcnemar,
    mean_and_stderr,
    permutation_test,
)


@given(st.integers(0, 40), st.integers(0, 40))
def test_mcnemar_is_the_two_sided_binomial_test(first_only: int, second_only: int) -> None:
    total = first_only + second_only
    tail = sum(math.comb(total, k) for k in range(min(first_only, second_only) + 1)) / 2**total
    assert mcnemar(first_only, second_only) == pytest.approx(min(1.0, 2 * tail))
    assert mcnemar(first_only, second_only) == mcnemar(second_only, first_only)


@given(st.integers(0, 3000), st.integers(0, 3000))
@settings(max_examples=20, deadline=None)
def test_mcnemar_agrees_with_scipy_for_many_items(first_only: int, second_only: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    if first_only + second_only:
        expected = stats.binomtest(first_only, first_only + second_only, 0.5).pvalue
        assert mcnemar(first_only, second_only) == pytest.approx(expected, rel=1e-6, abs=1e-300)


def test_mcnemar_of_a_textbook() -> None:
    # Ten items differ, one in favour of the first: 2 * (1 + 10) / 1024.
    assert mcnemar(1, 9) == 22 / 1024
    assert mcnemar(0, 0) == 1.0
    assert mcnemar(5, 5) == 1.0


@given(st.lists(st.integers(-5, 5), min_size=1, max_size=9))
def test_the_permutation_test_is_exact_where_there_are_few_items(values: list[int]) -> None:
    differences = np.array(values, dtype=float)
    sums = [
        abs(float(np.dot(signs, differences))) for signs in itertools.product((-1, 1), repeat=len(values))
    ]
    expected = np.mean([value >= abs(differences.sum()) for value in sums])
    assert permutation_test(differences) == pytest.approx(expected)


def test_a_drawn_permutation_test_is_near_the_exact_one_and_never_zero() -> None:
    generator = np.random.default_rng(1)
    differences = generator.normal(0.3, 1.0, size=13)
    exact = permutation_test(differences, resamples=2**13)
    assert permutation_test(differences, resamples=8000) == pytest.approx(exact, abs=0.02)
    assert permutation_test(np.full(200, 1.0), resamples=99) == 1 / 100


def test_equal_models_are_not_told_apart_more_often_than_announced() -> None:
    generator = np.random.default_rng(2)
    values = [permutation_test(generator.normal(size=60), resamples=199, seed=seed) for seed in range(400)]
    assert np.mean(np.array(values) <= 0.05) <= 0.08


def test_a_bootstrap_interval_has_the_width_of_the_normal_one() -> None:
    numbers = np.random.default_rng(3).normal(2.0, 1.0, size=400)
    low, high = bootstrap_interval(numbers, np.ones(400))
    stderr = numbers.std(ddof=1) / 20
    assert (low, high) == pytest.approx(
        (numbers.mean() - 1.96 * stderr, numbers.mean() + 1.96 * stderr), abs=0.2 * stderr
    )


def test_a_long_document_weighs_more_than_a_short_one() -> None:
    found = compare_sums([100.0, 2.0], [110.0, 1.0], weights=[100.0, 2.0])
    assert found.difference == pytest.approx(9 / 102)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_never_lowers_a_p_and_keeps_their_order(values: list[float]) -> None:
    corrected = holm(values)
    assert all(p <= q <= 1 for p, q in zip(values, corrected, strict=True))
    order = np.argsort(values, kind="stable")
    assert list(np.array(corrected)[order]) == sorted(corrected)
    assert min(corrected) == pytest.approx(min(1.0, len(values) * min(values)))


def test_holm_of_a_worked_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


def test_right_and_wrong_answers_choose_mcnemar_and_grades_the_permutation() -> None:
    assert compare_values([1, 0, 1], [0, 0, 1]).test == MCNEMAR
    assert compare_values([1, 0, 0.5], [0, 0, 1]).test == PERMUTATION


def test_a_model_against_itself_is_no_different() -> None:
    for found in (compare_right_and_wrong([1, 0, 1], [1, 0, 1]), compare_sums([0.5, 0.1], [0.5, 0.1])):
        assert (found.difference, found.low, found.high, found.p) == (0, 0, 0, 1)


def test_the_same_items_give_the_same_answer_every_time() -> None:
    generator = np.random.default_rng(4)
    first, second = generator.random(50).tolist(), generator.random(50).tolist()
    assert compare_sums(first, second) == compare_sums(first, second)


def test_the_standard_error_is_that_of_the_harness() -> None:
    assert mean_and_stderr([1.0, 0.0, 1.0, 1.0]) == (0.75, pytest.approx(math.sqrt(0.75 * 0.25 / 3)))
    assert mean_and_stderr([1.0]) == (1.0, None)
