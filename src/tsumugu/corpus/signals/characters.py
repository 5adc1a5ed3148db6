"""Counts of characters, in one walk over a batch.

Shares are of characters that are not white space, unless said otherwise:

- length: all code points; characters: those that are not white space.
- japanese_share: kana, kanji and Japanese punctuation.
- hiragana_share, katakana_share, kanji_share: of kana and kanji. Chinese has no kana.
- digit_share, latin_share, symbol_share (punctuation and symbols of all scripts), emoji_share.
- sentence_end_share: 。！？ and ｡.
- kana_in_first_50: kana among the first 50 code points (HojiChar's AcceptJapanese: ぁ-ん, ァ-ン).
- kuten_share: 。 of all code points (HojiChar's DiscardRareKuten); no value for an empty text.
- longest_run: the most times that one character stands in a row (HojiChar's
  SingleCharacterRepetitionFilter).
"""

from typing import get_args

import numpy as np
from numba import njit

from tsumugu.corpus.signal_names import CharacterSignal
from tsumugu.corpus.signals.batch import Batch, Column
from tsumugu.corpus.signals.classes import (
    CLASSES,
    CODE_MARK,
    DIGIT,
    EMOJI,
    HIRAGANA,
    JAPANESE_MARK,
    KANJI,
    KATAKANA,
    KINDS,
    KUTEN,
    LATIN,
    SENTENCE_END,
    SPACE,
    SYMBOL,
)

NAMES: tuple[str, ...] = get_args(CharacterSignal)
_LOOKUP = 50


def measure(batch: Batch) -> dict[str, Column]:
    """One column for every name in `NAMES`."""
    return dict(zip(NAMES, _count(batch.codes, batch.offsets, CLASSES), strict=True))


@njit(cache=True)
def _count(codes, offsets, classes):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    columns = np.zeros((14, documents))
    counts = np.zeros(KINDS, dtype=np.int64)
    for document in range(documents):
        start, end = offsets[document], offsets[document + 1]
        counts[:] = 0
        run = longest = 0
        previous = np.uint32(0xFFFFFFFF)
        for position in range(start, end):
            code = codes[position]
            counts[classes[code]] += 1
            run = run + 1 if code == previous else 1
            longest = max(longest, run)
            previous = code
        kana = 0
        for position in range(start, min(end, start + _LOOKUP)):
            code = codes[position]
            if 0x3041 <= code <= 0x3093 or 0x30A1 <= code <= 0x30F3:
                kana += 1
        length = end - start
        characters = length - counts[SPACE]
        letters = counts[HIRAGANA] + counts[KATAKANA] + counts[KANJI]
        ends = counts[KUTEN] + counts[SENTENCE_END]
        columns[0, document] = length
        columns[1, document] = characters
        if characters > 0:
            columns[2, document] = (letters + counts[JAPANESE_MARK] + ends) / characters
            columns[6, document] = counts[DIGIT] / characters
            columns[7, document] = counts[LATIN] / characters
            marks = counts[SYMBOL] + counts[CODE_MARK] + counts[JAPANESE_MARK]
            columns[8, document] = (marks + ends) / characters
            columns[9, document] = counts[EMOJI] / characters
            columns[10, document] = ends / characters
        if letters > 0:
            columns[3, document] = counts[HIRAGANA] / letters
            columns[4, document] = counts[KATAKANA] / letters
            columns[5, document] = counts[KANJI] / letters
        columns[11, document] = kana
        columns[12, document] = counts[KUTEN] / length if length > 0 else np.nan
        columns[13, document] = longest
    return columns
