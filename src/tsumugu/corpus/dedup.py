"""Documents that say the same again: exactly, nearly, or as a part of something else.

Exact: equal after NFKC, case folding and without white space. Near: MinHash (Broder 1997) over
character n-grams with locality-sensitive hashing; two documents that agree in all rows of a
band are joined, and the groups come out of a union-find. Contained: most of a document stands,
line for line, in shorter documents that stay; that is how a manual on one page repeats the
manual in many, and the Jaccard similarity of the two is far too small for MinHash to see it.

Of a group the first document in input order stays, so the result depends on the input alone.
"""

from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

_SHORTEST_LINE = 10
"""Characters. Shorter lines are headings and table cells, which unrelated pages share."""


def minhash_bands(
    codes: NDArray[np.uint32], offsets: NDArray[np.int64], *, ngram: int, bands: int, rows: int
) -> NDArray[np.uint64]:
    """One key per document and band; equal keys mean that all `rows` minima of the band agree.

    Args:
        codes, offsets: comparable texts as `signals.code_points` returns them.
        ngram: characters in a shingle; a shorter text is one shingle.

    Returns:
        `uint64 [bands, documents]`.
    """
    # A fixed seed: signatures of different shards, runs and machines can be compared.
    generator = np.random.Generator(np.random.PCG64(20230814))
    multipliers = generator.integers(0, 2**63, size=bands * rows, dtype=np.uint64) * np.uint64(2) + np.uint64(
        1
    )
    increments = generator.integers(0, 2**63, size=bands * rows, dtype=np.uint64)
    keys: NDArray[np.uint64] = _minhash(codes, offsets, ngram, multipliers, increments, bands, rows)
    return keys


def first_of_equals(keys: NDArray[np.generic]) -> NDArray[np.int64]:
    """For each element, the index of the first one that equals it: `int64 [n]`."""
    _, first, inverse = np.unique(keys, return_index=True, return_inverse=True)
    places: NDArray[np.int64] = np.asarray(first, dtype=np.int64)[inverse]
    return places


def first_of_group(bands: Sequence[NDArray[np.uint64]], documents: int) -> NDArray[np.int64]:
    """For each document, the first one that it is joined with by any chain of equal band keys."""
    parents = np.arange(documents, dtype=np.int64)
    for band in bands:
        _unite(parents, first_of_equals(band))
    roots: NDArray[np.int64] = _roots(parents)
    return roots


def contained_documents(
    line_keys: NDArray[np.uint64],
    line_lengths: NDArray[np.int64],
    offsets: NDArray[np.int64],
    *,
    share: float,
) -> NDArray[np.bool_]:
    """Which documents stand, for at least `share` of their characters, in shorter kept ones.

    Args:
        line_keys, line_lengths: hash and characters of every line of every document.
        offsets: where the lines of each document begin and end, `int64 [documents + 1]`.

    Returns:
        `bool [documents]`.
    """
    _, dense = np.unique(line_keys, return_inverse=True)
    totals = np.add.reduceat(np.append(line_lengths, 0), offsets[:-1]) if len(offsets) > 1 else line_lengths
    totals = np.where(np.diff(offsets) == 0, 0, totals)
    order = np.argsort(totals, kind="stable")
    contained: NDArray[np.bool_] = _contained(dense.astype(np.int64), line_lengths, offsets, order, share)
    return contained


def comparable_lines(text: str) -> list[str]:
    """The lines of a comparable text that are long enough to be recognised elsewhere."""
    return [line for line in text.split("\n") if len(line) >= _SHORTEST_LINE]


@njit(cache=True)
def _minhash(codes, offsets, ngram, multipliers, increments, bands, rows):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    keys = np.zeros((bands, documents), dtype=np.uint64)
    minima = np.empty(bands * rows, dtype=np.uint32)
    for document in range(documents):
        start, end = offsets[document], offsets[document + 1]
        minima[:] = np.uint32(0xFFFFFFFF)
        for first in range(start, max(start + 1, end - ngram + 1)):
            hashed = np.uint64(0xCBF29CE484222325)
            for position in range(first, min(first + ngram, end)):
                hashed = (hashed ^ np.uint64(codes[position])) * np.uint64(0x100000001B3)
            hashed = (hashed ^ (hashed >> np.uint64(29))) * np.uint64(0xBF58476D1CE4E5B9)
            hashed ^= hashed >> np.uint64(32)
            for row in range(bands * rows):
                # Multiply-add-shift (Dietzfelbinger et al. 1997): the upper half is universal.
                value = np.uint32((hashed * multipliers[row] + increments[row]) >> np.uint64(32))
                minima[row] = min(minima[row], value)
        for band in range(bands):
            key = np.uint64(0xCBF29CE484222325)
            for row in range(band * rows, (band + 1) * rows):
                key = (key ^ np.uint64(minima[row])) * np.uint64(0x9E3779B97F4A7C15)
                key ^= key >> np.uint64(31)
            keys[band, document] = key
    return keys


@njit(cache=True)
def _find(parents, node):  # type: ignore[no-untyped-def]
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@njit(cache=True)
def _unite(parents, partners):  # type: ignore[no-untyped-def]
    for node in range(len(partners)):
        left, right = _find(parents, node), _find(parents, partners[node])
        # The smaller index is the root: the first document of a group stands for it.
        if left < right:
            parents[right] = left
        else:
            parents[left] = right


@njit(cache=True)
def _roots(parents):  # type: ignore[no-untyped-def]
    roots = np.empty_like(parents)
    for node in range(len(parents)):
        roots[node] = _find(parents, node)
    return roots


@njit(cache=True)
def _contained(lines, lengths, offsets, order, share):  # type: ignore[no-untyped-def]
    seen = np.zeros(lines.max() + 1 if len(lines) else 0, dtype=np.bool_)
    contained = np.zeros(len(order), dtype=np.bool_)
    for document in order:
        total = known = 0
        for index in range(offsets[document], offsets[document + 1]):
            total += lengths[index]
            if seen[lines[index]]:
                known += lengths[index]
        if total > 0 and known >= share * total:
            contained[document] = True
            continue
        for index in range(offsets[document], offsets[document + 1]):
            seen[lines[index]] = True
    return contained
