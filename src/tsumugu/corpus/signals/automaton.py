"""Aho-Corasick over code points: where any of thousands of words stand, in one walk.

The automaton (Aho & Corasick 1975) is a full table, one row of transitions per state. Characters
that stand in no word share one column, so that the table has as many columns as the words have
different characters, and ordinary text stays in the first state.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

_CODE_POINTS = 0x110000


@dataclass(frozen=True)
class Automaton:
    """A compiled list of words; words are numbered in the list's order."""

    columns: NDArray[np.uint16]
    """The column of every code point, `[0x110000]`; 0 for those in no word."""
    states: NDArray[np.int32]
    """The next state, `[states, columns]`."""
    ends: NDArray[np.int64]
    """Which part of `words` ends in each state, `[states + 1]`."""
    words: NDArray[np.int32]
    """Numbers of words, the longest first for each state."""
    lengths: NDArray[np.int64]
    """Code points of every word."""


@dataclass(frozen=True)
class Matches:
    """Every place where a word stands, overlapping ones too, in the order of their ends."""

    document: NDArray[np.int64]
    start: NDArray[np.int64]
    """Position in the batch's code points."""
    word: NDArray[np.int64]


def build_automaton(words: Sequence[str], *, fold: NDArray[np.uint32] | None = None) -> Automaton:
    """Compile `words`, of which none is empty.

    Args:
        words: equal ones are all found.
        fold: `uint32 [0x110000]`, the code point that stands for each one; words and texts that
            are the same after folding match.
    """
    alphabet = sorted({character for word in words for character in word})
    columns = np.zeros(_CODE_POINTS, dtype=np.uint16)
    columns[[ord(character) for character in alphabet]] = np.arange(1, len(alphabet) + 1)
    trie: list[dict[int, int]] = [{}]
    found: list[list[int]] = [[]]
    for number, word in enumerate(words):
        state = 0
        for character in word:
            column = int(columns[ord(character)])
            if column not in trie[state]:
                trie[state][column] = len(trie)
                trie.append({})
                found.append([])
            state = trie[state][column]
        found[state].append(number)
    states = np.zeros((len(trie), len(alphabet) + 1), dtype=np.int32)
    fallback = [0] * len(trie)
    queue = deque([0])
    while queue:
        state = queue.popleft()
        # Breadth first, so that the shorter suffix's row and words are complete by now.
        states[state] = states[fallback[state]]
        if state:
            found[state] = found[state] + found[fallback[state]]
        for column, child in trie[state].items():
            fallback[child] = int(states[fallback[state], column]) if state else 0
            states[state, column] = child
            queue.append(child)
    return Automaton(
        columns=columns if fold is None else columns[fold],
        states=states,
        ends=np.cumsum([0, *map(len, found)]),
        words=np.array([number for numbers in found for number in numbers], dtype=np.int32),
        lengths=np.array([len(word) for word in words], dtype=np.int64),
    )


def find_matches(automaton: Automaton, codes: NDArray[np.uint32], offsets: NDArray[np.int64]) -> Matches:
    """Every occurrence of every word in the texts of a batch."""
    a = automaton
    return Matches(*_find(codes, offsets, a.columns, a.states, a.ends, a.words, a.lengths))


@njit(cache=True)
def _find(codes, offsets, columns, states, ends, words, lengths):  # type: ignore[no-untyped-def]
    capacity = 1024
    found = 0
    out = np.empty((3, capacity), dtype=np.int64)
    for document in range(len(offsets) - 1):
        state = 0
        for position in range(offsets[document], offsets[document + 1]):
            column = columns[codes[position]]
            if column == 0:
                # Most characters stand in no word.
                state = 0
                continue
            state = states[state, column]
            for index in range(ends[state], ends[state + 1]):
                if found == capacity:
                    larger = np.empty((3, 2 * capacity), dtype=np.int64)
                    larger[:, :capacity] = out
                    out = larger
                    capacity *= 2
                word = words[index]
                out[0, found] = document
                out[1, found] = position + 1 - lengths[word]
                out[2, found] = word
                found += 1
    return out[0, :found], out[1, :found], out[2, :found]


def count_apart(
    matches: Matches,
    chosen: NDArray[np.bool_],
    rank: NDArray[np.int64],
    lengths: NDArray[np.int64],
    *,
    documents: int,
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Matches that `re.findall` would return for an alternation of the words, and their characters.

    It goes from left to right, takes at each place the first word of the alternation that stands
    there, and goes on behind it.

    Args:
        matches: all occurrences.
        chosen: which of them count at all.
        rank: place of every word in the alternation.
        lengths: code points of every word.
        documents: how many texts the batch holds.

    Returns:
        `int64 [documents]` each.
    """
    rows = np.flatnonzero(chosen)
    rows = rows[np.lexsort((rank[matches.word[rows]], matches.start[rows]))]
    word = matches.word[rows]
    counts: tuple[NDArray[np.int64], NDArray[np.int64]] = _apart(
        matches.document[rows], matches.start[rows], lengths[word], documents
    )
    return counts


@njit(cache=True)
def _apart(document, start, length, documents):  # type: ignore[no-untyped-def]
    counts = np.zeros(documents, dtype=np.int64)
    characters = np.zeros(documents, dtype=np.int64)
    free = 0
    for index in range(len(start)):
        if start[index] >= free:
            counts[document[index]] += 1
            characters[document[index]] += length[index]
            free = start[index] + length[index]
    return counts, characters
