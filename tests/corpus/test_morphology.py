"""Signals on words: by hand, beside HojiChar's own filters, and on texts that MeCab does not bear."""

import sys

import numpy as np
import pytest
from hojichar import Document
from hojichar.filters import document_filters
from hojichar.filters.document_filters import DiscardTooManyNouns, WordRepetitionRatioFilter

from conftest import japanese_text
from tsumugu.corpus.signals import make_batch, morphology
from tsumugu.errors import TsumuguError

fugashi = pytest.importorskip("fugashi", reason="the extra `morphology` is not installed")
pytest.importorskip("unidic_lite", reason="the extra `morphology` is not installed")

TEXTS = [
    *(japanese_text(seed) for seed in range(5)),
    "",
    "。、！？",
    "リンゴ・オレンジ・ミカン・バナナ　セール中",
    "安い！\n激安！ 送料無料　ポイント２倍" * 30,
    "The quick brown fox.\tjumps\n over",
    "同じ文を繰り返します。" * 20,
    "行の終わりで分けると、最後の語の品詞が変わる。\n概要\n仏舞",
    "　空白で始まり、改ページと空白で終わる。\x0c\xa0　",
]


def one(text: str) -> dict[str, float]:
    return {name: float(column[0]) for name, column in morphology.measure(make_batch([text])).items()}


def test_a_sentence_by_hand() -> None:
    # 吾輩 は 猫 で ある 。 ゾゾゾンガ だ
    found = one("吾輩は猫である。\nゾゾゾンガだ")
    assert found["words"] == 7
    assert found["mean_word_length"] == pytest.approx((2 + 1 + 1 + 1 + 2 + 5 + 1) / 7)
    assert found["noun_share"] == pytest.approx(2 / 7)
    assert found["content_word_share"] == pytest.approx(3 / 7)
    assert found["function_word_share"] == pytest.approx(3 / 7)
    assert found["unknown_word_share"] == pytest.approx(1 / 7)
    # Two windows of the eight morphemes, both different.
    assert found["repeated_word_7gram_share"] == 0


def test_a_batch_equals_its_documents_one_by_one() -> None:
    together = morphology.measure(make_batch(TEXTS))
    assert tuple(together) == morphology.NAMES
    for index, text in enumerate(TEXTS):
        np.testing.assert_array_equal(
            [together[name][index] for name in morphology.NAMES], [*one(text).values()]
        )
    assert all(column.shape == (0,) for column in morphology.measure(make_batch([])).values())


def test_without_words_only_counts_have_a_value() -> None:
    for text in ("", "\n \n", "。、！？"):
        found = one(text)
        assert (found["words"], found["repeated_word_7gram_share"]) == (0, 0)
        assert all(np.isnan(found[name]) for name in morphology.NAMES[1:-1])


@pytest.mark.parametrize("text", TEXTS)
def test_values_are_hojichar_s(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # HojiChar finds its extras all or none; these two filters need fugashi alone.
    monkeypatch.setattr(document_filters, "is_loaded_extras", True)
    monkeypatch.setattr(document_filters, "Tagger", fugashi.Tagger, raising=False)
    nouns, repetition = DiscardTooManyNouns(), WordRepetitionRatioFilter()
    found = one(text)
    ratio = repetition.compute_word_repetition_ratio(text, 7)
    assert found["repeated_word_7gram_share"] == pytest.approx(ratio)
    if found["words"]:
        for threshold, rejected in ((found["noun_share"], True), (found["noun_share"] + 1e-9, False)):
            nouns.threshold = threshold
            assert nouns.apply(Document(text)).is_rejected == rejected


def test_nul_ends_nothing() -> None:
    assert one("猫が\0寝る") == one("猫が 寝る")
    assert one("猫が\0寝る")["words"] == 3


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("猫" + " " * 70_000 + "犬", 2),
        ("猫だ。\n" * 30_000, 60_000),
        ("あ" * 9_998 + "。\n猫だ", None),
        ("a" * 30_000, None),
    ],
)
def test_long_texts_come_through_whole(text: str, words: int | None) -> None:
    found = one(text)
    if words is not None:
        assert found["words"] == words
    visible = len(text.translate({ord(c): None for c in " \n。"}))
    assert found["words"] * found["mean_word_length"] == pytest.approx(visible)


def test_lines_are_not_cut_where_a_piece_can_end_between_them() -> None:
    line = "吾輩は猫である。\n"
    once, often = one(line), one(line * 5000)
    assert often["words"] == 5000 * once["words"]
    assert often["noun_share"] == pytest.approx(once["noun_share"])


def test_the_extra_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fugashi", None)
    morphology.load_tagger.cache_clear()
    with pytest.raises(TsumuguError, match=r"noun_share.*pip install 'tsumugu\[morphology\]'"):
        morphology.load_tagger()
