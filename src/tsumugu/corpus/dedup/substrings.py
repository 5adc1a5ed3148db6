"""Passages of at least so many code points that stood before, in this document or another.

The result is that of a suffix array (Lee et al. 2022) with the rule that the first copy in input
order stays: a character is cut if it lies in a window of `size` code points that equals one further
ahead which it does not overlap. Instead of sorting suffixes, every window's rolling hash is looked
up in a table of first occurrences, and equality is checked character by character, so hashes decide
nothing. Cuts fall between code points, windows never reach over the end of a document, and every
character that is cut still stands in an earlier copy.

Memory: about 30 bytes for each code point. The caller bounds it by the size of a group of shards; copies
in different groups are not seen.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.dedup.hashing import BASE, mix

_NONE = np.uint32(0xFFFFFFFF)
MOST_CHARACTERS = 2**31
"""Of one group: positions are stored in 32 bits."""


def mark_substrings(
    codes: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    *,
    size: int,
    cut: NDArray[np.bool_],
) -> None:
    """Mark in `cut` (`bool [characters]`) every window of `size` code points that stood before."""
    if len(codes) >= MOST_CHARACTERS:
        raise ValueError(f"{len(codes):,} characters in one group; lower group_characters or shard_bytes")
    windows = int(np.maximum(np.diff(offsets) - size + 1, 0).sum())
    if windows > 1:
        table = np.full(1 << int(2 * windows - 1).bit_length(), _NONE, dtype=np.uint32)
        _mark(codes, offsets, size, table, _hashes(codes, offsets, size), cut)


@njit(cache=True)
def _hashes(codes, offsets, size):  # type: ignore[no-untyped-def]
    hashes = np.zeros(len(codes), dtype=np.uint64)
    power = np.uint64(1)
    for _ in range(size):
        power *= BASE
    for document in range(len(offsets) - 1):
        start = offsets[document]
        value = np.uint64(0)
        for index in range(start, offsets[document + 1]):
            value = value * BASE + np.uint64(codes[index])
            if index >= start + size:
                value -= np.uint64(codes[index - size]) * power
            if index >= start + size - 1:
                hashes[index - size + 1] = mix(value)
    return hashes


@njit(cache=True)
def _mark(codes, offsets, size, table, hashes, cut):  # type: ignore[no-untyped-def]
    mask = np.uint64(len(table) - 1)
    for document in range(len(offsets) - 1):
        marked = offsets[document]
        match = np.int64(-1)
        for index in range(offsets[document], offsets[document + 1] - size + 1):
            slot = hashes[index] & mask
            found = np.int64(-1)
            while table[slot] != _NONE:
                place = np.int64(table[slot])
                if hashes[place] == hashes[index]:
                    # The window before matched the one before that: only its end is new.
                    if match >= 0 and place == match + 1:
                        equal = codes[place + size - 1] == codes[index + size - 1]
                    else:
                        equal = True
                        for step in range(size):
                            if codes[place + step] != codes[index + step]:
                                equal = False
                                break
                    if equal:
                        found = place
                        break
                slot = (slot + np.uint64(1)) & mask
            match = found
            if found < 0:
                table[slot] = np.uint32(index)
            elif found + size <= index:
                for position in range(max(marked, index), index + size):
                    cut[position] = True
                marked = index + size
