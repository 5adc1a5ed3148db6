"""Shares are exact: at the end of a run, and after any number of samples."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tsumugu.errors import TsumuguError
from tsumugu.tokens.config import SourceShare
from tsumugu.tokens.mixture import MAX_SAMPLES, Mixture, resolve_mixture, split_samples


def of(shares: list[int]) -> Mixture:
    names = tuple(f"source-{number}" for number in range(len(shares)))
    return Mixture(names, np.ones(len(shares), dtype=np.int64), np.array(shares, dtype=np.int64))


@settings(max_examples=80)
@given(st.lists(st.integers(0, 40), min_size=1, max_size=6).filter(any))
def test_every_prefix_has_its_shares_within_a_sample_per_split(shares: list[int]) -> None:
    sources, numbers = split_samples(np.arange(300), np.array(shares))
    for source, share in enumerate(shares):
        own = numbers[sources == source]
        assert (own == np.arange(len(own))).all()
        counts = np.cumsum(sources == source)
        exact = np.arange(1, 301) * share / sum(shares)
        assert (np.abs(counts - exact) <= 1 + source).all()
    whole = sum(shares)
    assert (
        np.bincount(split_samples(np.arange(whole), np.array(shares))[0], minlength=len(shares)).tolist()
        == shares
    )


@settings(max_examples=80)
@given(
    st.lists(st.integers(0, MAX_SAMPLES // 5), min_size=1, max_size=5).filter(any),
    st.integers(0, MAX_SAMPLES - 200),
)
def test_large_numbers_are_exact_and_agree_with_the_counts(shares: list[int], first: int) -> None:
    mixture = of(shares)
    sources, numbers = split_samples(np.arange(first, first + 100), mixture.shares)
    before, after = mixture.counts(first), mixture.counts(first + 100)
    assert sum(before) == first
    for source in range(len(shares)):
        assert numbers[sources == source].tolist() == list(range(before[source], after[source]))


def test_the_first_split_rounds_as_fractions_do() -> None:
    shares = np.array([1_234_567_890_123, 765_432_109_877])
    for first in (0, 1, 999_999_999_999, 1_500_000_000_001):
        sources, numbers = split_samples(np.arange(first, first + 50), shares)
        exact = [round(Fraction(n * 1_234_567_890_123, 2 * 10**12)) for n in range(first, first + 51)]
        expected = [0 if after > before else 1 for before, after in itertools.pairwise(exact)]
        assert sources.tolist() == expected
        assert numbers[0] == (exact[0] if expected[0] == 0 else first - exact[0])


def test_epochs_are_exact_and_weights_share_the_rest() -> None:
    sizes = {"web": 1000, "wikipedia": 100, "books": 50}
    wanted = {
        "web": SourceShare(weight=0.75),
        "books": SourceShare(weight=0.25),
        "wikipedia": SourceShare(epochs=2),
    }
    mixture = resolve_mixture(sizes, wanted, samples=600, batch_size=8)
    assert dict(zip(mixture.names, mixture.counts(600), strict=True)) == {
        "web": 300, "books": 100, "wikipedia": 200,
    }  # fmt: skip
    assert mixture.epochs(600) == [2.0, 0.3, 2.0]


def test_what_a_cap_takes_away_goes_to_the_others() -> None:
    sizes = {"web": 1000, "wikipedia": 100, "books": 50}
    wanted = {
        "web": SourceShare(weight=0.5),
        "books": SourceShare(weight=0.25, max_epochs=4),
        "wikipedia": SourceShare(weight=0.25, max_epochs=2.5),
    }
    mixture = resolve_mixture(sizes, wanted, samples=1300, batch_size=8)
    assert dict(zip(mixture.names, mixture.counts(1300), strict=True)) == {
        "web": 850, "books": 200, "wikipedia": 250,
    }  # fmt: skip


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(
            st.integers(1, 500),
            st.decimals("0.01", 9, places=2),
            st.none() | st.decimals("0.1", 4, places=1),
        ),
        min_size=1,
        max_size=6,
    ),
    st.integers(1, 2000),
)
def test_caps_hold_and_nobody_below_its_cap_is_shorted(
    rows: list[tuple[int, float, float | None]], samples: int
) -> None:
    sizes = {f"{number:02d}": size for number, (size, _, _) in enumerate(rows)}
    wanted = {
        name: SourceShare(weight=float(weight), max_epochs=None if cap is None else float(cap))
        for name, (_, weight, cap) in zip(sizes, rows, strict=True)
    }
    caps = [samples if cap is None else int(Fraction(str(float(cap))) * size) for size, _, cap in rows]
    if sum(caps) < samples:
        with pytest.raises(TsumuguError, match="every source reaches its max_epochs"):
            resolve_mixture(sizes, wanted, samples=samples, batch_size=1)
        return
    mixture = resolve_mixture(sizes, wanted, samples=samples, batch_size=1)
    counts = mixture.counts(samples)
    assert sum(counts) == samples
    assert all(count <= cap for count, cap in zip(counts, caps, strict=True))
    # Those below their cap stand to each other as their weights do.
    free = [
        (count, float(weight))
        for count, cap, (_, weight, _) in zip(counts, caps, rows, strict=True)
        if count < cap
    ]
    for count, weight in free:
        expected = sum(c for c, _ in free) * weight / sum(w for _, w in free)
        assert abs(count - expected) <= 1 + len(rows) / 2


def test_weights_alone_give_the_same_order_to_runs_of_any_length() -> None:
    wanted = {"a": SourceShare(weight=0.7), "b": SourceShare(weight=0.2), "c": SourceShare(weight=0.1)}
    sizes = {"a": 10, "b": 20, "c": 30}
    short = resolve_mixture(sizes, wanted, samples=100, batch_size=4)
    long = resolve_mixture(sizes, wanted, samples=10**12, batch_size=4)
    assert (short.shares == long.shares).all()
    counts = np.array(long.counts(10**12))
    assert (np.abs(counts - np.array([7, 2, 1]) * 10**11) <= 2).all()


def test_the_order_of_keys_means_nothing() -> None:
    sizes = {"a": 10, "b": 20}
    one = {"a": SourceShare(weight=1), "b": SourceShare(epochs=2)}
    two = dict(reversed(one.items()))
    first = resolve_mixture(sizes, one, samples=100, batch_size=4)
    second = resolve_mixture(sizes, two, samples=100, batch_size=4)
    assert first.names == second.names
    assert (first.shares == second.shares).all()


def test_epochs_alone_fix_the_length_of_the_run() -> None:
    sizes = {"a": 100, "b": 50}
    wanted = {"a": SourceShare(epochs=1), "b": SourceShare(epochs=1.5)}
    for samples in (168, 175, 182):
        assert resolve_mixture(sizes, wanted, samples=samples, batch_size=8).shares.tolist() == [100, 75]
    for samples in (167, 183):
        with pytest.raises(TsumuguError, match="set pretrain.steps = 22"):
            resolve_mixture(sizes, wanted, samples=samples, batch_size=8)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"a": SourceShare(epochs=3), "b": SourceShare(weight=1)}, "pretrain.steps to at least 38"),
        ({"a": SourceShare(weight=1, max_epochs=2)}, "pretrain.steps = 25 or lower"),
        ({"empty": SourceShare(weight=1)}, "'empty' is too short for a single sequence"),
    ],
)
def test_what_cannot_be_is_said_with_its_numbers(wanted: dict[str, SourceShare], message: str) -> None:
    with pytest.raises(TsumuguError, match=message):
        resolve_mixture({"a": 100, "b": 100, "empty": 0}, wanted, samples=240, batch_size=8)


@pytest.mark.parametrize(
    "words", [{}, {"epochs": 1, "weight": 1}, {"epochs": 1, "max_epochs": 2}, {"weight": 0}]
)
def test_a_source_has_epochs_or_a_weight(words: dict[str, float]) -> None:
    with pytest.raises(ValidationError):
        SourceShare.model_validate({key: float(value) for key, value in words.items()})
