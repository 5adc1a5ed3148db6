"""The Parquet files of the corpus room: their columns, and how they are written.

`measured` files are intermediate: everything known about one part of a shard before the documents are
compared with each other. The other three are what a run keeps; `docs/run-folder.md` describes
them for other tools.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tsumugu.corpus import dedup
from tsumugu.corpus.config import SIGNALS, DedupConfig
from tsumugu.files import write_aside

_DOCUMENT = [
    ("id", pa.string()),
    ("text", pa.string()),
    ("url", pa.string()),
    ("source", pa.string()),
    ("license", pa.string()),
    ("metadata", pa.string()),
]
_REPEATING = ["source", "license", "reason", "metadata"]
_SIGNALS = [(name, pa.float64()) for name in SIGNALS]
_DUPLICATES = [("cluster", pa.int64()), ("cluster_size", pa.int64()), ("duplicate_of", pa.string())]

DOCUMENTS = pa.schema(_DOCUMENT)
DECISIONS = pa.schema(
    [
        ("id", pa.string()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        ("source", pa.string()),
        ("url", pa.string()),
        *_DUPLICATES,
        *_SIGNALS,
    ]
)
QUARANTINE = pa.schema(
    [
        ("id", pa.string()),
        ("source", pa.string()),
        ("path", pa.string()),
        ("offset", pa.int64()),
        ("error", pa.string()),
    ]
)


def measured_schema(config: DedupConfig) -> pa.Schema:
    """Columns of one measured part: the document, its signals, and what duplicates share."""
    return pa.schema([*_DOCUMENT, ("reason", pa.string()), *_SIGNALS, *dedup.key_schema(config)])


@contextmanager
def table_writer(path: Path, schema: pa.Schema) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Give a function that appends rows (lists or arrays by column) to a Parquet file.

    The file appears, whole, when the block ends well. The same rows in the same portions give the
    same bytes. NaN is written as null.
    """
    with (
        write_aside(path) as aside,
        # Dictionaries only where values repeat: hashes and texts do not.
        pq.ParquetWriter(aside, schema, compression="zstd", use_dictionary=_REPEATING) as writer,
    ):

        def write(columns: Mapping[str, Any]) -> None:
            arrays = [_array(columns[name], schema.field(name).type) for name in schema.names]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))

        yield write


def _array(values: Any, kind: pa.DataType) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    if isinstance(values, pa.Array):
        return values
    return pa.array(values, type=kind, from_pandas=True)


def shard_name(index: int) -> str:
    """The file name of part `index`; sorted names are in order."""
    return f"{index:05d}.parquet"


def read_rows(
    path: Path, rows: Set[int], columns: Sequence[str], *, characters: int
) -> dict[int, dict[str, Any]]:
    """Single rows of a Parquet file as dictionaries; of `text`, so many first characters.

    A row group is held at a time, and only those that are asked for are read.
    """
    found: dict[int, dict[str, Any]] = {}
    first = 0
    with pq.ParquetFile(path) as file:
        for group in range(file.num_row_groups):
            end = first + file.metadata.row_group(group).num_rows
            wanted = sorted(row for row in rows if first <= row < end)
            if wanted:
                places = pa.array([row - first for row in wanted])
                table = file.read_row_group(group, columns=list(columns)).take(places)
                for row, entry in zip(wanted, table.to_pylist(), strict=True):
                    found[row] = entry | {"text": entry["text"][:characters]}
            first = end
    return found
