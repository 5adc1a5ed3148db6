"""Columns of a Parquet file of ours, without what the opening of a data set costs."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from tsumugu.errors import TsumuguError


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """The table of `columns`.

    Not `pq.read_table`: its data set machinery costs several milliseconds for each file, and a run has
    thousands of small ones.

    Raises:
        TsumuguError: there is no such column.
    """
    with pq.ParquetFile(path) as file:
        table: pa.Table = file.read(columns=list(columns))
    if missing := set(columns) - set(table.column_names):
        raise TsumuguError(
            f"{path} has no column {', '.join(sorted(missing))}; it is not what this run wrote"
        )
    return table
