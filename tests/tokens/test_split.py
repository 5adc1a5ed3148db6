"""The split is by document, stable, and of the size that was asked for."""

import pytest

from tsumugu.tokens.split import is_validation


def test_the_share_is_as_asked_and_the_choice_depends_on_the_seed() -> None:
    ids = [f"{number:032x}" for number in range(20_000)]
    first = {i for i in ids if is_validation(i, seed=0, fraction=0.05)}
    second = {i for i in ids if is_validation(i, seed=1, fraction=0.05)}
    assert len(first) / len(ids) == pytest.approx(0.05, abs=0.006)
    assert len(first & second) / len(first) == pytest.approx(0.05, abs=0.03)


def test_a_larger_fraction_contains_the_smaller_one() -> None:
    ids = [str(number) for number in range(1000)]
    small = {i for i in ids if is_validation(i, seed=0, fraction=0.1)}
    assert small < {i for i in ids if is_validation(i, seed=0, fraction=0.3)}
