"""Windows of test items, and where they stand in texts: exact, at the speed of a rolling hash.

A window of an item is found by its first characters, its seed: every seed of a text is hashed and
looked up, and where one is known the whole window is compared with the text, character by character.
So a collision of hashes costs a comparison and never counts.
"""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.dedup.hashing import hash_ngrams
from tsumugu.corpus.dedup.normalising import comparable_codes
from tsumugu.corpus.dedup.shards import load_array, save_array

_SIXTYFOUR = np.uint64(64)


@dataclass(frozen=True)
class Index:
    """Some texts in form, and a hash table of the seeds of their windows."""

    codes: NDArray[np.uint32]
    """All texts one after the other, letters and digits only."""
    owners: NDArray[np.int64]
    """Of each window: the item. Windows with one seed stand together."""
    places: NDArray[np.int64]
    """Where it begins in `codes`."""
    lengths: NDArray[np.int64]
    """Its characters."""
    starts: NDArray[np.int64]
    """`starts[i] : starts[i + 1]` are the windows of seed i."""
    slots: NDArray[np.int64]
    """Open addressing, a power of two: the number of a seed, or -1."""
    keys: NDArray[np.uint64]
    """Of each seed."""
    filter: NDArray[np.uint64]
    """A bit for the upper bits of each key, small enough for a processor's cache: most of what is
    looked up ends here."""


def letters(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """The texts as code points, NFKC and case-folded, and only letters, marks and digits of them.

    Returns:
        `uint32 [characters]` and the offsets at which each text begins and ends, `int64 [texts + 1]`.
    """
    codes, offsets = comparable_codes(texts)
    kept: tuple[NDArray[np.uint32], NDArray[np.int64]] = _keep(codes, offsets, _is_letter())
    return kept


def build_index(
    codes: NDArray[np.uint32], windows: NDArray[np.int64], lengths: NDArray[np.int64], *, seed: int
) -> Index:
    """Index windows, `int64 [2, windows]` of owner and place; each at least `seed` characters long."""
    hashes = hashes_at(codes, windows[1], seed)
    order = np.argsort(hashes, kind="stable")
    keys, starts = np.unique(hashes[order], return_index=True)
    size = 1 << max(4, (2 * len(keys)).bit_length())
    bits = 1 << max(6, (16 * len(keys)).bit_length())
    slots = np.full(size, -1, dtype=np.int64)
    filter_ = np.zeros(bits // 64, dtype=np.uint64)
    _fill(keys, slots, filter_)
    return Index(
        codes=codes,
        owners=windows[0][order],
        places=windows[1][order],
        lengths=lengths[order],
        starts=np.append(starts, len(order)).astype(np.int64),
        slots=slots,
        keys=keys,
        filter=filter_,
    )


def save_index(folder: Path, index: Index) -> Path:
    """Write the arrays into `folder`, for tasks to map into their memory."""
    for one in fields(index):
        save_array(folder / f"{one.name}.npy", getattr(index, one.name))
    return folder


def load_index(folder: Path) -> Index:
    """What `save_index` wrote."""
    return Index(**{one.name: load_array(folder / f"{one.name}.npy") for one in fields(Index)})


def find_windows(
    texts: Sequence[str], index: Index, known: NDArray[np.bool_], *, seed: int
) -> NDArray[np.int64]:
    """The items of which a window stands in the texts, of those that are not known yet.

    Args:
        texts: documents.
        index: of `build_index`.
        known: `bool [items]`; those that are found become true.
        seed: as of the index.

    Returns:
        `int64 [3, found]`: item, text, and window.
    """
    codes, offsets = letters(texts)
    found: NDArray[np.int64] = _find(
        codes, offsets, seed, index.codes, index.owners, index.places, index.lengths,
        index.starts, index.slots, index.keys, index.filter, known,
    )  # fmt: skip
    return found


def hashes_at(codes: NDArray[np.uint32], places: NDArray[np.int64], size: int) -> NDArray[np.uint64]:
    """The hash of the `size` characters from each of `places` on."""
    hashes: NDArray[np.uint64] = _hashes_at(codes, places, size)
    return hashes


@lru_cache(maxsize=1)
def _is_letter() -> NDArray[np.bool_]:
    return np.array([unicodedata.category(chr(code))[0] in "LMN" for code in range(0x110000)], dtype=np.bool_)


@njit(cache=True)
def _keep(codes, offsets, kept):  # type: ignore[no-untyped-def]
    found = np.empty(len(codes), dtype=np.uint32)
    ends = np.zeros(len(offsets), dtype=np.int64)
    place = 0
    for document in range(len(offsets) - 1):
        for index in range(offsets[document], offsets[document + 1]):
            if kept[codes[index]]:
                found[place] = codes[index]
                place += 1
        ends[document + 1] = place
    return found[:place], ends


@njit(cache=True)
def _hashes_at(codes, places, size):  # type: ignore[no-untyped-def]
    text = np.empty(size, dtype=np.uint32)
    hashes = np.empty(1, dtype=np.uint64)
    found = np.empty(len(places), dtype=np.uint64)
    for number in range(len(places)):
        hash_ngrams(codes, places[number], places[number] + size, size, text, hashes)
        found[number] = hashes[0]
    return found


@njit(cache=True)
def _fill(keys, slots, filter_):  # type: ignore[no-untyped-def]
    slot_mask = np.uint64(len(slots) - 1)
    bit_mask = np.uint64(len(filter_) * 64 - 1)
    for number in range(len(keys)):
        slot = keys[number] & slot_mask
        while slots[slot] >= 0:
            slot = (slot + np.uint64(1)) & slot_mask
        slots[slot] = number
        bit = (keys[number] >> np.uint64(20)) & bit_mask
        filter_[bit // _SIXTYFOUR] |= np.uint64(1) << (bit % _SIXTYFOUR)


@njit(cache=True)
def _find(  # type: ignore[no-untyped-def]
    codes, offsets, size, item_codes, owners, places, lengths, starts, slots, keys, filter_, known
):
    longest = 1
    for document in range(len(offsets) - 1):
        longest = max(longest, offsets[document + 1] - offsets[document])
    text = np.empty(longest, dtype=np.uint32)
    hashes = np.empty(longest, dtype=np.uint64)
    slot_mask = np.uint64(len(slots) - 1)
    bit_mask = np.uint64(len(filter_) * 64 - 1)
    items = np.empty((3, len(known)), dtype=np.int64)
    count = 0
    for document in range(len(offsets) - 1):
        length = offsets[document + 1] - offsets[document]
        if length < size:
            continue
        for place in range(hash_ngrams(codes, offsets[document], offsets[document + 1], size, text, hashes)):
            key = hashes[place]
            bit = (key >> np.uint64(20)) & bit_mask
            if (filter_[bit // _SIXTYFOUR] >> (bit % _SIXTYFOUR)) & np.uint64(1) == np.uint64(0):
                continue
            slot = key & slot_mask
            while slots[slot] >= 0 and keys[slots[slot]] != key:
                slot = (slot + np.uint64(1)) & slot_mask
            if slots[slot] < 0:
                continue
            for window in range(starts[slots[slot]], starts[slots[slot] + 1]):
                if known[owners[window]] or place + lengths[window] > length:
                    continue
                same = True
                for step in range(lengths[window]):
                    if item_codes[places[window] + step] != text[place + step]:
                        same = False
                        break
                if same:
                    known[owners[window]] = True
                    items[0, count] = owners[window]
                    items[1, count] = document
                    items[2, count] = window
                    count += 1
    return items[:, :count].copy()
