"""Best-fit packing: sequences that cut no document which fits into one.

Ding et al. 2024 ("Fewer Truncations Improve Language Modeling"): documents longer than a sequence
are cut into pieces of full length and a remainder; then the pieces, longest first, go each into
the fullest sequence that still has room for it (best-fit decreasing). This needs only the offsets
of the documents. It is done once per shard and kept as two small arrays, so that finding a
sequence is two lookups in mapped files. For the shard `train/SSS/NNNNN.npy` a packing folder holds
- `train/SSS/NNNNN.pieces.npy`: `int64 [pieces, 2]`, start in the shard's tokens and length, in
  order of the sequences, and in each in order of the shard;
- `train/SSS/NNNNN.sequences.npy`: `int64 [sequences + 1]`, where the pieces of each begin and end.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsumugu.engine import Resources, map_shards
from tsumugu.files import write_aside
from tsumugu.tokens.sequences import pieces_path, sequences_path
from tsumugu.tokens.shards import Shard

_WINDOW_DOCUMENTS = 2**20
"""Documents that are packed together at most: bounds the memory, at about 100 bytes for each."""


@dataclass(frozen=True)
class PackTask:
    """A shard whose documents become sequences of `capacity` tokens."""

    shard: Shard
    capacity: int
    folder: Path

    @property
    def output(self) -> Path:
        """Written last, so that it stands for both files."""
        return sequences_path(self.folder, self.shard)


def pack_shards(shards: Sequence[Shard], capacity: int, *, folder: Path, resources: Resources) -> None:
    """Pack every shard into `folder`, one task each; those that are there already are kept."""
    tasks = [PackTask(shard, capacity, folder) for shard in shards]
    map_shards(pack_shard, tasks, resources=resources, description="pretrain: pack")


def pack_shard(task: PackTask) -> None:
    """Write the pieces and the sequences of one shard."""
    offsets = task.shard.offsets
    all_pieces, all_sequences, before = [], [np.zeros(1, dtype=np.int64)], 0
    for first in range(0, task.shard.documents, _WINDOW_DOCUMENTS):
        pieces, sequences = pack(offsets[first : first + _WINDOW_DOCUMENTS + 1], task.capacity)
        all_pieces.append(pieces)
        all_sequences.append(sequences[1:] + before)
        before += len(pieces)
    _write(pieces_path(task.folder, task.shard), np.concatenate(all_pieces))
    _write(sequences_path(task.folder, task.shard), np.concatenate(all_sequences))


@njit(cache=True)
def pack(offsets, capacity):  # type: ignore[no-untyped-def]
    """Best-fit-decreasing packing of documents into sequences of at most `capacity` tokens.

    Args:
        offsets: where documents begin and end, `int64 [documents + 1]`.
        capacity: tokens in a sequence.

    Returns:
        pieces `int64 [pieces, 2]` (start, length) in order of sequences, and where the pieces of
        each sequence begin and end, `int64 [sequences + 1]`.
    """
    starts, lengths = _cut(offsets, capacity)
    count = len(starts)
    sequence_of = np.empty(count, dtype=np.int64)
    # Sequences with so much room, as linked lists, and a tree that says where a list is not empty.
    newest = np.full(capacity + 1, -1, dtype=np.int64)
    older = np.full(count, -1, dtype=np.int64)
    leaves = 1
    while leaves <= capacity:
        leaves *= 2
    tree = np.zeros(2 * leaves, dtype=np.bool_)
    sequences = 0
    for piece in _longest_first(lengths, capacity):
        room = _least(tree, leaves, lengths[piece])
        if room < 0:
            sequence, room = sequences, np.int64(capacity)
            sequences += 1
        else:
            sequence = newest[room]
            newest[room] = older[sequence]
            if newest[room] < 0:
                _mark(tree, leaves, room)
        sequence_of[piece] = sequence
        room -= lengths[piece]
        if room > 0:
            if newest[room] < 0:
                _mark(tree, leaves, room)
            older[sequence] = newest[room]
            newest[room] = sequence
    return _grouped(starts, lengths, sequence_of, sequences)


@njit(cache=True)
def _cut(offsets, capacity):  # type: ignore[no-untyped-def]
    """Starts and lengths of pieces, none longer than `capacity`."""
    count = 0
    for document in range(len(offsets) - 1):
        count += (offsets[document + 1] - offsets[document] + capacity - 1) // capacity
    starts = np.empty(count, dtype=np.int64)
    lengths = np.empty(count, dtype=np.int64)
    piece = 0
    for document in range(len(offsets) - 1):
        start = offsets[document]
        while start < offsets[document + 1]:
            starts[piece] = start
            lengths[piece] = min(np.int64(capacity), offsets[document + 1] - start)
            start += lengths[piece]
            piece += 1
    return starts, lengths


@njit(cache=True)
def _longest_first(lengths, capacity):  # type: ignore[no-untyped-def]
    """The order of falling lengths; equal ones keep theirs (a counting sort)."""
    places = np.zeros(capacity + 2, dtype=np.int64)
    for length in lengths:
        places[capacity - length + 1] += 1
    places = np.cumsum(places)
    order = np.empty(len(lengths), dtype=np.int64)
    for piece in range(len(lengths)):
        order[places[capacity - lengths[piece]]] = piece
        places[capacity - lengths[piece]] += 1
    return order


@njit(cache=True)
def _mark(tree, leaves, room):  # type: ignore[no-untyped-def]
    """Turn the leaf of `room` around, and the marks above it."""
    node = leaves + room
    tree[node] = not tree[node]
    while node > 1:
        node //= 2
        tree[node] = tree[2 * node] or tree[2 * node + 1]


@njit(cache=True)
def _least(tree, leaves, length):  # type: ignore[no-untyped-def]
    """The smallest marked leaf from `length` on; -1 if there is none."""
    node = leaves + length
    while not tree[node]:
        # Up, as long as this is a right child, then over to the right neighbour.
        while node % 2 == 1:
            node //= 2
            if node <= 1:
                return np.int64(-1)
        node += 1
    while node < leaves:
        node = 2 * node if tree[2 * node] else 2 * node + 1
    return np.int64(node - leaves)


@njit(cache=True)
def _grouped(starts, lengths, sequence_of, sequences):  # type: ignore[no-untyped-def]
    ends = np.zeros(sequences + 1, dtype=np.int64)
    for sequence in sequence_of:
        ends[sequence + 1] += 1
    ends = np.cumsum(ends)
    places = ends.copy()
    pieces = np.empty((len(starts), 2), dtype=np.int64)
    for piece in range(len(starts)):
        place = places[sequence_of[piece]]
        pieces[place, 0], pieces[place, 1] = starts[piece], lengths[piece]
        places[sequence_of[piece]] += 1
    return pieces, ends


def _write(path: Path, array: NDArray[np.int64]) -> None:
    with write_aside(path) as aside, aside.open("wb") as stream:
        np.save(stream, array)
