"""bbs: traces of bulletin boards, blogs and shops, counted as HojiChar's DiscardBBSComments does.

Its pattern is an alternation of dates (2019/8/18, 2019年8月18日), words such as コメント and 投稿,
numbered episodes (第12話) and every hyphen; `re.findall` takes the leftmost that fits and goes on
behind it. Here one walk does the same.
"""

from functools import cache
from typing import get_args

import numpy as np
from numba import njit

from tsumugu.corpus.signal_names import BulletinSignal
from tsumugu.corpus.signals.automaton import Automaton, build_automaton, find_matches
from tsumugu.corpus.signals.batch import Batch, Column
from tsumugu.corpus.signals.classes import CLASSES, DIGIT

NAMES: tuple[str, ...] = get_args(BulletinSignal)
_WORDS = (
    "コメント", "SOLD OUT", "レビュー", "投稿", "ページ", "質問", "楽天市場",
    *(f"({day})" for day in "月火水木金土日"),
)  # fmt: skip


def measure(batch: Batch) -> dict[str, Column]:
    """The column `bbs`."""
    automaton = _words()
    matches = find_matches(automaton, batch.codes, batch.offsets)
    order = np.argsort(matches.start, kind="stable")
    lengths = automaton.lengths[matches.word[order]]
    return {"bbs": _count(batch.codes, batch.offsets, CLASSES, matches.start[order], lengths)}


@cache
def _words() -> Automaton:
    return build_automaton(_WORDS)


@njit(cache=True)
def _count(codes, offsets, classes, word_starts, word_lengths):  # type: ignore[no-untyped-def]
    counts = np.zeros(len(offsets) - 1)
    word = 0
    for document in range(len(offsets) - 1):
        position, end = offsets[document], offsets[document + 1]
        digits_end = position
        while position < end:
            code = codes[position]
            after = position + 1
            if classes[code] == DIGIT:
                if position >= digits_end:
                    digits_end = position
                    while digits_end < end and classes[codes[digits_end]] == DIGIT:
                        digits_end += 1
                date_end = _date(codes, classes, position, digits_end, end)
                if date_end > 0:
                    counts[document] += 1
                    after = date_end
                elif digits_end < end and codes[digits_end] == 0x8A71:  # 話
                    counts[document] += 1
                    after = digits_end + 1
            elif code == 0x2D:
                counts[document] += 1
            else:
                while word < len(word_starts) and word_starts[word] < position:
                    word += 1
                if word < len(word_starts) and word_starts[word] == position:
                    counts[document] += 1
                    after = position + word_lengths[word]
            position = after
    return counts


@njit(cache=True)
def _date(codes, classes, position, digits_end, end):  # type: ignore[no-untyped-def]
    """Where the date that begins at `position` ends, or 0: `\\d{4}[年.-/] *\\d{1,2}[月.-/] *\\d{1,2}日*`."""
    if digits_end - position != 4:
        return 0
    position = _separator(codes, classes, digits_end, end, 0x5E74)  # 年
    position = _one_or_two_digits(codes, classes, position, end)
    position = _separator(codes, classes, position, end, 0x6708)  # 月
    position = _one_or_two_digits(codes, classes, position, end)
    while 0 < position < end and codes[position] == 0x65E5:  # 日
        position += 1
    return position


@njit(cache=True)
def _separator(codes, classes, position, end, sign):  # type: ignore[no-untyped-def]
    """The position behind a separator and spaces, or 0."""
    if position == 0 or position >= end:
        return 0
    code = codes[position]
    if code != sign and code != 0x2E and code != 0x2D and code != 0x2F:
        return 0
    position += 1
    while position < end and codes[position] == 0x20:
        position += 1
    return position


@njit(cache=True)
def _one_or_two_digits(codes, classes, position, end):  # type: ignore[no-untyped-def]
    """The position behind the digits, or 0."""
    if position == 0 or position >= end or classes[codes[position]] != DIGIT:
        return 0
    position += 1
    if position < end and classes[codes[position]] == DIGIT:
        position += 1
    return position
