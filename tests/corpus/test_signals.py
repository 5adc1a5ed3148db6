"""Each signal against a definition in plain Python."""

import itertools
import math
import re
import sys
import unicodedata
import zlib
from collections import Counter
from typing import get_args

import numpy as np
import pytest

from conftest import japanese_text
from tsumugu.corpus import signals
from tsumugu.corpus.signal_names import MeasuredName
from tsumugu.corpus.signals.automaton import build_automaton, count_apart, find_matches
from tsumugu.corpus.signals.classes import CLASSES, DIGIT, SPACE, SYMBOLS_END

TEXTS = [
    japanese_text(1),
    "",
    "\n\n",
    "短い",
    "The quick brown fox.\nAnother line of English text.",
    "for (int i = 0; i < 10; i++) { x[i] = y[i]; }\nreturn x;\n"
    "これは説明です。この行は日本語で書かれています。",
    "同じ行です。\n同じ行です。\n違う行です。\n\n同じ行です。",
    "カタカナ、ひらがな、漢字。ｶﾀｶﾅ！？",
    "あ" * 300,
    "𠮷野家で𩸽を食べる。👍 1番、２番・・・…\n！！「はい…」\n一覧：",
    "段落です。\n二行目\n\n別の段落。\n\n段落です。\n二行目\n\n\n",
    "abcabcabcabcabc",
]
# Signals on words need an extra; test_morphology.py has them.
MEASURED = {name for group in signals.GROUPS for name in group.names} - set(signals.morphology.NAMES)


def measure(texts: list[str]) -> dict[str, np.ndarray]:
    return signals.measure(texts, MEASURED)


def one(text: str) -> dict[str, float]:
    return {name: float(column[0]) for name, column in measure([text]).items()}


def test_a_batch_equals_its_documents_one_by_one() -> None:
    together = measure(TEXTS)
    for index, text in enumerate(TEXTS):
        alone = one(text)
        np.testing.assert_array_equal(
            [together[name][index] for name in alone], [alone[name] for name in alone]
        )


def test_every_signal_has_a_name_in_the_recipe() -> None:
    assert set(measure(["あ"])) == MEASURED
    assert MEASURED | set(signals.morphology.NAMES) == set(get_args(MeasuredName))


def test_only_wanted_groups_are_measured() -> None:
    found = signals.measure(["あ"], {"bbs"})
    assert set(found) == {"bbs"}


def test_classes_of_digits_and_spaces_are_those_of_regular_expressions() -> None:
    every = [chr(code) for code in range(sys.maxunicode + 1)]
    assert [c for c in every if re.match(r"\d", c)] == [every[c] for c in np.flatnonzero(CLASSES == DIGIT)]
    assert [c for c in every if c.isspace()] == [every[c] for c in np.flatnonzero(CLASSES == SPACE)]


def test_no_symbol_stands_where_none_is_looked_for() -> None:
    every = range(sys.maxunicode + 1)
    symbols = [code for code in every if unicodedata.category(chr(code))[0] in "SP"]
    assert max(symbols) < SYMBOLS_END


@pytest.mark.parametrize("text", TEXTS)
def test_characters(text: str) -> None:
    found, visible = one(text), "".join(text.split())
    assert found["length"] == len(text)
    assert found["characters"] == len(visible)
    assert found["longest_run"] == max((len(list(run)) for _, run in itertools.groupby(text)), default=0)
    assert found["kana_in_first_50"] == len(re.findall("[ぁ-んァ-ン]", text[:50]))
    if text:
        assert found["kuten_share"] == text.count("。") / len(text)
    if visible:
        digits = sum(unicodedata.category(character) == "Nd" for character in visible)
        assert found["digit_share"] == pytest.approx(digits / len(visible))


def test_shares_of_scripts() -> None:
    found = one("ひらカタ漢字Ab。！")
    assert found["hiragana_share"] == pytest.approx(2 / 6)
    assert found["katakana_share"] == pytest.approx(2 / 6)
    assert found["kanji_share"] == pytest.approx(2 / 6)
    assert found["japanese_share"] == pytest.approx(8 / 10)
    assert found["latin_share"] == pytest.approx(2 / 10)
    assert found["sentence_end_share"] == pytest.approx(2 / 10)
    assert found["symbol_share"] == pytest.approx(2 / 10)
    assert one("笑👍👍")["emoji_share"] == pytest.approx(2 / 3)


@pytest.mark.parametrize("text", TEXTS)
def test_repetition_follows_its_definitions(text: str) -> None:
    found = one(text)
    for size in range(2, 11):
        counts = Counter(text[start : start + size] for start in range(len(text) - size + 1))
        if not counts:
            continue
        total = len(text) - size + 1
        if size <= 4:
            most = max(counts.values())
            assert found[f"top_{size}gram_share"] == pytest.approx(min(1, size * most / len(text)))
            assert found[f"swallow_top_{size}gram_share"] == pytest.approx(most / total)
            continue
        repeating = sum(count > 1 for count in counts.values())
        assert found[f"swallow_duplicated_{size}gram_share"] == pytest.approx(repeating / len(counts))
        seen: set[str] = set()
        covered: set[int] = set()
        for start in range(total):
            if text[start : start + size] in seen:
                covered.update(range(start, start + size))
            seen.add(text[start : start + size])
        assert found[f"duplicated_{size}gram_share"] == pytest.approx(len(covered) / len(text))
    counts = Counter(text[start : start + 5] for start in range(len(text) - 4))
    repeating_counts = sorted((count for count in counts.values() if count > 1), reverse=True)
    expected = sum(repeating_counts[: math.isqrt(len(counts))]) / sum(counts.values()) if counts else 0.0
    assert found["repeated_5gram_share"] == pytest.approx(expected)


def duplicates(items: list[str]) -> tuple[int, int]:
    counts = Counter(items)
    return (
        sum(count - 1 for count in counts.values()),
        sum(len(item) * (count - 1) for item, count in counts.items()),
    )


@pytest.mark.parametrize("text", TEXTS)
def test_lines_and_paragraphs(text: str) -> None:
    found = one(text)
    raw = text.split("\n")
    lines = [visible for line in raw if (visible := "".join(line.split()))]
    assert found["lines"] == len(lines)
    assert found["short_line_share_with_empty"] == pytest.approx(sum(len(x) <= 10 for x in raw) / len(raw))
    ellipses = len(re.findall(r"(\.{3}|…)\n", text))
    assert found["ending_ellipsis_share"] == pytest.approx(ellipses / max(1, text.count("\n")))
    if not lines:
        return
    characters = sum(map(len, lines))
    repeated, repeated_characters = duplicates(lines)
    punctuated = sum(line.endswith(tuple("。．！？｡.!?")) for line in lines)
    assert found["punctuated_line_share"] == pytest.approx(punctuated / len(lines))
    assert found["newlines_per_character"] == pytest.approx(text.count("\n") / characters)
    assert found["short_line_share"] == pytest.approx(sum(len(line) <= 10 for line in lines) / len(lines))
    assert found["duplicate_lines_share"] == pytest.approx(repeated / len(lines))
    assert found["duplicate_line_share"] == pytest.approx(repeated_characters / characters)
    blocks = [block for block in re.split(r"\n\s*\n", text) if block.strip()]
    paragraphs = ["\n".join("".join(line.split()) for line in block.strip().split("\n")) for block in blocks]
    counts = Counter(paragraphs)
    again = sum(len(p.replace("\n", "")) * (count - 1) for p, count in counts.items())
    assert found["duplicate_paragraphs_share"] == pytest.approx(duplicates(paragraphs)[0] / len(paragraphs))
    assert found["duplicate_paragraph_share"] == pytest.approx(again / characters)


@pytest.mark.parametrize("text", TEXTS)
def test_sentences_are_those_of_swallow(text: str) -> None:
    found = one(text)
    split = [re.findall(r"[^。．！？!?]+[。．！？!?]?", line) for line in text.split("\n")]
    sentences = [sentence for line in split for sentence in line]
    assert found["sentences"] == len(sentences)
    letters = re.findall(r"[\u3041-\u3096\u30a1-\u30fa、，。．！？々〇〻\u3400-\u9fff\uf900-\ufaff]", text)
    assert found["swallow_letters"] == len(letters)
    if letters:
        hiragana = re.findall(r"[\u3041-\u3096]", text)
        assert found["swallow_hiragana_share"] == pytest.approx(len(hiragana) / len(letters))
        assert found["swallow_japanese_share"] == pytest.approx(len(letters) / len(text))
    if not sentences:
        return
    lengths = [len(sentence) for sentence in sentences]
    assert found["mean_sentence_length"] == pytest.approx(sum(lengths) / len(lengths))
    assert found["max_sentence_length"] == max(lengths)
    ellipses = sum(sentence.strip().endswith(("・", "…")) for sentence in sentences)
    assert found["ellipsis_sentence_share"] == pytest.approx(ellipses / len(sentences))
    repeated, characters = duplicates(sentences)
    assert found["duplicate_sentences_share"] == pytest.approx(repeated / len(sentences))
    assert found["duplicate_sentence_share"] == pytest.approx(characters / sum(lengths))
    paragraphs = ["".join(line) for line in split]
    repeated, characters = duplicates(paragraphs)
    assert found["swallow_duplicate_paragraphs_share"] == pytest.approx(repeated / len(paragraphs))
    assert found["swallow_duplicate_paragraph_share"] == pytest.approx(characters / sum(lengths))


def test_source_code_is_told_from_prose_in_either_language() -> None:
    assert one(TEXTS[5])["source_code_share"] == pytest.approx(40 / 64, abs=0.1)
    assert one(TEXTS[4])["source_code_share"] == 0
    assert one(TEXTS[0])["source_code_share"] == 0


def test_compression_and_language() -> None:
    raw = TEXTS[0].encode()
    assert one(TEXTS[0])["compression_ratio"] == len(zlib.compress(raw, 9)) / len(raw)
    assert one(TEXTS[0])["japanese_probability"] > 0.9
    assert one(TEXTS[4])["japanese_probability"] < 0.1
    # Not only its beginning is read.
    assert one("x " * 100 + japanese_text(2) * 3)["japanese_probability"] > 0.5


def test_words_stand_where_a_search_finds_them() -> None:
    words = ["ab", "abc", "b", "bcd", "ab", "日本", "本"]
    texts = ["xabcd日本", "", "ababcb", "日", "本日本"]
    batch = signals.make_batch(texts)
    automaton = build_automaton(words)
    matches = find_matches(automaton, batch.codes, batch.offsets)
    found = sorted(
        (int(document), int(start - batch.offsets[document]), int(word))
        for document, start, word in zip(matches.document, matches.start, matches.word, strict=True)
    )
    expected = sorted(
        (index, start, number)
        for index, text in enumerate(texts)
        for number, word in enumerate(words)
        for start in range(len(text))
        if text.startswith(word, start)
    )
    assert found == expected
    counts, characters = count_apart(
        matches, np.ones(len(matches.word), bool), np.arange(len(words)), automaton.lengths, documents=5
    )
    hits = [re.findall("|".join(words), text) for text in texts]
    assert counts.tolist() == [len(hit) for hit in hits]
    assert characters.tolist() == [sum(map(len, hit)) for hit in hits]


def test_nothing_is_infinite() -> None:
    for column in measure(TEXTS).values():
        assert not np.isinf(column).any()
