"""Groups of documents that are joined by chains of pairs, and who of a group stays.

A union-find over rows (Tarjan 1975): 8 bytes for each document, whatever the number of pairs.
"""

import numpy as np
from numba import njit
from numpy.typing import NDArray


def new_forest(documents: int) -> NDArray[np.int64]:
    """Every document alone: `int64 [documents]`, the parent of each."""
    return np.arange(documents, dtype=np.int64)


def unite(parents: NDArray[np.int64], left: NDArray[np.int64], right: NDArray[np.int64]) -> None:
    """Join the groups of the documents `left[i]` and `right[i]`; the smaller row is the root."""
    _unite(parents, left, right)


def roots(parents: NDArray[np.int64]) -> NDArray[np.int64]:
    """The first document of each one's group: `int64 [documents]`."""
    found: NDArray[np.int64] = _roots(parents)
    return found


def survivors(
    parents: NDArray[np.int64], preference: NDArray[np.int64] | None, alive: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """Who stays of each document's group: the largest preference, and of several the first.

    Args:
        preference: `int64 [documents]`; without it the first stays.
        alive: who can stay; the others are their own survivors.
    """
    if preference is None:
        preference = np.zeros(1, dtype=np.int64)
    found: NDArray[np.int64] = _survivors(parents, preference, alive)
    return found


@njit(cache=True)
def find(parents, node):  # type: ignore[no-untyped-def]
    """The root of `node`'s group; halves the way to it."""
    while parents[node] != node:
        parents[node] = parents[parents[node]]
        node = parents[node]
    return node


@njit(cache=True)
def _unite(parents, left, right):  # type: ignore[no-untyped-def]
    for index in range(len(left)):
        one, other = find(parents, left[index]), find(parents, right[index])
        if one < other:
            parents[other] = one
        else:
            parents[one] = other


@njit(cache=True)
def _roots(parents):  # type: ignore[no-untyped-def]
    found = np.empty_like(parents)
    for node in range(len(parents)):
        found[node] = find(parents, node)
    return found


@njit(cache=True)
def _survivors(parents, preference, alive):  # type: ignore[no-untyped-def]
    documents = len(parents)
    preferred = len(preference) == documents
    best = np.full(documents, -1, dtype=np.int64)
    for row in range(documents):
        if not alive[row]:
            continue
        root = find(parents, row)
        if best[root] < 0 or (preferred and preference[row] > preference[best[root]]):
            best[root] = row
    found = np.arange(documents)
    for row in range(documents):
        if alive[row]:
            found[row] = best[find(parents, row)]
    return found
