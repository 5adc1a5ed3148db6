"""Text in a Japanese page that is not Japanese: foreign paragraphs, lines without kana, ASCII runs.

All three work on lines and leave alone what they cannot judge: a page in another language is the
rules' business, not theirs.
"""

import re

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.signals.batch import code_points
from tsumugu.corpus.transforms.whitespace import collapse_empty_lines

_FOREIGN_WORDS = 8
_SHORTEST_FOREIGN_LINE = 4 * _FOREIGN_WORDS
_NEWLINE, _SPACE = 0x0A, 0x20
_AFTER_WORDS = ",.;:!?)"
_JAPANESE_PAGE = 0.2

_KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HAS_KANA = re.compile(f"[{_KANA}]")

_URL = re.compile(r"https?://[A-Za-z0-9_/:%#$&?()~.=+\-]+")
# From the first character of a run only, so that runs of 99 are not measured 99 times.
_ASCII_RUN = re.compile(r"[\x00-\x09\x0b-\x7f](?<![\x00-\x09\x0b-\x7f].)[\x00-\x09\x0b-\x7f]{99,}")


def remove_foreign_paragraphs(text: str) -> tuple[str, tuple[int, ...]]:
    """Remove lines of prose in other languages from a Japanese page; counted: those lines.

    Such lines are untranslated paragraphs and licence notices: at least 32 characters, none of
    them Japanese, and at least eight plain words. Source code stays: its lines seldom hold eight
    plain words. So does a page of which less than a fifth is Japanese.

    >>> page = "この節では、設定の方法を順に説明します。" * 3
    >>> remove_foreign_paragraphs(page + "\\nThis paragraph has not been translated into Japanese yet.")[1]
    (1,)
    """
    if text.isascii():
        return text, (0,)
    codes, offsets = code_points([text])
    lines = _foreign_lines(codes, offsets).tolist()
    spans = [(start, end) for start, end in lines if _is_prose(text[start:end])]
    if not spans or _japanese_characters(codes) < _JAPANESE_PAGE * len(text):
        return text, (0,)
    pieces: list[str] = []
    position = 0
    for start, end in spans:
        # With the line end before it, if there is one.
        pieces.append(text[position : max(0, start - 1)])
        position = end
    pieces.append(text[position:])
    return collapse_empty_lines("".join(pieces)), (len(spans),)


def have_foreign_lines(codes: NDArray[np.uint32], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which texts of a batch `remove_foreign_paragraphs` may change: `bool [texts]`."""
    starts = _foreign_lines(codes, offsets)[:, 0]
    found = np.zeros(len(offsets) - 1, dtype=np.bool_)
    found[np.searchsorted(offsets, starts, side="right") - 1] = True
    return found


@njit(cache=True)
def _foreign_lines(codes, offsets):  # type: ignore[no-untyped-def]
    """Begin and end of every long line that holds no Japanese, but spaces enough for prose: `int64
    [lines, 2]`."""
    spans = np.empty((len(codes) // _SHORTEST_FOREIGN_LINE + 1, 2), dtype=np.int64)
    count = 0
    for text in range(len(offsets) - 1):
        start = offsets[text]
        japanese, spaces = False, 0
        for position in range(offsets[text], offsets[text + 1] + 1):
            if position == offsets[text + 1] or codes[position] == _NEWLINE:
                long = position - start >= _SHORTEST_FOREIGN_LINE
                if long and spaces >= _FOREIGN_WORDS - 1 and not japanese:
                    spans[count, 0], spans[count, 1] = start, position
                    count += 1
                start = position + 1
                japanese, spaces = False, 0
            else:
                japanese |= _is_japanese(codes[position])
                spaces += codes[position] == _SPACE
    return spans[:count]


def _is_prose(line: str) -> bool:
    """Whether a line holds at least eight words of two letters or more."""
    words = 0
    for word in line.split():
        word = word.rstrip(_AFTER_WORDS)
        words += len(word) > 1 and word.isalpha()
        if words == _FOREIGN_WORDS:
            return True
    return False


@njit(cache=True)
def _japanese_characters(codes):  # type: ignore[no-untyped-def]
    count = 0
    for code in codes:
        count += _is_japanese(code)
    return count


@njit(cache=True)
def _is_japanese(code):  # type: ignore[no-untyped-def]
    return 0x3041 <= code <= 0x30FF or 0x3400 <= code <= 0x9FFF


def remove_lines_without_kana(text: str) -> tuple[str, tuple[int, ...]]:
    """Keep only lines with kana, as llm-jp-corpus v1 does; counted: the lines that go.

    >>> remove_lines_without_kana("見出しです\\n2024-01-01\\n中国語文\\nおわり")
    ('見出しです\\nおわり', (2,))
    """
    lines = text.split("\n")
    kept = [line for line in lines if _HAS_KANA.search(line)]
    if len(kept) == len(lines):
        return text, (0,)
    return "\n".join(kept), (sum(1 for line in lines if line.strip()) - len(kept),)


def remove_ascii_runs(text: str) -> tuple[str, tuple[int, ...]]:
    """Remove URLs, then runs of at least 100 ASCII characters in a line, from texts with kana.

    The numbers are llm-jp-corpus v1's, which also drops the lines without kana. Its pattern for
    URLs takes the Japanese that follows along; this one does not. Counted: URLs and runs.

    >>> remove_ascii_runs("詳細はhttps://example.org/a?b=1を見てください。")
    ('詳細はを見てください。', (1,))
    """
    if not _HAS_KANA.search(text):
        return text, (0,)
    urls = 0
    if "://" in text:
        text, urls = _URL.subn("", text)
    text, runs = _ASCII_RUN.subn("", text)
    return text, (urls + runs,)
