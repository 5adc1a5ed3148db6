"""The Parquet files of the corpus room: their columns, and how they are written.

`measured` files are intermediate: everything known about one shard before the documents are
compared with each other. The other three are what a run keeps; `docs/run-folder.md` describes
them for other tools.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tsumugu.corpus.config import SIGNALS, DedupConfig
from tsumugu.corpus.dedup import key_schema
from tsumugu.files import write_aside

_DOCUMENT = [
    ("id", pa.string()),
    ("text", pa.string()),
    ("url", pa.string()),
    ("source", pa.string()),
    ("license", pa.string()),
]
_SIGNALS = [(name, pa.float64()) for name in SIGNALS]

DOCUMENTS = pa.schema(_DOCUMENT)
DECISIONS = pa.schema(
    [
        ("id", pa.string()),
        ("kept", pa.bool_()),
        ("reason", pa.string()),
        *_SIGNALS,
        ("cluster", pa.int64()),
        ("cluster_size", pa.int64()),
        ("duplicate_of", pa.string()),
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
    """Columns of one measured shard: the document, its signals, and what duplicates share."""
    return pa.schema([*_DOCUMENT, ("reason", pa.string()), *_SIGNALS, *key_schema(config)])


def write_table(path: Path, columns: Mapping[str, Any], schema: pa.Schema) -> None:
    """Write `columns` as zstd-compressed Parquet, atomically; the same bytes for the same rows."""
    table = pa.Table.from_pydict(columns, schema=schema)
    with write_aside(path) as aside:
        pq.write_table(table, aside, compression="zstd", row_group_size=10_000)


def shard_name(index: int) -> str:
    """The file name of shard `index`; sorted names are in order."""
    return f"{index:05d}.parquet"


def read_documents(folder: Path, columns: Sequence[str] = ("id", "text")) -> list[dict[str, Any]]:
    """The kept documents below a corpus folder, in order, as dictionaries of `columns`."""
    rows: list[dict[str, Any]] = []
    for path in sorted((folder / "documents").glob("*.parquet")):
        rows += pq.read_table(path, columns=list(columns)).to_pylist()
    return rows
