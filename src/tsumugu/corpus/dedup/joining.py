"""Pairs of documents with an equal key: one task for each column of keys, or for several small ones.

A task reads its columns of every shard and nothing else, sorts each, and writes a pair for each
document whose key another document had before: that one and the first. 20 MinHash bands are 20
independent tasks; their pairs meet in `groups.unite`. No task holds more than `AT_ONCE` keys, and
where the columns are short, one task reads several: opening a shard costs more than reading a few
thousand keys.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.dedup import groups
from tsumugu.corpus.dedup.shards import AT_ONCE, join_arrays, load_array, part_of, tables, write_columns

_TASKS = 4
_TOGETHER = 2**20
"""Keys of several columns that one task joins, one column after the other."""


@dataclass(frozen=True)
class JoinTask:
    """Columns of keys, and the file of pairs that comes of them."""

    shards: tuple[Path, ...]
    columns: tuple[str, ...]
    check: str | None
    """Another column that must be equal too."""
    alive: Path
    """`bool [documents]` as .npy; the others are passed over, and so is key 0."""
    output: Path
    most: int = 2**62
    """A key that more living documents have than this joins nobody."""
    at_once: int = AT_ONCE


def divide_columns(columns: Sequence[str], rows: int) -> list[tuple[str, ...]]:
    """Columns of so many keys each, as they are given to tasks: neighbours together while they are short.

    However short, they are a few tasks, so that several workers have something to do.
    """
    together = max(1, min(_TOGETHER // max(1, rows), len(columns) // _TASKS))
    return [tuple(columns[first : first + together]) for first in range(0, len(columns), together)]


def join(task: JoinTask) -> None:
    """Write the pairs (`left`, `right`) of all columns, one column after the other."""
    alive = load_array(task.alive)
    parts = -(-len(alive) // task.at_once)
    pairs = [pair for part in range(parts) for pair in _join_part(task, alive, part, parts)]
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
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    collected = [_Column() for _ in task.columns]
    checked = [] if task.check is None else [task.check]
    for start, table in tables(task.shards, [*task.columns, *checked]):
        living = alive[start : start + table.num_rows]
        checks = [table[column].to_numpy() for column in checked]
        for name, column in zip(task.columns, collected, strict=True):
            keys = table[name].to_numpy()
            wanted = (keys != 0) & living
            if parts > 1:
                wanted &= part_of(keys, parts) == part
            column.rows.append(np.flatnonzero(wanted) + start)
            column.keys.append(keys[wanted])
            column.checks += [check[wanted] for check in checks]
    for column in collected:
        keys = join_arrays(column.keys)
        checks = [join_arrays(column.checks)] if checked else []
        # Stable: rows of equal keys stay in input order.
        order = np.lexsort((checks[0], keys)) if checked else np.argsort(keys, kind="stable")
        rows = join_arrays(column.rows).astype(np.int64, copy=False)
        pairs: tuple[NDArray[np.int64], NDArray[np.int64]] = _pairs(
            keys, checks[0] if checked else keys, rows, order, task.most
        )
        yield pairs


@dataclass
class _Column:
    """What a task holds of one column, a piece for each shard."""

    rows: list[NDArray[np.int64]] = field(default_factory=list)
    keys: list[NDArray[np.uint64]] = field(default_factory=list)
    checks: list[NDArray[np.uint64]] = field(default_factory=list)


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
