"""Whether two models that answered the same questions differ by more than luck.

Both models saw the same items, so what counts is the difference on each item: most of the noise (some
items are hard for everybody) cancels (Miller, Adding Error Bars to Evals, arXiv 2411.00640, 2024,
section 4.2).

- right or wrong: the exact McNemar test, a sign test on the items of which one model alone is right
  (McNemar 1947; exact as in Fagerland, Lydersen and Laake 2013);
- grades and nats: a permutation test that exchanges the two models on each item by the toss of a coin
  (Fisher 1935; Dror et al., The Hitchhiker's Guide to Testing Statistical Significance in NLP, 2018);
- intervals: the bootstrap over items (Efron 1979), which holds for ratios of sums too;
- several tests at once: Holm's correction (1979).

Items are taken to be independent. Questions on one passage are not quite, so for them intervals are
somewhat too narrow.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 10_000
_INTERVAL_RESAMPLES = 2_000
_AT_ONCE = 4_000_000
"""Numbers drawn together, about 32 MB."""
MCNEMAR, PERMUTATION = "exact McNemar", "paired permutation"
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Paired:
    """The difference of two models on the same items: second minus first."""

    items: int
    difference: float
    low: float
    high: float
    """A 95 % interval of the difference."""
    p: float
    """How likely a difference this large is, in either direction, if the models are equally good."""
    test: str


def compare_right_and_wrong(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> Paired:
    """Two models whose answers are right (1) or wrong (0), item by item; at least one item."""
    a, b = _pair(first, second)
    p = mcnemar(int(np.sum(a > b)), int(np.sum(b > a)))
    return _paired(b - a, np.ones(len(a)), p, MCNEMAR, seed)


def compare_sums(
    first: Sequence[float], second: Sequence[float], *, weights: Sequence[float] | None = None, seed: int = 0
) -> Paired:
    """Two models with a number for every item; the score is the sum of numbers over the sum of weights.

    Args:
        first: of each item, for one model.
        second: the same for the other.
        weights: such as the bytes of a document, the same for both; default: 1 each, which makes the
            score a mean.
        seed: of the resampling; the same seed, the same answer.
    """
    a, b = _pair(first, second)
    sizes = np.ones(len(a)) if weights is None else np.asarray(weights, dtype=np.float64)
    return _paired(b - a, sizes, permutation_test(b - a, seed=seed), PERMUTATION, seed)


def compare_values(first: Sequence[float], second: Sequence[float], *, seed: int = 0) -> Paired:
    """`compare_right_and_wrong` where all values are 0 or 1, else `compare_sums`."""
    if all(value in (0.0, 1.0) for value in (*first, *second)):
        return compare_right_and_wrong(first, second, seed=seed)
    return compare_sums(first, second, seed=seed)


def mcnemar(first_only: int, second_only: int) -> float:
    """The two-sided exact test: `2 * P(X <= min)`, X binomial over the items that differ, each 1/2.

    >>> mcnemar(1, 9)
    0.021484375
    """
    total = first_only + second_only
    term = below = 1
    for successes in range(min(first_only, second_only)):
        term = term * (total - successes) // (successes + 1)
        below += term
    # Whole numbers to the end: 2**total is beyond floating point from 1,024 items on.
    return min(1.0, 2 * below / 2**total)


def permutation_test(differences: Floats, *, resamples: int = RESAMPLES, seed: int = 0) -> float:
    """The share of sign changes of the differences whose sum is at least as far from 0 as theirs.

    All sign changes, if there are no more of them than `resamples`. Otherwise a random draw in which
    the observed signs count as one, so that p is never 0 and the test keeps its level (Phipson and
    Smyth 2010).
    """
    nonzero = differences[differences != 0]
    if not len(nonzero):
        return 1.0
    # A sum that is equal but for rounding counts as equal.
    bound = abs(nonzero.sum()) - 1e-9 * np.abs(nonzero).sum()
    if len(nonzero) < 63 and 2 ** len(nonzero) <= resamples:
        bits = np.arange(2 ** len(nonzero))[:, None] >> np.arange(len(nonzero)) & 1
        return float(np.mean(np.abs((1 - 2 * bits) @ nonzero) >= bound))
    generator = np.random.default_rng(seed)
    extreme = 0
    for size in _portions(resamples, len(nonzero)):
        signs = 1 - 2 * generator.integers(0, 2, size=(size, len(nonzero)), dtype=np.int8)
        extreme += int(np.sum(np.abs(signs @ nonzero) >= bound))
    return (extreme + 1) / (resamples + 1)


def bootstrap_interval(
    numbers: Floats, weights: Floats, *, resamples: int = _INTERVAL_RESAMPLES, seed: int = 0
) -> tuple[float, float]:
    """A 95 % percentile interval of `sum(numbers) / sum(weights)`, items drawn with replacement."""
    generator = np.random.default_rng(seed)
    ratios = []
    for size in _portions(resamples, len(numbers)):
        drawn = generator.integers(0, len(numbers), size=(size, len(numbers)))
        ratios.append(numbers[drawn].sum(1) / weights[drawn].sum(1))
    low, high = np.percentile(np.concatenate(ratios), [2.5, 97.5])
    return float(low), float(high)


def holm(values: Sequence[float]) -> list[float]:
    """Each p corrected for their number: the i-th smallest of m times m - i + 1, never falling.

    >>> [round(p, 3) for p in holm([0.01, 0.04, 0.03])]
    [0.03, 0.06, 0.06]
    """
    corrected = [0.0] * len(values)
    largest = 0.0
    for rank, place in enumerate(sorted(range(len(values)), key=lambda index: values[index])):
        largest = max(largest, min(1.0, (len(values) - rank) * values[place]))
        corrected[place] = largest
    return corrected


def mean_and_stderr(values: Sequence[float]) -> tuple[float, float | None]:
    """The mean, and the sample's deviation over the root of its size; None of a single value."""
    array = np.asarray(values, dtype=np.float64)
    stderr = float(array.std(ddof=1)) / math.sqrt(len(array)) if len(array) > 1 else None
    return float(array.mean()), stderr


def _pair(first: Sequence[float], second: Sequence[float]) -> tuple[Floats, Floats]:
    assert len(first) == len(second) > 0
    return np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)


def _paired(differences: Floats, weights: Floats, p: float, test: str, seed: int) -> Paired:
    low, high = bootstrap_interval(differences, weights, seed=seed)
    return Paired(
        items=len(differences),
        difference=float(differences.sum() / weights.sum()),
        low=low,
        high=high,
        p=p,
        test=test,
    )


def _portions(total: int, width: int) -> list[int]:
    """`total` rows of `width` numbers, divided so that no portion is too large."""
    most = max(1, _AT_ONCE // max(1, width))
    return [min(most, total - begin) for begin in range(0, total, most)]
