"""Hits of HojiChar's dictionaries, which are read from the installed package.

- adult_ja, discrimination_ja, violence_ja: what `re.findall` finds of the words of a dictionary
  (HojiChar's NgWordsFilterJa drops on the first).
- adult_ja_isolated, ...: the same, but a katakana word counts only where no other katakana touches
  it: アス, but not アスパラガス (HojiChar's `ignore_confused=True`).
- adult_en: English words between spaces, full stops and commas, in any case (NgWordsFilterEn).
- ads: advertising words (DiscardAds).
- ng_character_share: characters of hits in the three Japanese dictionaries, of kana and kanji, in
  the manner of Swallow (its own list is not published).
"""

import re
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import get_args

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.signal_names import EnglishWordSignal, WordSignal
from tsumugu.corpus.signals.automaton import (
    Automaton,
    build_automaton,
    count_apart,
    find_matches,
)
from tsumugu.corpus.signals.batch import Batch, Column
from tsumugu.corpus.signals.classes import CLASSES, HIRAGANA, KANJI, KATAKANA

_JAPANESE = ("adult_ja", "discrimination_ja", "violence_ja")
NAMES: tuple[str, ...] = get_args(WordSignal)
ENGLISH_NAMES: tuple[str, ...] = get_args(EnglishWordSignal)
_FILES = {
    "adult_ja": "adult_keywords_ja.txt",
    "discrimination_ja": "discrimination_keywords_ja.txt",
    "violence_ja": "violence_keywords_ja.txt",
    "ads": "advertisement_keywords_ja.txt",
    "adult_en": "adult_keywords_en.txt",
}
_KATAKANA_WORD = re.compile("[ァ-ヴー]+")


def dictionary(name: str) -> list[str]:
    """The words of one of HojiChar's dictionaries, in the file's order."""
    text = files("hojichar.dict").joinpath(_FILES[name]).read_text(encoding="utf-8")
    return [line.strip() for line in text.split("\n") if line]


@dataclass(frozen=True)
class _Dictionaries:
    """All Japanese dictionaries in one automaton; a word's number says whose it is."""

    automaton: Automaton
    parts: dict[str, tuple[int, int]]
    katakana: NDArray[np.bool_]
    """Which words consist of katakana."""


@cache
def _japanese() -> _Dictionaries:
    words: list[str] = []
    parts = {}
    for name in (*_JAPANESE, "ads"):
        first = len(words)
        words += dictionary(name)
        parts[name] = (first, len(words))
    katakana = np.array([_KATAKANA_WORD.fullmatch(word) is not None for word in words])
    return _Dictionaries(build_automaton(words), parts, katakana)


def measure(batch: Batch) -> dict[str, Column]:
    """One column for every name in `NAMES`."""
    known, documents = _japanese(), len(batch.texts)
    matches = find_matches(known.automaton, batch.codes, batch.offsets)
    lengths = known.automaton.lengths
    touched = _katakana_around(
        batch.codes, batch.offsets, matches.document, matches.start, lengths[matches.word]
    )
    isolated = ~(touched & known.katakana[matches.word])
    rank = np.arange(len(lengths))
    # HojiChar puts katakana words last in the alternation when they must stand alone.
    rank_isolated = rank + len(rank) * known.katakana
    columns: dict[str, Column] = {}
    for name, (first, last) in known.parts.items():
        own = (matches.word >= first) & (matches.word < last)
        counts, _ = count_apart(matches, own, rank, lengths, documents=documents)
        columns[name] = counts.astype(np.float64)
        if name in _JAPANESE:
            counts, _ = count_apart(matches, own & isolated, rank_isolated, lengths, documents=documents)
            columns[f"{name}_isolated"] = counts.astype(np.float64)
    ng = (matches.word < known.parts["ads"][0]) & isolated
    _, characters = count_apart(matches, ng, -lengths, lengths, documents=documents)
    letters = _letters(batch.codes, batch.offsets, CLASSES)
    columns["ng_character_share"] = characters / np.maximum(letters, 1)
    return columns


def measure_english(batch: Batch) -> dict[str, Column]:
    """The column `adult_en`."""
    automaton = _english()
    matches = find_matches(automaton, batch.codes, batch.offsets)
    counts = _between_spaces(
        batch.codes, batch.offsets, matches.document, matches.start, automaton.lengths[matches.word]
    )
    return {"adult_en": counts}


@cache
def _english() -> Automaton:
    return build_automaton([word.lower() for word in dictionary("adult_en")], fold=_fold_case())


@njit(cache=True)
def _between_spaces(codes, offsets, document, start, length):  # type: ignore[no-untyped-def]
    counts = np.zeros(len(offsets) - 1)
    for index in range(len(start)):
        first, end = offsets[document[index]], offsets[document[index] + 1]
        after = start[index] + length[index]
        if start[index] > first and codes[start[index] - 1] != 0x20:
            continue
        # "$" also matches before a line feed that ends the text.
        if (
            after == end
            or (after == end - 1 and codes[after] == 0x0A)
            or codes[after] == 0x20
            or codes[after] == 0x2C
            or codes[after] == 0x2E
        ):
            counts[document[index]] += 1
    return counts


@njit(cache=True)
def _is_katakana(code):  # type: ignore[no-untyped-def]
    return 0x30A1 <= code <= 0x30F4 or code == 0x30FC


@njit(cache=True)
def _katakana_around(codes, offsets, document, start, length):  # type: ignore[no-untyped-def]
    around = np.zeros(len(start), dtype=np.bool_)
    for index in range(len(start)):
        first, end = offsets[document[index]], offsets[document[index] + 1]
        after = start[index] + length[index]
        around[index] = (start[index] > first and _is_katakana(codes[start[index] - 1])) or (
            after < end and _is_katakana(codes[after])
        )
    return around


@njit(cache=True)
def _letters(codes, offsets, classes):  # type: ignore[no-untyped-def]
    letters = np.zeros(len(offsets) - 1, dtype=np.int64)
    for document in range(len(offsets) - 1):
        for position in range(offsets[document], offsets[document + 1]):
            kind = classes[codes[position]]
            if kind in (HIRAGANA, KATAKANA, KANJI):
                letters[document] += 1
    return letters


def _fold_case() -> NDArray[np.uint32]:
    """The lower-case ASCII letter that each code point matches under `re.IGNORECASE`, or itself."""
    fold = np.arange(0x110000, dtype=np.uint32)
    fold[0x41:0x5B] += 0x20
    # Python's re also takes İ and ı for i, ſ for s, and the Kelvin sign for k.
    for code, letter in ((0x130, "i"), (0x131, "i"), (0x17F, "s"), (0x212A, "k")):
        fold[code] = ord(letter)
    return fold
