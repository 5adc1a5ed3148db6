"""Each signal against a definition in plain Python."""

import math
import unicodedata
from collections import Counter

import numpy as np
import pytest

from conftest import japanese_text
from tsumugu.corpus.signals import measure

TEXTS = [
    japanese_text(1),
    "",
    "\n\n",
    "短い",
    "The quick brown fox.\nAnother line of English text.",
    "for (int i = 0; i < 10; i++) { x[i] = y[i]; }\nreturn x;\n"
    "これは説明です。この行は日本語で書かれています。",
    "同じ行です。\n同じ行です。\n違う行です。\n同じ行です。",
    "カタカナ、ひらがな、漢字。ｶﾀｶﾅ！？",
    "あ" * 300,
    "𠮷野家で𩸽を食べる。",
]


def one(text: str) -> dict[str, float]:
    return {name: float(column[0]) for name, column in measure([text]).items()}


def test_a_batch_equals_its_documents_one_by_one() -> None:
    together = measure(TEXTS)
    for index, text in enumerate(TEXTS):
        assert {name: column[index] for name, column in together.items()} == one(text)


@pytest.mark.parametrize("text", TEXTS)
def test_characters_are_those_that_are_not_white_space(text: str) -> None:
    assert one(text)["characters"] == len("".join(text.split()))


@pytest.mark.parametrize("text", TEXTS)
def test_repeated_5grams_follow_their_definition(text: str) -> None:
    normal = "".join(unicodedata.normalize("NFKC", text).split())
    counts = sorted(Counter(normal[i : i + 5] for i in range(len(normal) - 4)).values(), reverse=True)
    repeating = [count for count in counts if count > 1]
    expected = sum(repeating[: math.isqrt(len(counts))]) / sum(counts) if counts else 0.0
    assert one(text)["repeated_5gram_share"] == pytest.approx(expected)


def test_shares_of_scripts() -> None:
    found = one("ひらカタ漢字Ab。！")
    assert found["hiragana_share"] == pytest.approx(2 / 6)
    assert found["katakana_share"] == pytest.approx(2 / 6)
    assert found["japanese_share"] == pytest.approx(8 / 10)
    assert found["sentence_end_share"] == pytest.approx(2 / 10)


def test_source_code_is_told_from_prose_in_either_language() -> None:
    assert one(TEXTS[5])["source_code_share"] == pytest.approx(40 / 64, abs=0.1)
    assert one(TEXTS[4])["source_code_share"] == 0
    assert one(TEXTS[0])["source_code_share"] == 0


def test_lines_that_come_again_are_counted() -> None:
    assert one(TEXTS[6])["duplicate_line_share"] == pytest.approx(12 / 24)
    assert one(TEXTS[6])["short_line_share"] == 1


def test_nothing_is_infinite_or_missing() -> None:
    for column in measure(TEXTS).values():
        assert np.isfinite(column).all()
