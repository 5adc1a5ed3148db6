"""Pairs of documents with an equal key: one task for each column of keys.

A task reads its one column of every shard and nothing else, sorts it, and writes a pair for each
document whose key another document had before: that one and the first. 20 MinHash bands are 20
independent tasks; their pairs meet in `groups.unite`. No task holds more than `AT_ONCE` keys.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.dedup import groups
from tsumugu.corpus.dedup.shards import AT_ONCE, join_arrays, load_array, part_of, tables, write_columns


@dataclass(frozen=True)
class JoinTask:
    """A column of keys, and the file of pairs that comes of it."""

    shards: tuple[Path, ...]
    column: str
    check: str | None
    """A second column that must be equal too."""
    alive: Path
    """`bool [documents]` as .npy; the others are passed over, and so is key 0."""
    output: Path
    most: int = 2**62
    """A key that more living documents have than this joins nobody."""
    at_once: int = AT_ONCE


def join(task: JoinTask) -> None:
    """Write the pairs (`left`, `right`) of one column."""
    alive = load_array(task.alive)
    parts = -(-len(alive) // task.at_once)
    pairs = [_join_part(task, alive, part, parts) for part in range(parts)]
    left, right = (
        np.concatenate([pair[side] for pair in pairs] or [np.empty(0, np.int64)]) for side in (0, 1)
    )
    write_columns(task.output, {"left": left, "right": right})


def unite_pairs(parents: NDArray[np.int64], files: Sequence[Path]) -> None:
    """Join what the pair files say, one after the other."""
    for path in files:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=2**20):
            groups.unite(parents, batch["left"].to_numpy(), batch["right"].to_numpy())


def _join_part(
    task: JoinTask, alive: NDArray[np.bool_], part: int, parts: int
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    columns = [task.column] if task.check is None else [task.column, task.check]
    collected: list[list[NDArray[np.uint64]]] = [[] for _ in columns]
    rows = []
    for start, table in tables(task.shards, columns):
        keys = table[task.column].to_numpy()
        wanted = (keys != 0) & alive[start : start + len(keys)]
        if parts > 1:
            wanted &= part_of(keys, parts) == part
        rows.append(np.flatnonzero(wanted) + start)
        for place, column in enumerate(columns):
            collected[place].append(table[column].to_numpy()[wanted])
    values = [join_arrays(column) for column in collected]
    # Stable: rows of equal keys stay in input order.
    order = np.argsort(values[0], kind="stable") if len(values) == 1 else np.lexsort(values[::-1])
    pairs: tuple[NDArray[np.int64], NDArray[np.int64]] = _pairs(
        values[0], values[-1], join_arrays(rows).astype(np.int64, copy=False), order, task.most
    )
    return pairs


@njit(cache=True)
def _pairs(keys, checks, rows, order, most):  # type: ignore[no-untyped-def]
    left = np.empty(len(order), dtype=np.int64)
    right = np.empty(len(order), dtype=np.int64)
    count = start = 0
    while start < len(order):
        first = order[start]
        end = start + 1
        while end < len(order) and keys[order[end]] == keys[first] and checks[order[end]] == checks[first]:
            end += 1
        if end - start <= most:
            for place in range(start + 1, end):
                left[count], right[count] = rows[first], rows[order[place]]
                count += 1
        start = end
    return left[:count], right[:count]
