"""N-gram language models: the honest baselines that stand beside a neural model's perplexity.

Interpolated modified Kneser-Ney smoothing (Chen & Goodman 1998, "An Empirical Study of Smoothing
Techniques for Language Modeling"): every order subtracts one of three discounts, estimated from
the counts of counts, and gives the mass to the next lower order, whose counts are numbers of
distinct left neighbours; below the unigrams stands the uniform distribution. Order 1 is the
smoothed unigram, order 2 the interpolated bigram.

An n-gram is the pair (number of its prefix among the n-grams one shorter, last token), packed
into one integer; all n-grams of one length are one sorted array. So counting is sorting, looking
up is binary search, and a 5-gram model of millions of tokens takes seconds without a compiler.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ids = NDArray[np.int64]
Reals = NDArray[np.float64]
ABSENT = -1


@dataclass(frozen=True)
class Order:
    """All n-grams of one length that occur in training, sorted by key."""

    keys: Ids
    """`prefix number * vocab_size + last token`."""
    shares: Reals
    """Of each n-gram: what is left of its count after the discount, over its context's total."""
    backoffs: Reals
    """Of each context (n-gram one shorter): the share that goes to the next lower order."""


@dataclass(frozen=True)
class NgramModel:
    """A model of the tokens `0 ... vocab_size - 1`; `orders[0]` holds the unigrams."""

    vocab_size: int
    orders: tuple[Order, ...]

    def log_probabilities(self, document: Ids) -> Reals:
        """Natural logarithm of the probability of each token after the first, given those before.

        Args:
            document: `int64 [n]`, beginning with `<s>`.

        Returns:
            `float64 [n - 1]`.
        """
        probabilities = np.full(len(document), 1 / self.vocab_size)
        contexts = np.zeros(len(document), dtype=np.int64)
        for order in self.orders:
            found = _look_up(order.keys, contexts, document, self.vocab_size)
            known = contexts != ABSENT
            probabilities[known] *= order.backoffs[contexts[known]]
            probabilities[found != ABSENT] += order.shares[found[found != ABSENT]]
            contexts = _previous(found)
        logarithms: Reals = np.log(probabilities[1:])
        return logarithms


def train_ngrams(documents: Sequence[Ids], *, order: int, vocab_size: int) -> NgramModel:
    """Count and smooth all n-grams up to length `order`.

    Args:
        documents: token ids of each document, `<s>` first and nowhere else.
    """
    tokens = np.concatenate(documents)
    starts = np.zeros(len(tokens), dtype=bool)
    starts[np.cumsum([0, *(len(document) for document in documents[:-1])])] = True

    # numbers[t]: which n-gram ends at t; ABSENT where it would reach over a document's start.
    keys, firsts, counts, numbers = _count(np.zeros(len(tokens), dtype=np.int64), tokens, vocab_size)
    levels = [(keys, counts)]
    for _ in range(1, order):
        contexts = np.where(starts, ABSENT, _previous(numbers))
        shorter = numbers
        keys, firsts, counts, numbers = _count(contexts, tokens, vocab_size)
        # A shorter n-gram counts as often as it has different left neighbours; one that begins
        # with <s> has none, and keeps its plain count.
        neighbours = np.bincount(shorter[firsts], minlength=len(levels[-1][0]))
        levels[-1] = (levels[-1][0], np.where(neighbours > 0, neighbours, levels[-1][1]))
        levels.append((keys, counts))
    # <s> is never predicted.
    levels[0][1][np.searchsorted(levels[0][0], tokens[0])] = 0

    contexts_of_level = [1, *(len(keys) for keys, _ in levels[:-1])]
    return NgramModel(
        vocab_size=vocab_size,
        orders=tuple(
            _smooth(keys, counts, vocab_size, contexts)
            for (keys, counts), contexts in zip(levels, contexts_of_level, strict=True)
        ),
    )


def discounts(counts: Ids) -> Reals:
    """What to subtract from counts of 0, 1, 2, and 3 or more (Chen & Goodman, equation 26).

    Where the text is too small to estimate them, 0.5, 1.0 and 1.5 (KenLM's fallback): a discount
    of zero would leave nothing for what was never seen.
    """
    fallback = np.array([0.0, 0.5, 1.0, 1.5])
    n1, n2, n3, n4 = (int((counts == number).sum()) for number in (1, 2, 3, 4))
    if min(n1, n2, n3, n4) == 0:
        return fallback
    y = n1 / (n1 + 2 * n2)
    estimated = np.array([0.0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3])
    return estimated if estimated[1:].min() > 0 else fallback


def _count(contexts: Ids, tokens: Ids, vocab_size: int) -> tuple[Ids, Ids, Ids, Ids]:
    """Sorted keys, position of each one's first occurrence, counts, and the number at each position."""
    positions = np.flatnonzero(contexts != ABSENT)
    keys, firsts, inverse, counts = np.unique(
        contexts[positions] * vocab_size + tokens[positions],
        return_index=True,
        return_inverse=True,
        return_counts=True,
    )
    numbers = np.full(len(tokens), ABSENT, dtype=np.int64)
    numbers[positions] = inverse
    return keys, positions[firsts], counts, numbers


def _smooth(keys: Ids, counts: Ids, vocab_size: int, contexts: int) -> Order:
    prefixes = keys // vocab_size
    subtracted = discounts(counts)[np.minimum(counts, 3)]
    totals = np.bincount(prefixes, weights=counts, minlength=contexts)
    freed = np.bincount(prefixes, weights=subtracted, minlength=contexts)
    # A context that nothing follows hands everything down.
    backoffs = np.divide(freed, totals, out=np.ones(contexts), where=totals > 0)
    shares = (counts - subtracted) / np.maximum(totals[prefixes], 1)
    return Order(keys=keys, shares=shares, backoffs=backoffs)


def _look_up(keys: Ids, contexts: Ids, tokens: Ids, vocab_size: int) -> Ids:
    if len(keys) == 0:
        return np.full(len(tokens), ABSENT, dtype=np.int64)
    wanted = contexts * vocab_size + tokens
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where((contexts != ABSENT) & (keys[places] == wanted), places, ABSENT)


def _previous(numbers: Ids) -> Ids:
    """The number at the position before each."""
    return np.concatenate([[ABSENT], numbers[:-1]])
