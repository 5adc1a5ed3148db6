"""The shuffle is a bijection for every size and key, and uniform over positions and pairs."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from tsumugu.tokens.permutation import hash_key, permuted


def keys(*values: int) -> NDArray[np.uint64]:
    return np.array(values, dtype=np.uint64)


def permutation(size: int, key: int) -> NDArray[np.int64]:
    return permuted(np.arange(size), size, keys(key))


@settings(max_examples=60)
@given(st.integers(1, 3000), st.integers(0, 2**64 - 1))
def test_every_key_gives_a_bijection(size: int, key: int) -> None:
    assert (np.sort(permutation(size, key)) == np.arange(size)).all()


@settings(max_examples=60)
@given(st.integers(1, 2**40), st.integers(0, 2**64 - 1), st.randoms(use_true_random=False))
def test_large_sizes_stay_inside_and_collide_nowhere(size: int, key: int, draw: random.Random) -> None:
    positions = np.unique([draw.randrange(size) for _ in range(200)])
    places = permuted(positions, size, keys(key))
    assert len(np.unique(places)) == len(positions)
    assert places.min() >= 0
    assert places.max() < size


def test_a_position_goes_to_the_same_place_in_any_company() -> None:
    positions = np.array([7, 7, 0, 99, 7])
    mixed_keys = keys(1, 2, 1, 2, 1)
    together = permuted(positions, 100, mixed_keys)
    alone = [int(permuted(positions[[i]], 100, mixed_keys[[i]])[0]) for i in range(5)]
    assert together.tolist() == alone
    assert together[0] == together[4] != together[1]


@pytest.mark.parametrize(
    ("position", "size", "key", "place"),
    [(0, 1, 0, 0), (3, 10, 7, 6), (999, 1000, 2**63 + 5, 798), (123456789012, 10**12, 2**62, 519968397733)],
)
def test_the_order_never_changes(position: int, size: int, key: int, place: int) -> None:
    """A run that goes on under a newer version must read what it would have read."""
    assert permuted(np.array([position]), size, keys(key)).tolist() == [place]


def _deviates(observed: NDArray[np.int64], *, degrees: int) -> float:
    """Chi-square against equal counts, in standard deviations (Wilson & Hilferty 1931)."""
    expected = observed.sum() / observed.size
    value = float(((observed - expected) ** 2 / expected).sum())
    spread = 2 / (9 * degrees)
    return float(((value / degrees) ** (1 / 3) - (1 - spread)) / spread**0.5)


@pytest.mark.parametrize("size", [2, 3, 5, 7, 10, 16, 17, 64, 100, 257])
def test_every_position_goes_everywhere_equally_often(size: int) -> None:
    drawn = keys(*(hash_key("uniform", number) for number in range(4000)))
    counts = np.stack(
        [np.bincount(permuted(np.full(4000, p), size, drawn), minlength=size) for p in range(size)]
    )
    assert abs(_deviates(counts, degrees=(size - 1) ** 2)) < 4


@pytest.mark.parametrize("size", [3, 5, 7, 10, 16, 17, 30])
@pytest.mark.parametrize("other", [1, -1])
def test_pairs_of_positions_go_to_all_pairs_equally_often(size: int, other: int) -> None:
    drawn = keys(*(hash_key("pairs", number) for number in range(20_000)))
    counts = np.zeros((size, size), dtype=np.int64)
    first = permuted(np.zeros(20_000, dtype=np.int64), size, drawn)
    second = permuted(np.full(20_000, other % size), size, drawn)
    np.add.at(counts, (first, second), 1)
    apart = counts[~np.eye(size, dtype=bool)]
    assert counts.trace() == 0
    assert abs(_deviates(apart, degrees=apart.size - 1)) < 4


def test_neighbours_in_a_large_epoch_do_not_stay_together() -> None:
    size, key = 10**12, hash_key("large")
    places = permuted(np.arange(20_000), size, keys(key))
    counts, _ = np.histogram(places, bins=100, range=(0, size))
    assert abs(_deviates(counts, degrees=99)) < 4
    steps, _ = np.histogram(np.diff(places) % size, bins=100, range=(0, size))
    assert abs(_deviates(steps, degrees=99)) < 4


def test_the_uniformity_test_would_see_a_bias() -> None:
    counts = np.zeros((10, 10), dtype=np.int64)
    for number in range(4000):
        counts[np.arange(10), (np.arange(10) + number % 9) % 10] += 1
    assert _deviates(counts, degrees=81) > 20
