"""Repetition inside a document, by character n-grams.

repeated_5gram_share: occurrences of the sqrt(distinct) most frequent 5-grams among those that
repeat, of all occurrences (Laurençon et al. 2022, the ROOTS corpus; HojiChar's
CharRepetitionRatioFilter).

Gopher's two definitions (Rae et al. 2021, table A1), on characters instead of words, because
Japanese has no spaces:
- top_{2,3,4}gram_share: `n` times the count of the most frequent n-gram, of all characters, at
  most 1.
- duplicated_{5..10}gram_share: characters that lie in an n-gram that stood in the document
  before; each is counted once.

Swallow's (Okazaki et al. 2024; swallow-corpus, quality.py), which count n-grams, not characters:
- swallow_top_{2,3,4}gram_share: count of the most frequent n-gram, of all n-grams.
- swallow_duplicated_{5..10}gram_share: different n-grams that occur more than once, of all
  different ones.

An n-gram can only repeat where the two shorter ones that make it up repeat. So each size looks only at
the places that the size before left, and knows an n-gram by the numbers of its two halves: nothing
is hashed twice, and no two different n-grams are taken for equal.
"""

from typing import get_args

import numpy as np
from numba import njit

from tsumugu.corpus.signal_names import NgramSignal, RepetitionSignal
from tsumugu.corpus.signals.batch import Batch, Column

REPETITION_NAMES: tuple[str, ...] = get_args(RepetitionSignal)
NAMES: tuple[str, ...] = get_args(NgramSignal)
_SPREAD = np.uint64(0x9E3779B97F4A7C15)
_HALF = np.uint64(32)
_LOWER = np.uint64(0xFFFFFFFF)
_ONE, _TWO = np.uint64(1), np.uint64(2)
_LONGEST = 10


def measure_repetition(batch: Batch) -> dict[str, Column]:
    """The column `repeated_5gram_share`, in less time than `measure` takes for all."""
    return {"repeated_5gram_share": _repeated_share(batch.codes, batch.offsets, 5)}


def measure(batch: Batch) -> dict[str, Column]:
    """One column for every name in `NAMES` and in `REPETITION_NAMES`, which costs no more."""
    names = (*NAMES, *REPETITION_NAMES)
    return dict(zip(names, _walk(batch.codes, batch.offsets), strict=True))


@njit(cache=True)
def _slots(ngrams):  # type: ignore[no-untyped-def]
    """Size of a hash table for so many n-grams: a power of two, at most half full."""
    size = 64
    while size < 2 * ngrams:
        size *= 2
    return size


@njit(cache=True)
def _longest(offsets):  # type: ignore[no-untyped-def]
    longest = 0
    for document in range(len(offsets) - 1):
        longest = max(longest, offsets[document + 1] - offsets[document])
    return longest


@njit(cache=True)
def _walk(codes, offsets):  # type: ignore[no-untyped-def]
    """The columns that `measure` returns."""
    documents = len(offsets) - 1
    columns = np.zeros((19, documents))
    longest = _longest(offsets)
    # The hash table: the two halves of an n-gram, and how often it occurs. An entry counts only with
    # the number of the present document and size above its count, so that nothing is cleared twice.
    table = np.empty((_slots(longest), 2), dtype=np.uint64)
    cleared = round_number = 0
    # The places, in order, at which n-grams may repeat; their halves; their slots in the table, which
    # are their names when they are halves themselves.
    places = np.empty(longest, dtype=np.int32)
    keys = np.empty(longest, dtype=np.uint64)
    names = np.empty(longest, dtype=np.uint32)
    for document in range(documents):
        start = offsets[document]
        length = offsets[document + 1] - start
        candidates = max(0, length - 1)
        if _slots(candidates) > cleared:
            table[cleared : _slots(candidates), 1] = 0
            cleared = _slots(candidates)
        for index in range(candidates):
            places[index] = index
            keys[index] = (np.uint64(codes[start + index]) << _HALF) | np.uint64(codes[start + index + 1])
        for size in range(2, min(_LONGEST, length) + 1):
            total = length - size + 1
            slots = _slots(candidates)
            mask = np.uint64(slots - 1)
            round_number += 1
            empty = np.uint64(round_number) << _HALF
            # Hardly anything branches on what the text says: wrong guesses of the processor would cost
            # more than the work.
            distinct = repeating = covered = covered_to = 0
            most = _ONE
            for index in range(candidates):
                key = keys[index]
                slot = ((key * _SPREAD) >> _HALF) & mask
                while (table[slot, 1] > empty) & (table[slot, 0] != key):
                    slot = (slot + _ONE) & mask
                entry = max(table[slot, 1], empty) + _ONE
                table[slot, 0] = key
                table[slot, 1] = entry
                names[index] = slot
                count = entry - empty
                most = max(most, count)
                distinct += count == _ONE
                repeating += count == _TWO
                again = count > _ONE
                end = places[index] + size
                covered += again * (end - max(places[index], covered_to))
                covered_to = end if again else covered_to
            if size <= 4:
                columns[size - 2, document] = min(1.0, size * np.int64(most) / length)
                columns[9 + size - 2, document] = np.int64(most) / total
            else:
                columns[3 + size - 5, document] = covered / length
                columns[12 + size - 5, document] = repeating / (total - candidates + distinct)
            if size == 5:
                wanted = min(int(np.sqrt(total - candidates + distinct)), repeating)
                counts = (np.maximum(table[:slots, 1], empty) - empty).astype(np.int32)
                columns[18, document] = _most_frequent(counts, np.int64(most), wanted) / total
            pairs = 0
            left, left_place, left_repeats = np.uint64(0), -2, False
            for index in range(candidates):
                right, place = np.uint64(names[index]), places[index]
                right_repeats = table[right, 1] > empty + _ONE
                keys[pairs] = (left << _HALF) | right
                places[pairs] = left_place
                pairs += left_repeats & right_repeats & (place == left_place + 1)
                left, left_place, left_repeats = right, place, right_repeats
            candidates = pairs
    return columns


@njit(cache=True)
def _mix(value):  # type: ignore[no-untyped-def]
    value = (value ^ (value >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return value ^ (value >> np.uint64(32))


@njit(cache=True)
def _repeated_share(codes, offsets, size):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    column = np.zeros(documents)
    capacity = _slots(_longest(offsets))
    keys = np.empty(capacity, dtype=np.uint64)
    counts = np.empty(capacity, dtype=np.int32)
    for document in range(documents):
        start = offsets[document]
        total = offsets[document + 1] - start - size + 1
        if total <= 0:
            continue
        slots = _slots(total)
        counts[:slots] = 0
        mask = np.uint64(slots - 1)
        distinct = repeating = most = 0
        for first in range(start, start + total):
            hashed = np.uint64(0)
            for position in range(first, first + size):
                hashed = hashed * np.uint64(0x9E3779B97F4A7C15) + np.uint64(codes[position])
            key = _mix(hashed)
            slot = key & mask
            while counts[slot] and keys[slot] != key:
                slot = (slot + np.uint64(1)) & mask
            if counts[slot] == 0:
                keys[slot] = key
                distinct += 1
            counts[slot] += 1
            repeating += counts[slot] == 2
            most = max(most, counts[slot])
        wanted = min(int(np.sqrt(distinct)), repeating)
        column[document] = _most_frequent(counts[:slots], most, wanted) / total
    return column


@njit(cache=True)
def _most_frequent(counts, most, wanted):  # type: ignore[no-untyped-def]
    """The sum of the `wanted` largest of `counts`, of which the largest is `most`."""
    frequencies = np.zeros(most + 1, dtype=np.int64)
    for count in counts:
        frequencies[count] += 1
    total = 0
    for frequency in range(most, 1, -1):
        taken = min(wanted, frequencies[frequency])
        total += taken * frequency
        wanted -= taken
    return total
