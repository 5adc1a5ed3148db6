"""Kneser-Ney against its definition, written down again in the plainest Python."""

import math
from collections import Counter, defaultdict

import numpy as np
import pytest

from tsumugu.evaluation.ngrams import NgramModel, discounts, train_ngrams

VOCABULARY = 12
BOS, EOS = 1, 2


def documents(seed: int, count: int = 30, length: int = 40) -> list[np.ndarray]:
    draw = np.random.default_rng(seed)
    weights = 1 / np.arange(1, VOCABULARY - 2)
    found = []
    for _ in range(count):
        body = draw.choice(np.arange(3, VOCABULARY), size=draw.integers(0, length), p=weights / weights.sum())
        # Make some contexts frequent, so that every order has something to say.
        body[1::3] = (body[::3][: len(body[1::3])] * 5) % 9 + 3
        found.append(np.array([BOS, *body, EOS], dtype=np.int64))
    return found


class Oracle:
    """Interpolated modified Kneser-Ney, with dictionaries and recursion."""

    def __init__(self, texts: list[np.ndarray], order: int) -> None:
        raw: list[Counter[tuple[int, ...]]] = [Counter() for _ in range(order + 1)]
        for text in texts:
            words = tuple(int(word) for word in text)
            for length in range(1, order + 1):
                for start in range(len(words) - length + 1):
                    raw[length][words[start : start + length]] += 1
        self.counts = raw
        for length in range(order - 1, 0, -1):
            left: defaultdict[tuple[int, ...], set[int]] = defaultdict(set)
            for ngram in raw[length + 1]:
                left[ngram[1:]].add(ngram[0])
            self.counts[length] = Counter(
                {n: len(left[n]) if n[0] != BOS else raw[length][n] for n in raw[length]}
            )
        self.counts[1][(BOS,)] = 0

    def probability(self, word: int, context: tuple[int, ...]) -> float:
        counts = self.counts[len(context) + 1]
        lower = self.probability(word, context[1:]) if context else 1 / VOCABULARY
        followers = {n: c for n, c in counts.items() if n[:-1] == context}
        total = sum(followers.values())
        if total == 0:
            return lower
        subtracted = discounts(np.array(list(counts.values())))
        freed = float(sum(subtracted[min(c, 3)] for c in followers.values()))
        own = followers.get((*context, word), 0)
        return float(own - subtracted[min(own, 3)]) / total + freed / total * lower


@pytest.mark.parametrize("order", [1, 2, 3, 5])
def test_probabilities_equal_the_definition(order: int) -> None:
    training = documents(0)
    model = train_ngrams(training, order=order, vocab_size=VOCABULARY)
    oracle = Oracle(training, order)
    for text in documents(1, count=4, length=15):
        words = [int(word) for word in text]
        expected = [
            math.log(oracle.probability(words[t], tuple(words[max(0, t - order + 1) : t])))
            for t in range(1, len(words))
        ]
        assert model.log_probabilities(text) == pytest.approx(expected)


@pytest.mark.parametrize("order", [1, 2, 5])
def test_probabilities_of_all_tokens_sum_to_one(order: int) -> None:
    model = train_ngrams(documents(0), order=order, vocab_size=VOCABULARY)
    for prefix in ([BOS], [BOS, 3], [BOS, 3, 4, 5, 6, 7], [BOS, 11, 11, 11], [BOS, EOS]):
        total = sum(
            math.exp(model.log_probabilities(np.array([*prefix, word]))[-1]) for word in range(VOCABULARY)
        )
        assert total == pytest.approx(1)


def test_a_higher_order_is_better_on_text_with_structure() -> None:
    def nats(model: NgramModel) -> float:
        return -sum(float(model.log_probabilities(text).sum()) for text in documents(9))

    losses = [nats(train_ngrams(documents(0, 200), order=n, vocab_size=VOCABULARY)) for n in (1, 2)]
    assert losses[1] < 0.95 * losses[0]


def test_discounts_of_little_text_are_the_fallback() -> None:
    fallback = [0.0, 0.5, 1.0, 1.5]
    assert discounts(np.array([1, 1, 2])).tolist() == fallback
    # The formula would subtract less than nothing from a count of two.
    assert discounts(np.array([1, 2, 3, 3, 3, 3, 3, 3, 4])).tolist() == fallback


def test_a_single_document_is_enough() -> None:
    model = train_ngrams([np.array([BOS, 5, EOS])], order=5, vocab_size=VOCABULARY)
    assert np.isfinite(model.log_probabilities(np.array([BOS, 6, 7, EOS]))).all()
