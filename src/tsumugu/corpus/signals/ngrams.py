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

N-grams are told apart by 64-bit hashes: in a document of a million characters two different ones
are taken for equal with a probability of about 3e-8.
"""

from typing import get_args

import numpy as np
from numba import njit

from tsumugu.corpus.signal_names import NgramSignal, RepetitionSignal
from tsumugu.corpus.signals.batch import Batch, Column

REPETITION_NAMES: tuple[str, ...] = get_args(RepetitionSignal)
NAMES: tuple[str, ...] = get_args(NgramSignal)


def measure_repetition(batch: Batch) -> dict[str, Column]:
    """The column `repeated_5gram_share`."""
    return {"repeated_5gram_share": _repeated_share(batch.codes, batch.offsets, 5)}


def measure(batch: Batch) -> dict[str, Column]:
    """One column for every name in `NAMES`."""
    return dict(zip(NAMES, _gopher_and_swallow(batch.codes, batch.offsets), strict=True))


@njit(cache=True)
def _slots(ngrams):  # type: ignore[no-untyped-def]
    """Size of a hash table for so many n-grams: a power of two, at most half full."""
    size = 64
    while size < 2 * ngrams:
        size *= 2
    return size


@njit(cache=True)
def _mix(value):  # type: ignore[no-untyped-def]
    value = (value ^ (value >> np.uint64(32))) * np.uint64(0xD6E8FEB86659FD93)
    return value ^ (value >> np.uint64(32))


@njit(cache=True)
def _longest(offsets):  # type: ignore[no-untyped-def]
    longest = 0
    for document in range(len(offsets) - 1):
        longest = max(longest, offsets[document + 1] - offsets[document])
    return longest


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
        distinct = most = 0
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
            most = max(most, counts[slot])
        # How many n-grams occur so often: the most frequent ones are summed from the top.
        frequencies = np.zeros(most + 1, dtype=np.int64)
        for slot in range(slots):
            if counts[slot]:
                frequencies[counts[slot]] += 1
        left = min(int(np.sqrt(distinct)), distinct - frequencies[1])
        repeated = 0
        for frequency in range(most, 1, -1):
            taken = min(left, frequencies[frequency])
            repeated += taken * frequency
            left -= taken
        column[document] = repeated / total
    return column


@njit(cache=True)
def _gopher_and_swallow(codes, offsets):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    columns = np.zeros((18, documents))
    longest = _longest(offsets)
    capacity = _slots(longest)
    keys = np.empty(capacity, dtype=np.uint64)
    counts = np.empty(capacity, dtype=np.int32)
    hashes = np.empty(longest, dtype=np.uint64)
    for document in range(documents):
        start = offsets[document]
        length = offsets[document + 1] - start
        for index in range(length):
            hashes[index] = np.uint64(codes[start + index])
        for size in range(2, 11):
            total = length - size + 1
            if total <= 0:
                break
            slots = _slots(total)
            counts[:slots] = 0
            mask = np.uint64(slots - 1)
            distinct = repeating = most = covered = 0
            covered_to = 0
            for index in range(total):
                added = np.uint64(codes[start + index + size - 1])
                hashes[index] = hashes[index] * np.uint64(0x9E3779B97F4A7C15) + added
                key = _mix(hashes[index])
                slot = key & mask
                while counts[slot] and keys[slot] != key:
                    slot = (slot + np.uint64(1)) & mask
                count = counts[slot]
                if count == 0:
                    keys[slot] = key
                    distinct += 1
                else:
                    if count == 1:
                        repeating += 1
                    covered += index + size - max(index, covered_to)
                    covered_to = index + size
                counts[slot] = count + 1
                most = max(most, count + 1)
            if size <= 4:
                columns[size - 2, document] = min(1.0, size * most / length)
                columns[9 + size - 2, document] = most / total
            else:
                columns[3 + size - 5, document] = covered / length
                columns[12 + size - 5, document] = repeating / distinct
    return columns
