"""Which kind of character every code point is, as one table of bytes, and other tables of characters."""

import re
import sys
import unicodedata

import numpy as np
from numba import njit
from numpy.typing import NDArray

(
    OTHER,
    SPACE,
    HIRAGANA,
    KATAKANA,
    KANJI,
    JAPANESE_MARK,
    KUTEN,
    SENTENCE_END,
    DIGIT,
    LATIN,
    CODE_MARK,
    SYMBOL,
    EMOJI,
) = range(13)
KINDS = 13

_EVERY = "".join(map(chr, range(sys.maxunicode + 1)))
SYMBOLS_END = 0x20000
"""Behind it are kanji, tags, private characters and unassigned ones: most of Unicode, and no symbol."""


def matching(pattern: str) -> NDArray[np.bool_]:
    """Which code points `pattern`, a class of characters such as "[ぁ-ん]", matches: `bool [0x110000]`."""
    table = np.zeros(sys.maxunicode + 1, dtype=np.bool_)
    for run in re.finditer(f"{pattern}+", _EVERY):
        table[run.start() : run.end()] = True
    return table


def _class_table() -> NDArray[np.uint8]:
    """The class of every code point, as `uint8 [0x110000]`; later lines win over earlier ones."""
    table = np.full(sys.maxunicode + 1, OTHER, dtype=np.uint8)
    # Symbols and punctuation of all scripts: whatever is neither a word character nor a space.
    for run in re.finditer(r"[^\w\s]+", _EVERY[:SYMBOLS_END]):
        for code in range(*run.span()):
            if unicodedata.category(_EVERY[code])[0] in "SP":
                table[code] = SYMBOL
    for first, last in ((0x1F000, 0x1FAFF), (0x2600, 0x27BF), (0x2B50, 0x2B55), (0x1F1E6, 0x1F1FF)):
        table[first : last + 1] = EMOJI
    for run in re.finditer(r"\d+", _EVERY):
        table[run.start() : run.end()] = DIGIT
    for run in re.finditer(r"\s+", _EVERY):
        table[run.start() : run.end()] = SPACE
    ranges = [
        (LATIN, 0x41, 0x5A),
        (LATIN, 0x61, 0x7A),
        (LATIN, 0xC0, 0xD6),
        (LATIN, 0xD8, 0xF6),
        (LATIN, 0xF8, 0x24F),
        (LATIN, 0xFF21, 0xFF3A),
        (LATIN, 0xFF41, 0xFF5A),
        (HIRAGANA, 0x3041, 0x309F),
        (KATAKANA, 0x30A1, 0x30FF),
        (KATAKANA, 0x31F0, 0x31FF),
        (KATAKANA, 0xFF66, 0xFF9F),
        (KANJI, 0x3400, 0x4DBF),
        (KANJI, 0x4E00, 0x9FFF),
        (KANJI, 0xF900, 0xFAFF),
        (KANJI, 0x20000, 0x323AF),
        (KANJI, 0x3005, 0x3007),
        (JAPANESE_MARK, 0x3001, 0x3001),
        (JAPANESE_MARK, 0x3008, 0x301F),
        (JAPANESE_MARK, 0x30FB, 0x30FB),
        (JAPANESE_MARK, 0xFF03, 0xFF0F),
    ]
    for kind, first, last in ranges:
        table[first : last + 1] = kind
    for mark in '{}[]<>=;_\\|#$%&*+@^~/"`':
        table[ord(mark)] = CODE_MARK
    for mark in "！？｡":
        table[ord(mark)] = SENTENCE_END
    table[ord("。")] = KUTEN
    return table


CLASSES = _class_table()


@njit(cache=True)
def hold_any(codes, offsets, wanted):  # type: ignore[no-untyped-def]
    """Which texts of a batch hold a character of the table `wanted`: `bool [texts]`."""
    found = np.zeros(len(offsets) - 1, dtype=np.bool_)
    for text in range(len(found)):
        for position in range(offsets[text], offsets[text + 1]):
            if wanted[codes[position]]:
                found[text] = True
                break
    return found
