"""Columns of all measured files, read one after the other.

A document is known by its row: its place among all documents in input order. Everything here reads
one file at a time and keeps only what was asked for. A shard is a measured file: a part of bounded
size (`measuring.MeasuredPart`), and texts are read a row group of it at a time.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tsumugu.corpus.columns import read_columns
from tsumugu.engine import Resources, T, map_shards, workers_are_up
from tsumugu.files import write_aside

AT_ONCE = 2**22
"""Keys that one task holds and sorts at a time, at about 55 bytes of memory each; when there are
more, they are divided by their upper bits."""
_SMALL = 2**20
"""So many keys or characters are compared sooner than a worker process starts."""


def row_offsets(shards: Sequence[Path]) -> NDArray[np.int64]:
    """The row at which each shard begins, and the number of all rows: `int64 [shards + 1]`."""
    counts = [pq.read_metadata(path).num_rows for path in shards]
    return np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]).astype(np.int64)


def read_numbers(shards: Sequence[Path], column: str, dtype: type[Any]) -> NDArray[Any]:
    """A column of numbers of all shards, as one array."""
    values = np.empty(int(row_offsets(shards)[-1]), dtype=dtype)
    for start, table in tables(shards, [column]):
        values[start : start + table.num_rows] = table[column].to_numpy()
    return values


def tables(shards: Sequence[Path], columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    """The row at which each shard begins, and its table of `columns`."""
    start = 0
    for path in shards:
        table = read_columns(path, columns)
        yield start, table
        start += table.num_rows


def row_groups(path: Path, columns: Sequence[str]) -> Iterator[tuple[int, pa.Table]]:
    """The row at which each row group of one shard begins, and its table of `columns`.

    A row group is what was measured together, some megabytes, so its texts may be held at once.
    """
    start = 0
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            table = file.read_row_group(group, columns=list(columns))
            yield start, table
            start += table.num_rows


def join_arrays(pieces: list[NDArray[Any]]) -> NDArray[Any]:
    """The pieces as one array; the list is emptied, so that they are not held longer than needed."""
    joined = np.concatenate(pieces)
    pieces.clear()
    return joined


def lists_of(table: pa.Table, column: str) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """A column of lists as offsets `int64 [rows + 1]` and all values."""
    array = table[column].combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = pa.concat_arrays(array.chunks) if array.num_chunks else pa.array([], array.type)
    sizes = array.value_lengths().to_numpy(zero_copy_only=False)
    offsets = np.concatenate([[0], np.cumsum(sizes, dtype=np.int64)]).astype(np.int64)
    return offsets, array.flatten().to_numpy(zero_copy_only=False)


def part_of(keys: NDArray[np.uint64], parts: int) -> NDArray[np.int64]:
    """In which of `parts` divisions each key falls, by its upper bits."""
    return ((keys >> np.uint64(32)) * np.uint64(parts) >> np.uint64(32)).astype(np.int64)


def save_array(path: Path, array: NDArray[Any]) -> Path:
    """Write `array` as .npy, atomically, for tasks to map into their memory."""
    with write_aside(path) as aside, aside.open("wb") as stream:
        np.save(stream, array)
    return path


def load_array(path: Path) -> NDArray[Any]:
    """What `save_array` wrote, mapped into memory."""
    array: NDArray[Any] = np.load(path, mmap_mode="r")
    return array


def write_columns(path: Path, columns: dict[str, Any], *, row_group_size: int | None = None) -> None:
    """Write arrays as Parquet, atomically."""
    with write_aside(path) as aside:
        pq.write_table(
            pa.table(columns), aside, compression="zstd", use_dictionary=False, row_group_size=row_group_size
        )


def map_tasks(
    function: Callable[[T], None], tasks: Sequence[T], *, amount: int, resources: Resources, description: str
) -> None:
    """`map_shards`, unless there is so little to do in all that this process does it sooner.

    Args:
        amount: keys or characters that all tasks compare together.
    """
    if amount > _SMALL or (len(tasks) > 1 and workers_are_up(resources)):
        map_shards(function, tasks, resources=resources, description=description)
        return
    for task in tasks:
        if not task.output.exists():
            function(task)
