"""MinHash signatures over character n-grams, cut into bands for locality-sensitive hashing.

Two documents agree in one value with the probability of their Jaccard similarity J, in all `rows`
of a band with J ** rows, and in at least one of `bands` with 1 - (1 - J ** rows) ** bands
(Broder 1997; Leskovec et al., Mining of Massive Datasets, chapter 3).

- `fast`: Fast Similarity Sketching (Dahlgaard, Knudsen, Thorup 2017). Every n-gram is hashed once and
  competes in one place only, as in one-permutation hashing; what is still empty after that round is
  filled by further rounds, with fresh hashes, whose values are larger than all of an earlier round.
  A long text is done after one round, and a short one needs about bands * rows * ln(bands * rows)
  hashes in all. Unlike copying from full places (densification), this has no bias for short texts,
  and texts of any length can be compared with each other.
- `classic`: as many hash functions as values, 32 bits each. The slow yardstick.

A text shorter than the n-gram is one n-gram. An empty text has the key 0 in every band: no key.
"""

from typing import Literal

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.dedup.hashing import SEED_A, SEED_B, absorb, finish, hash_ngrams, mix

Method = Literal["fast", "classic"]
_EMPTY = np.uint64(0xFFFFFFFFFFFFFFFF)
_HALF = np.uint64(32)
_LOWER = np.uint64(0xFFFFFFFF)


def minhash_bands(
    codes: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    *,
    ngram: int,
    bands: int,
    rows: int,
    method: Method = "fast",
) -> NDArray[np.uint64]:
    """One key per band and document; equal keys mean that all `rows` values of the band agree.

    Args:
        codes, offsets: texts as `normalising.comparable_codes` returns them; line ends do not count.
        ngram: characters in a shingle.

    Returns:
        `uint64 [bands, documents]`; 0 for empty documents.
    """
    kernel = _fast if method == "fast" else _classic
    keys: NDArray[np.uint64] = kernel(codes, offsets, ngram, bands, rows)
    return keys


@njit(cache=True)
def _fast(codes, offsets, ngram, bands, rows):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    size = bands * rows
    places = np.uint64(size)
    longest = 1
    for document in range(documents):
        longest = max(longest, offsets[document + 1] - offsets[document])
    text = np.empty(longest, dtype=np.uint32)
    hashes = np.empty(longest, dtype=np.uint64)
    values = np.empty(size, dtype=np.uint64)
    keys = np.zeros((bands, documents), dtype=np.uint64)
    for document in range(documents):
        count = hash_ngrams(codes, offsets[document], offsets[document + 1], ngram, text, hashes)
        if count == 0:
            continue
        values[:] = _EMPTY
        for index in range(count):
            hashed = hashes[index]
            place = ((hashed >> _HALF) * places) >> _HALF
            values[place] = min(values[place], hashed & _LOWER)
        empty = 0
        for place in range(size):
            empty += values[place] == _EMPTY
        for round_number in range(1, 2 * size):
            if empty == 0:
                break
            upper = np.uint64(round_number) << _HALF
            salt = np.uint64(round_number) * SEED_A
            for index in range(count):
                hashed = mix(hashes[index] ^ salt)
                place = ((hashed >> _HALF) * places) >> _HALF
                if round_number >= size:
                    # The last rounds take the places one by one, so that none stays empty.
                    place = np.uint64(round_number - size)
                value = upper | (hashed & _LOWER)
                if value < values[place]:
                    empty -= values[place] == _EMPTY
                    values[place] = value
        _write_keys(keys, document, values, bands, rows)
    return keys


@njit(cache=True)
def _classic(codes, offsets, ngram, bands, rows):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    size = bands * rows
    multipliers = np.empty(size, dtype=np.uint64)
    increments = np.empty(size, dtype=np.uint64)
    for row in range(size):
        multipliers[row] = mix(SEED_A + np.uint64(row)) | np.uint64(1)
        increments[row] = mix(SEED_B + np.uint64(row))
    longest = 1
    for document in range(documents):
        longest = max(longest, offsets[document + 1] - offsets[document])
    text = np.empty(longest, dtype=np.uint32)
    hashes = np.empty(longest, dtype=np.uint64)
    values = np.empty(size, dtype=np.uint64)
    keys = np.zeros((bands, documents), dtype=np.uint64)
    for document in range(documents):
        count = hash_ngrams(codes, offsets[document], offsets[document + 1], ngram, text, hashes)
        if count == 0:
            continue
        values[:] = _EMPTY
        for index in range(count):
            hashed = hashes[index]
            for row in range(size):
                # Multiply-add-shift (Dietzfelbinger et al. 1997): the upper half is universal.
                value = (hashed * multipliers[row] + increments[row]) >> _HALF
                values[row] = min(values[row], value)
        _write_keys(keys, document, values, bands, rows)
    return keys


@njit(cache=True)
def _write_keys(keys, document, values, bands, rows):  # type: ignore[no-untyped-def]
    for band in range(bands):
        state = SEED_B
        for row in range(band * rows, (band + 1) * rows):
            state = absorb(state, values[row])
        keys[band, document] = finish(state, rows)
