"""The `hojichar` profile decides as HojiChar does: the installed library is the oracle."""

import json
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hojichar import Document
from hojichar.core.filter_interface import Filter
from hojichar.filters import document_filters as theirs
from hypothesis import given, settings
from hypothesis import strategies as st

from conftest import japanese_text
from tsumugu.corpus import signals
from tsumugu.corpus.config import Rule, load_profile
from tsumugu.corpus.rules import failing

FILTERS: dict[str, Callable[[], Filter]] = {
    "not_japanese": theirs.AcceptJapanese,
    "rare_kuten": theirs.DiscardRareKuten,
    "bbs": theirs.DiscardBBSComments,
    "ads": theirs.DiscardAds,
    "adult_ja": theirs.DiscardAdultContentJa,
    "adult_en": theirs.DiscardAdultContentEn,
    "discrimination_ja": theirs.DiscardDiscriminationContentJa,
    "violence_ja": theirs.DiscardViolenceContentJa,
    "ending_ellipsis": theirs.DiscardTooManyEndingEllipsis,
    "short_lines": theirs.DiscardTooShortLines,
    "single_character": theirs.SingleCharacterRepetitionFilter,
    "character_repetition": theirs.CharRepetitionRatioFilter,
}
RULES = {rule.reason: rule for rule in load_profile("hojichar").rules}
# Beside the defaults: other thresholds, and the option that spares アスパラガス.
OTHERS: list[tuple[Rule, Callable[[], Filter]]] = [
    (
        Rule(reason="length", signal="length", at_least=20, at_most=200),
        lambda: theirs.DocumentLengthFilter(min_doc_len=20, max_doc_len=200),
    ),
    (
        Rule(reason="bbs", signal="bbs", at_most=2),
        lambda: theirs.DiscardBBSComments(max_allowed_num=2),
    ),
    (Rule(reason="ads", signal="ads", at_most=1), lambda: theirs.DiscardAds(max_allowed_num=1)),
    (
        Rule(reason="run", signal="longest_run", at_most=2),
        lambda: theirs.SingleCharacterRepetitionFilter(threshold=3),
    ),
    (
        Rule(reason="kuten", signal="kuten_share", at_least=1 / 30),
        lambda: theirs.DiscardRareKuten(max_average_sentence_length=30),
    ),
    (
        Rule(reason="isolated", signal="adult_ja_isolated", at_most=0),
        lambda: theirs.DiscardAdultContentJa(ignore_confused=True),
    ),
    (
        Rule(reason="isolated", signal="discrimination_ja_isolated", at_most=0),
        lambda: theirs.DiscardDiscriminationContentJa(ignore_confused=True),
    ),
    (
        Rule(reason="isolated", signal="violence_ja_isolated", at_most=0),
        lambda: theirs.DiscardViolenceContentJa(ignore_confused=True),
    ),
]
PAIRS = [(RULES[reason], build()) for reason, build in FILTERS.items()] + [
    (rule, build()) for rule, build in OTHERS
]


def disagreements(texts: list[str]) -> list[tuple[str, str]]:
    """Rule and text wherever our decision is not HojiChar's."""
    columns = signals.measure(texts, {rule.signal for rule, _ in PAIRS})
    found = []
    for rule, oracle in PAIRS:
        ours = failing(rule, columns[rule.signal])
        rejected = np.array([oracle.apply(Document(text)).is_rejected for text in texts])
        found += [
            (f"{rule.reason}: {rule.signal}", texts[index]) for index in np.flatnonzero(ours != rejected)
        ]
    return found


# What the filters look for, and what lies beside it, in any order.
FRAGMENTS = st.sampled_from(
    [
        "。", "\n", "\n\n", "…\n", "...\n", "....\n", "…", " ", "　", "ー", "・", "ン", "ア", "あ", "んん",
        "漢字", "アス", "アスパラガス", "リュックサック", "SEX", " sex ", "sex.", " SeX,", " ſex ", " seⅹ ",
        "ass\n", " anal", "コメント", "レビュー", "SOLD OUT", "SOLD", "(月)", "(金", "楽天市場", "楽天",
        "12話", "１２話", "٣話", "-", "--",
        "2019-08-18", "2019年 8月 18日日", "12019/8/1", "2019.8", "2019年8月", "20190818", "１９９９．１．１",
        "お問い合わせ", "お問い合わせください", "営業時間", "よくある質問", "質問", "■",
        "<TEST_STRING_OF_VIOLENCE_KEYWORD>", "殺す",
        "\u0000", "\ud7ff", "\ue000", "\U0010ffff", "👨‍👩‍👧", "𠮷",
        "aaaa", "あああ", "\r\n", "\t", "x" * 60, "い" * 250, "0" * 40,
    ]
)  # fmt: skip
TEXTS = st.one_of(
    st.text(max_size=80),
    st.text(alphabet="アァヴーン漢あ。\n ….-0123456789年月日話 ", max_size=120),
    st.lists(FRAGMENTS, max_size=40).map("".join),
)


@settings(max_examples=150)
@given(st.lists(TEXTS, min_size=1, max_size=20))
def test_every_rule_decides_as_its_filter_on_hostile_text(texts: list[str]) -> None:
    assert disagreements(texts) == []


def test_every_rule_decides_as_its_filter_on_every_word_of_the_dictionaries() -> None:
    from tsumugu.corpus.signals.words import dictionary

    words = [
        word for name in ("adult_ja", "discrimination_ja", "violence_ja", "ads") for word in dictionary(name)
    ]
    texts = [form for word in words for form in (word, f"ア{word}", f"{word}ー", f"は{word}を", word[:-1])]
    texts += [form for word in dictionary("adult_en") for form in (word, f" {word.title()}\n", f"x{word} ")]
    texts += ["、".join(words[start : start + 30]) for start in range(0, len(words), 30)]
    assert disagreements(texts) == []


def test_every_rule_decides_as_its_filter_on_ordinary_text() -> None:
    texts = [japanese_text(number, sentences=1 + number % 30) for number in range(60)]
    texts += [text * 4 for text in texts[:10]] + [unicodedata.normalize("NFKC", text) for text in texts[:10]]
    assert disagreements(texts) == []


@pytest.mark.skipif("TSUMUGU_DATA" not in os.environ, reason="TSUMUGU_DATA names no folder of real texts")
def test_every_rule_decides_as_its_filter_on_real_text() -> None:
    path = Path(os.environ["TSUMUGU_DATA"]) / "corpus" / "benchmark-mix.jsonl.zst"
    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
        lines = stream.read().split(b"\n")
    texts = [json.loads(line)["text"] for line in lines[::40] if line]
    assert len(texts) > 300
    assert disagreements(texts) == []


def test_the_profile_holds_every_filter_that_needs_neither_an_extra_nor_a_setting() -> None:
    assert set(FILTERS) == set(RULES)
    left_out = {
        # They change text or format, or do nothing with a document.
        "ExampleHojiChar", "ExampleDiscardDocumentContainKeyword", "Identity", "DiscardAll", "ApplyDiscard",
        "Sleep", "DocumentNormalizer", "JSONLoader", "JSONDumper", "HeaderFooterTagsRemover",
        "MaskPersonalInformation",
        # They need a setting; tested above (the dictionaries' own classes are in the profile).
        "DocumentLengthFilter", "NgWordsFilterJa", "NgWordsFilterEn",
        # They need fugashi or emoji.
        "DiscardTooManyNouns", "WordRepetitionRatioFilter", "DiscardTooManySpecialToken",
    }  # fmt: skip
    every = {
        name
        for name, kind in vars(theirs).items()
        if isinstance(kind, type) and issubclass(kind, Filter) and kind is not Filter
    }
    ours = {build.__name__ for build in FILTERS.values()}
    assert every == ours | left_out
