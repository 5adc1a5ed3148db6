"""，．become 、。 where a Japanese document writes the former in place of the latter."""

import pytest

from tsumugu.corpus.transforms.punctuation import unify_punctuation

SENTENCE = "これは，例文である．それも，例文である．"


def unify(text: str) -> str:
    return unify_punctuation(text)[0]


def test_a_document_of_full_width_commas_and_periods_changes() -> None:
    assert unify(SENTENCE) == "これは、例文である。それも、例文である。"


def test_commas_and_periods_are_voted_on_separately() -> None:
    assert unify("公用文では，かつて，こう書いた。") == "公用文では、かつて、こう書いた。"


def test_the_majority_decides() -> None:
    text = "これは、そう、書く。一か所，違う。"
    assert unify(text) == text


@pytest.mark.parametrize(
    "kept",
    [
        "３．１４", "1，000円", "１，０００円", "三．一四", "一，二三四", "Ｊ．Ｓ．バッハ",
        "ｅｘａｍｐｌｅ．ｃｏｍ", "ｆ（ｘ，ｙ）", "図１．２",
    ],
)  # fmt: skip
def test_numbers_and_latin_names_keep_their_marks(kept: str) -> None:
    assert kept in unify(SENTENCE + f"値は{kept}である．")


@pytest.mark.parametrize("heading", ["一．目的", "ア．方法", "１．はじめに", "十二．結び", "　二．対象"])
def test_marks_of_enumeration_stay(heading: str) -> None:
    assert heading in unify(SENTENCE + "\n" + heading + "\n" + SENTENCE)


def test_latin_words_within_a_japanese_sentence_end_with_japanese_marks() -> None:
    assert unify(SENTENCE + "言語はPython，道具はLaTeX．").endswith("言語はPython、道具はLaTeX。")


def test_chinese_is_left_alone() -> None:
    text = "今天天气很好，我们去公园，看花，看书。"
    assert unify(text) == text


def test_full_width_marks_beside_japanese_ones_in_real_statutes_stay(real_texts: list[str]) -> None:
    for text in real_texts:
        changed, (count,) = unify_punctuation(text)
        assert len(changed) == len(text)
        assert sum(a != b for a, b in zip(text, changed, strict=True)) == count
