"""Broken Unicode: invisible characters, line ends of every kind, mojibake.

What goes: control characters, zero-width spaces, soft hyphens, byte order marks, marks that turn
the direction of writing, tags, lone surrogates, noncharacters, and U+FFFD (it stands for what
was lost; the count stays as a signal). What stays: joiners and variation selectors, since emoji
and kanji variants are made of them, and every character that one can see. Texts are never
brought into a Unicode normal form here.

Mojibake is UTF-8 that somebody read as Latin-1, Windows-1252, or Windows-31J. A cheap pattern
finds the lines that may hold it; those that turn back into Japanese without a single wrong byte
are turned back, and only the rest is shown to ftfy, which is a thousand times slower than the
pattern.
"""

import re
from functools import cache

import numpy as np
from numpy.typing import NDArray

from tsumugu.corpus.signals.classes import hold_any, matching

_CONTINUATION = "\x80-\xbf€‚ƒ„…†‡ˆ‰Š‹ŒŽ‘’“”•–—˜™š›œžŸ"
# A lead byte of UTF-8 and a byte that continues it, as Latin-1 or Windows-1252 shows them.
_MOJIBAKE = re.compile(f"[\u00c2-\u00f4][{_CONTINUATION}]")
# Kana begin with the bytes E3 81, E3 82 or E3 83; Windows-31J shows these pairs as 縺, 繧 and 繝.
_WINDOWS_31J_MOJIBAKE = re.compile("[縺繧繝][^\n]{0,2}[縺繧繝]")
# Letters, and marks from ① on: three bytes or more, which no Western text holds by chance.
_JAPANESE = re.compile("[\u2460-\u27bf\u3000-\u9fff\uf900-\ufaff\uff01-\uffee\U00020000-\U000323af]")
_KANA = re.compile("[\u3041-\u30ff]")
_FTFY_LONGEST_LINE = 100_000

_INVISIBLE_CHARACTERS = (
    "\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2064\u2066-\u206f"
    "\ud800-\udfff\ufdd0-\ufdef\ufeff\ufff0-\ufffb\ufffd-\uffff\U000e0000-\U000e007f"
)
_LINE_END_CHARACTERS = "\x0b-\r\x85\u2028\u2029"
# One pass over a text tells whether any of the patterns in this module may match.
_SUSPECTS = f"[{_INVISIBLE_CHARACTERS}{_LINE_END_CHARACTERS}\u00c2-\u00f4縺繧繝]"
_SUSPECT = re.compile(_SUSPECTS)
_LINE_ENDS = re.compile(f"\r\n|[{_LINE_END_CHARACTERS}]")
_INVISIBLE = re.compile(f"[{_INVISIBLE_CHARACTERS}]+")
# The flags of England, Scotland and Wales are a black flag and tags: the only visible use of tags.
_BLACK_FLAG = "\U0001f3f4"
_INVISIBLE_EXCEPT_FLAGS = re.compile(
    f"({_BLACK_FLAG}[\U000e0061-\U000e007a]{{1,6}}\U000e007f)|[{_INVISIBLE_CHARACTERS}]+"
)
_MOST_ROUNDS = 8
"""Removing a character can complete a broken sequence; nested deeper than this is a prank."""


def repair_unicode(text: str) -> tuple[str, tuple[int, ...]]:
    r"""`text` without invisible characters and mojibake.

    Counted: lines whose mojibake was repaired, and U+FFFD characters removed.

    >>> repair_unicode("\ufeff一行目\r\n二\u200b行目\ufffd\ufffd\x00\u202e")
    ('一行目\n二行目', (0, 2))
    >>> repair_unicode("ã\x81“ã‚“ã\x81«ã\x81¡ã\x81¯")
    ('こんにちは', (1, 0))
    >>> repair_unicode("縺薙ｓ縺ｫ縺｡縺ｯ")
    ('こんにちは', (1, 0))
    >>> repair_unicode("葛\U000e0100城市の家族👨\u200d👩\u200d👧、cafe\u0301、もつれは縺れ")[1]
    (0, 0)
    """
    repaired = lost = 0
    for _ in range(_MOST_ROUNDS):
        if not _SUSPECT.search(text):
            break
        before = text
        if _MOJIBAKE.search(text) or _WINDOWS_31J_MOJIBAKE.search(text):
            text, count = _repair_mojibake(text)
            repaired += count
        text = _LINE_ENDS.sub("\n", text)
        lost += text.count("\ufffd")
        text = _INVISIBLE_EXCEPT_FLAGS.sub(r"\1", text) if _BLACK_FLAG in text else _INVISIBLE.sub("", text)
        if text == before:
            return before, (repaired, lost)
    return text, (repaired, lost)


def may_need_repair(codes: NDArray[np.uint32], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which texts of a batch `repair_unicode` may change: `bool [texts]`."""
    found: NDArray[np.bool_] = hold_any(codes, offsets, _suspects())
    return found


@cache
def _suspects() -> NDArray[np.bool_]:
    return matching(_SUSPECTS)


def _repair_mojibake(text: str) -> tuple[str, int]:
    """`text` with every line repaired that can be, and how many those were."""
    lines = text.split("\n")
    repaired = 0
    for index, line in enumerate(lines):
        if _MOJIBAKE.search(line):
            lines[index] = _repair_western(line)
        elif _WINDOWS_31J_MOJIBAKE.search(line):
            lines[index] = _repair_windows_31j(line)
        repaired += lines[index] != line
    return ("\n".join(lines), repaired) if repaired else (text, 0)


def _repair_western(line: str) -> str:
    # Late: most runs never meet mojibake. Importing it makes the sloppy-windows-1252 codec known.
    import ftfy.bad_codecs

    for encoding in ("latin-1", "sloppy-windows-1252"):
        try:
            candidate = line.encode(encoding).decode("utf-8")
        except UnicodeError:
            continue
        if _JAPANESE.search(candidate):
            return candidate
    return ftfy.fix_encoding(line) if len(line) <= _FTFY_LONGEST_LINE else line


def _repair_windows_31j(line: str) -> str:
    try:
        candidate = line.encode("cp932").decode("utf-8")
    except UnicodeError:
        return line
    return candidate if _KANA.search(candidate) else line
