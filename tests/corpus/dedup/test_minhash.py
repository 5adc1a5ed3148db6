"""MinHash against what it estimates: the Jaccard similarity of sets of n-grams, by brute force."""

import itertools
import random
from collections.abc import Iterator, Sequence
from typing import Literal

import numpy as np
import pytest
from dedup_texts import data, jaccard, near_duplicates, ngrams
from numpy.typing import NDArray

from conftest import japanese_text
from tsumugu.corpus.dedup.minhash import minhash_bands
from tsumugu.corpus.dedup.normalising import comparable_codes

Method = Literal["fast", "classic"]
METHODS: tuple[Method, ...] = ("fast", "classic")


def bands_of(
    texts: Sequence[str], *, method: Method = "fast", bands: int = 20, rows: int = 10
) -> NDArray[np.uint64]:
    return minhash_bands(*comparable_codes(texts), ngram=5, bands=bands, rows=rows, method=method)


def agree(keys: NDArray[np.uint64], left: int, right: int) -> bool:
    return bool((keys[:, left] == keys[:, right]).any())


def oracle(texts: Sequence[str], *, method: Method) -> tuple[float, float, float]:
    """Recall of pairs with J >= 0.8, and the shares of candidates with J >= 0.74 and J >= 0.5."""
    sets = [ngrams(text) for text in texts]
    keys = bands_of(texts, method=method)
    similar = found = candidates = near = somewhat = 0
    for left, right in itertools.combinations(range(len(texts)), 2):
        candidate = agree(keys, left, right)
        # Sets of very different sizes cannot be similar: J <= smaller / larger.
        smaller, larger = sorted((len(sets[left]), len(sets[right])))
        if not candidate and smaller < 0.8 * larger:
            continue
        similarity = jaccard(sets[left], sets[right])
        if similarity >= 0.8:
            similar += 1
            found += candidate
        if candidate:
            candidates += 1
            near += similarity >= 0.74
            somewhat += similarity >= 0.5
    assert similar > 50
    return found / similar, near / candidates, somewhat / candidates


@pytest.mark.parametrize("method", METHODS)
def test_made_up_near_duplicates_are_found_as_theory_says(method: Method) -> None:
    # At J = 0.8 a pair is found with probability 1 - (1 - 0.8 ** 10) ** 20 = 0.90, above more often.
    recall, near, somewhat = oracle(near_duplicates(), method=method)
    assert recall >= 0.95
    assert near >= 0.60
    assert somewhat >= 0.99


@pytest.mark.parametrize("method", METHODS)
def test_versions_of_real_manuals_are_found(method: Method) -> None:
    documents = data("corpus/perldoc-near-duplicates.jsonl.zst")
    texts = sorted({document["text"] for document in documents if len(document["text"]) < 20_000})[:180]
    recall, near, somewhat = oracle(texts, method=method)
    assert recall >= 0.95
    assert near >= 0.85
    assert somewhat >= 0.99


def pairs_with_similarity() -> Iterator[tuple[str, str, float]]:
    """Random texts of 12 to 600 characters beside edited copies."""
    draw = random.Random(1)
    alphabet = [chr(code) for code in range(0x4E00, 0x5E00)]
    for length in (12, 30, 60, 120, 300, 600):
        for _ in range(60):
            text = [draw.choice(alphabet) for _ in range(length)]
            other = list(text)
            for _ in range(draw.randrange(1, max(2, length // 15))):
                other[draw.randrange(length)] = draw.choice(alphabet)
            left, right = "".join(text), "".join(other)
            yield left, right, jaccard(ngrams(left), ngrams(right))


@pytest.mark.parametrize("method", METHODS)
def test_the_estimate_has_no_bias_for_texts_of_any_length(method: Method) -> None:
    errors: dict[int, list[float]] = {}
    for left, right, similarity in pairs_with_similarity():
        keys = bands_of([left, right], method=method, bands=200, rows=1)
        errors.setdefault(len(left), []).append((keys[:, 0] == keys[:, 1]).mean() - similarity)
    for length, found in errors.items():
        # The standard error of one estimate from 200 values is at most 0.035.
        assert abs(np.mean(found)) < 0.014, length
        assert np.sqrt(np.mean(np.square(found))) < 0.045, length


def test_equal_texts_agree_in_all_bands_and_unrelated_ones_in_none() -> None:
    keys = bands_of([japanese_text(1), japanese_text(1), "まったく別の話題について書かれた文章である。" * 3])
    assert (keys[:, 0] == keys[:, 1]).all()
    assert not (keys[:, 0] == keys[:, 2]).any()


@pytest.mark.parametrize("method", METHODS)
def test_texts_shorter_than_an_ngram_are_one_shingle_and_empty_ones_none(method: Method) -> None:
    keys = bands_of(["あ", "い", "あ", "", "　\n", "あい", "いあ"], method=method)
    assert (keys[:, 0] == keys[:, 2]).all()
    for left, right in [(0, 1), (0, 5), (5, 6)]:
        assert not agree(keys, left, right)
    assert not keys[:, 3:5].any()
    assert keys[:, [0, 1, 2, 5, 6]].all()


def test_a_signature_does_not_depend_on_the_documents_beside_it() -> None:
    texts = near_duplicates(3, originals=20)
    together = bands_of(texts)
    for index, text in enumerate(texts):
        assert (bands_of([text])[:, 0] == together[:, index]).all()


def test_line_ends_width_and_case_make_no_difference() -> None:
    keys = bands_of(["Ｔｓｕｍｕｇｕは日本語の\n言語モデルを作る。", "tsumuguは 日本語の言語モデルを作る。"])
    assert (keys[:, 0] == keys[:, 1]).all()


def test_any_number_of_bands_and_rows() -> None:
    assert bands_of([japanese_text(1)], bands=1, rows=1).shape == (1, 1)
    assert bands_of([japanese_text(1)], bands=40, rows=20).shape == (40, 1)
    assert bands_of([], bands=3, rows=2).shape == (3, 0)
