"""Texts as they are compared: NFKC, case-folded, without white space; line ends stay.

`comparable` is the definition. `comparable_codes` gives the same for many texts at once: NFKC and
case folding of a string are those of its characters one after the other, except where a character
can join the one before it (combining marks, half-width voiced sound marks, Korean vowels). So a
table over all code points does the work, and only texts with such a character go through Python.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.signals.batch import code_points

_MANY = np.uint32(1 << 31)
"""In the table: this character becomes none, or more than one."""
_JOINING = np.uint32(1 << 30)
"""In the table: this character may join the one before it."""
_RESULT = np.uint32((1 << 21) - 1)
_RUN = 64
"""Code points that `_changing` looks at together."""
_IDENTICAL = ((0x3400, 0x4DC0), (0x4E00, 0xA000), (0xAC00, 0xD7A4), (0xD800, 0xF900), (0x20000, 0x2F800),
              (0x2FA20, 0xE0000), (0xE1000, 0x110000))  # fmt: skip
"""Ranges of kanji, Korean syllables, private and unassigned characters that stay as they are."""


def comparable(text: str) -> str:
    """`text` as it is compared with others.

    >>> comparable("Ｔｓｕｍｕｇｕ は ﾊﾞﾗ\\n　\\n１２㌔")
    'tsumuguはバラ\\n\\n12キロ'
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "\n".join("".join(line.split()) for line in folded.split("\n"))


def comparable_codes(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """`code_points` of `comparable(text)` for every text, many times faster."""
    table, many_starts, many_codes = _tables()
    codes, offsets = code_points(texts)
    ready = np.zeros(len(texts), dtype=np.bool_)
    replaced, new_offsets, joins = _replace(codes, offsets, ready, table, many_starts, many_codes)
    if joins.any():
        # Rare: these are brought into form one by one, and are only copied.
        texts = [comparable(text) if joined else text for text, joined in zip(texts, joins, strict=True)]
        codes, offsets = code_points(texts)
        replaced, new_offsets, _ = _replace(codes, offsets, joins, table, many_starts, many_codes)
    return replaced, new_offsets


@lru_cache(maxsize=1)
def _tables() -> tuple[NDArray[np.uint32], NDArray[np.int32], NDArray[np.uint32]]:
    """What each code point becomes, with flags, and the results that are not one code point."""
    table = np.arange(0x110000, dtype=np.uint32)
    joining = np.zeros(0x110000, dtype=np.bool_)
    joining[0x1161:0x1176] = joining[0x11A8:0x11C3] = True  # Korean vowels and final consonants
    several: dict[int, str] = {}
    firsts: dict[int, int] = {}
    start = 0
    for low, high in (*_IDENTICAL, (0x110000, 0x110000)):
        for code in _changing(start, low):
            character = chr(code)
            decomposed = unicodedata.normalize("NFKD", character)
            firsts[code] = ord(decomposed[0])
            parts = unicodedata.decomposition(character).split()
            if len(parts) == 2 and not parts[0].startswith("<"):
                joining[int(parts[1], 16)] = True
            joining[code] |= unicodedata.combining(decomposed[0]) > 0
            result = comparable(character)
            if len(result) == 1:
                table[code] = ord(result)
            else:
                table[code] = _MANY
                several[code] = result
        start = high
    # Characters that `_changing` leaves out have themselves as their first.
    for code, first in firsts.items():
        joining[code] |= joining[first]
    table[joining] |= _JOINING
    many_starts = np.zeros(0x110001, dtype=np.int32)
    many_starts[np.fromiter(several, dtype=np.int64) + 1] = [len(result) for result in several.values()]
    np.cumsum(many_starts, out=many_starts)
    many_codes, _ = code_points([several[code] for code in sorted(several)])
    return table, many_starts, many_codes


def _changing(start: int, end: int) -> Iterator[int]:
    """The code points of a range without the runs of them that stay as they are and join nothing."""
    for first in range(start, end, _RUN):
        codes = range(first, min(first + _RUN, end))
        run = "".join(map(chr, codes))
        same = unicodedata.normalize("NFKD", run) == run == comparable(run)
        if not same or any(map(unicodedata.combining, run)):
            yield from codes


@njit(cache=True)
def _replace(codes, offsets, ready, table, many_starts, many_codes):  # type: ignore[no-untyped-def]
    """The texts in form, where each begins and ends, and which ones have a character that joins."""
    documents = len(offsets) - 1
    # Most texts become shorter; the few that grow ask for more room.
    replaced = np.empty(len(codes) + 64, dtype=np.uint32)
    new_offsets = np.zeros(documents + 1, dtype=np.int64)
    joins = np.zeros(documents, dtype=np.bool_)
    place = 0
    for document in range(documents):
        start, end = offsets[document], offsets[document + 1]
        if ready[document]:
            replaced[place : place + end - start] = codes[start:end]
            place += end - start
            new_offsets[document + 1] = place
            continue
        flags = np.uint32(0)
        for index in range(start, end):
            flags |= table[codes[index]]
        if flags & _MANY == 0:
            for index in range(start, end):
                replaced[place + index - start] = table[codes[index]] & _RESULT
            start, place = end, place + end - start
        for index in range(start, end):
            code = codes[index]
            entry = table[code]
            if entry & _MANY == 0:
                replaced[place] = entry & _RESULT
                place += 1
                continue
            first, last = many_starts[code], many_starts[code + 1]
            if place + (last - first) + (len(codes) - index) > len(replaced):
                larger = np.empty(len(replaced) + len(codes) // 4 + 64, dtype=np.uint32)
                larger[:place] = replaced[:place]
                replaced = larger
            for step in range(first, last):
                replaced[place] = many_codes[step]
                place += 1
        new_offsets[document + 1] = place
        joins[document] = flags & _JOINING != 0
    return replaced[:place], new_offsets, joins
