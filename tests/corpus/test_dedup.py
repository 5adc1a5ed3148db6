"""Duplicates: found when they are there, left alone when they are not, whatever the order."""

import random

import numpy as np
import pytest
from numpy.typing import NDArray

from conftest import japanese_text
from tsumugu.corpus import dedup
from tsumugu.corpus.signals import code_points
from tsumugu.corpus.transforms import comparable


def bands(texts: list[str]) -> NDArray[np.uint64]:
    codes, offsets = code_points([comparable(text).replace("\n", "") for text in texts])
    return dedup.minhash_bands(codes, offsets, ngram=5, bands=20, rows=10)


def jaccard(left: str, right: str) -> float:
    a, b = ({t[i : i + 5] for i in range(len(t) - 4)} for t in (comparable(left), comparable(right)))
    return len(a & b) / len(a | b)


def test_equal_texts_agree_in_all_bands_and_others_in_none() -> None:
    keys = bands([japanese_text(1), japanese_text(1), "まったく別の話題について書かれた文章である。" * 3])
    assert (keys[:, 0] == keys[:, 1]).all()
    assert not (keys[:, 0] == keys[:, 2]).any()


def test_candidates_come_as_often_as_theory_says() -> None:
    # P(some band agrees) = 1 - (1 - J ** rows) ** bands
    draw = random.Random(0)
    alphabet = [chr(code) for code in range(0x4E00, 0x5E00)]
    expected, found = [], []
    for _ in range(150):
        text = [draw.choice(alphabet) for _ in range(300)]
        other = list(text)
        for _ in range(draw.randrange(2, 25)):
            other[draw.randrange(300)] = draw.choice(alphabet)
        similarity = jaccard("".join(text), "".join(other))
        expected.append(1 - (1 - similarity**10) ** 20)
        keys = bands(["".join(text), "".join(other)])
        found.append((keys[:, 0] == keys[:, 1]).any())
    assert np.mean(found) == pytest.approx(np.mean(expected), abs=0.08)


def test_short_and_empty_texts_have_keys_of_their_own() -> None:
    keys = bands(["あ", "い", "あ", ""])
    assert (keys[:, 0] == keys[:, 2]).all()
    assert not (keys[:, 0] == keys[:, 1]).any()
    assert not (keys[:, 0] == keys[:, 3]).any()


def test_groups_are_joined_through_chains_and_named_by_their_first() -> None:
    first = np.array([1, 2, 1, 3, 4], dtype=np.uint64)
    second = np.array([9, 8, 7, 7, 6], dtype=np.uint64)
    assert dedup.first_of_group([first, second], 5).tolist() == [0, 1, 0, 0, 4]


def contained(documents: list[list[str]], share: float = 0.6) -> list[bool]:
    keys = np.array([hash(line) & (2**63 - 1) for lines in documents for line in lines], dtype=np.uint64)
    lengths = np.array([len(line) for lines in documents for line in lines], dtype=np.int64)
    offsets = np.cumsum([0, *map(len, documents)])
    return [bool(found) for found in dedup.contained_documents(keys, lengths, offsets, share=share)]


def test_the_one_page_manual_goes_and_its_chapters_stay() -> None:
    chapters = [[f"第{n}章の{i}番目の文です。" for i in range(9)] for n in range(4)]
    whole = [line for chapter in chapters for line in chapter]
    assert contained([whole, *chapters]) == [True, False, False, False, False]


def test_a_document_that_shares_little_stays() -> None:
    common = ["共通の注意書きがここに入ります。"]
    assert contained([[*common, "a" * 40], [*common, "b" * 40], []]) == [False, False, False]


def test_no_documents_at_all() -> None:
    assert contained([]) == []
    assert dedup.first_of_group([np.array([], dtype=np.uint64)], 0).tolist() == []
