"""Pages that are small and make a parser work for hours: found before a tree is built.

The time of tree algorithms grows with the square of the nesting, so that a hostile page of 200,000
nested elements would hold a worker for an hour. One walk over the bytes of the page follows its tags
roughly as a parser would.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

DEEPEST_NESTING = 2000
"""Browsers themselves stop at about 512 (Blink's maximumHTMLParserDOMTreeDepth)."""
MOST_REPEATED_FORMATTING = 5_000_000
"""Open formatting elements times tags. A parser opens `<font>` and its like again in every block
until they are closed, so that a page of 50 kB can ask for gigabytes."""

# Elements without an end tag, and those whose end tag HTML lets people leave out.
_UNNESTED = (
    *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source"),
    *("track", "wbr", "p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "colgroup"),
    *("option", "html", "head", "body"),
)
_FORMATTING = (
    "a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u",
)  # fmt: skip
_VERBATIM = ("script", "style", "textarea", "title")
_LONGEST_NAME = 8
_NESTED_KIND, _UNNESTED_KIND, _FORMATTING_KIND, _VERBATIM_KIND = range(4)
_SLOTS = 128
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(57)
_LESS, _GREATER, _SLASH, _MARK, _HYPHEN = (np.uint8(ord(mark)) for mark in "<>/!-")
_SPACE = np.uint8(0x20)
_UNLIMITED, _TOO_DEEP, _TOO_MUCH_FORMATTING = range(3)


class TooDeep(ValueError):
    """The page nests its elements so deeply that no tree should be built of it."""


def refuse_bombs(html: str) -> None:
    """Raise `TooDeep` if building the page's tree would take time or memory out of all proportion."""
    if html.count("<") <= DEEPEST_NESTING:
        return
    data = np.frombuffer(html.encode("utf-8", "surrogatepass"), dtype=np.uint8)
    verdict = _walk(data, _NAMES, _KINDS, DEEPEST_NESTING, MOST_REPEATED_FORMATTING)
    if verdict == _TOO_DEEP:
        raise TooDeep(f"elements are nested more than {DEEPEST_NESTING} deep")
    if verdict == _TOO_MUCH_FORMATTING:
        raise TooDeep("formatting elements are left open over too many tags")


def _names() -> tuple[NDArray[np.uint64], NDArray[np.uint8]]:
    """The names of elements that matter, eight letters in one number, in a hash table."""
    names, kinds = np.zeros(_SLOTS, dtype=np.uint64), np.zeros(_SLOTS, dtype=np.uint8)
    for kind, group in (
        (_UNNESTED_KIND, _UNNESTED),
        (_FORMATTING_KIND, _FORMATTING),
        (_VERBATIM_KIND, _VERBATIM),
    ):
        for name in group:
            number = np.uint64(int.from_bytes(name.encode(), "big"))
            slot = (int(number) * int(_SPREAD) & 0xFFFFFFFFFFFFFFFF) >> int(_SHIFT)
            while names[slot]:
                slot = (slot + 1) % _SLOTS
            names[slot], kinds[slot] = number, kind
    return names, kinds


_NAMES, _KINDS = _names()


@njit(cache=True)
def _walk(html, names, kinds, deepest, most_repeated):  # type: ignore[no-untyped-def]
    depth = formatting = tags = repeated = position = 0
    length = len(html)
    while position < length:
        if html[position] != _LESS:
            position += 1
            continue
        position += 1
        if position + 2 < length and html[position] == _MARK:
            if html[position + 1] == _HYPHEN and html[position + 2] == _HYPHEN:
                position = _comment_end(html, position + 3)
            continue
        closing = position < length and html[position] == _SLASH
        position += closing
        if position >= length or not _is_letter(html[position]):
            continue
        first = position
        name = np.uint64(0)
        while position < length:
            byte = html[position]
            if byte <= _SPACE or byte in (_SLASH, _LESS, _GREATER):
                break
            # Letters in small; other bytes of names that we know of are digits, and none has one.
            small = byte | np.uint8(0x20) if _is_letter(byte) else byte
            name = (name << np.uint64(8)) | np.uint64(small)
            position += 1
        kind = _kind(name, names, kinds) if position - first <= _LONGEST_NAME else _NESTED_KIND
        rest = position
        while position < length and html[position] != _LESS and html[position] != _GREATER:
            position += 1
        empty = position > rest and html[position - 1] == _SLASH
        tags += 1
        step = -1 if closing else 1
        if kind == _FORMATTING_KIND:
            formatting = max(0, formatting + step)
        elif kind == _VERBATIM_KIND and not closing:
            position = _verbatim_end(html, position, html[first:rest])
        elif kind != _UNNESTED_KIND and not empty:
            depth = max(0, depth + step)
        repeated += formatting
        if depth > deepest or formatting > deepest:
            return _TOO_DEEP
        if repeated > most_repeated:
            return _TOO_MUCH_FORMATTING
    return _UNLIMITED


@njit(cache=True)
def _is_letter(byte):  # type: ignore[no-untyped-def]
    return 0x61 <= (byte | 0x20) <= 0x7A


@njit(cache=True)
def _kind(name, names, kinds):  # type: ignore[no-untyped-def]
    slot = (name * _SPREAD) >> _SHIFT
    while names[slot] != name:
        if names[slot] == 0:
            return _NESTED_KIND
        slot = (slot + np.uint64(1)) & np.uint64(_SLOTS - 1)
    return kinds[slot]


@njit(cache=True)
def _comment_end(html, position):  # type: ignore[no-untyped-def]
    """Where `-->` begins; the end of the page if it does not."""
    while position + 2 < len(html):
        if html[position] == _HYPHEN and html[position + 1] == _HYPHEN and html[position + 2] == _GREATER:
            return position
        position += 1
    return len(html)


@njit(cache=True)
def _verbatim_end(html, position, name):  # type: ignore[no-untyped-def]
    """Where the end tag of the element `name` begins; the end of the page if it does not."""
    while position + 1 + len(name) < len(html):
        if html[position] == _LESS and html[position + 1] == _SLASH:
            same = True
            for index in range(len(name)):
                same &= (html[position + 2 + index] | 0x20) == (name[index] | 0x20)
            if same:
                return position
        position += 1
    return len(html)
