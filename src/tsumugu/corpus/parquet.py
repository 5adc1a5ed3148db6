"""Parquet: one document a row, whole files or those row groups that begin in a range of bytes.

Only the columns that are asked for are read, a few hundred rows at a time, so that a row group of
gigabytes costs megabytes.
"""

from collections.abc import Iterator
from contextlib import ExitStack

import pyarrow as pa
import pyarrow.parquet as pq

from tsumugu.corpus.inputs import InputFile, Piece
from tsumugu.corpus.json_lines import read_object
from tsumugu.corpus.records import Failure, Page, too_large
from tsumugu.corpus.streams import READ_ERRORS, open_raw

_BATCH_ROWS = 128
_BUFFER_BYTES = 1 << 20


def read_parquet(piece: Piece, *, max_page_bytes: int) -> Iterator[Page | Failure]:
    """Every row of the row groups of `piece`, in order; offsets are row numbers in the file."""
    file = piece.file
    with ExitStack() as stack:
        try:
            parquet = pq.ParquetFile(open_raw(file, stack), pre_buffer=False, buffer_size=_BUFFER_BYTES)
        except (*READ_ERRORS, pa.ArrowException) as error:
            # Said once, by the piece that holds the beginning.
            if piece.start == 0:
                yield Failure(file, 0, f"not a readable Parquet file: {error}"[:300])
            return
        names = parquet.schema_arrow.names
        if file.entry.text_key not in names:
            if piece.start == 0:
                columns = ", ".join(names)
                yield Failure(
                    file, 0, f"no column {file.entry.text_key!r} (text_key); there are: {columns}"[:300]
                )
            return
        if parquet.metadata.num_rows == 0 and piece.start == 0:
            yield Failure(file, 0, "empty file")
        wanted = (file.entry.text_key, file.entry.url_key, *file.entry.metadata_keys)
        present = [name for name in dict.fromkeys(wanted) if name in names]
        row = 0
        for group in range(parquet.num_row_groups):
            if piece.start <= _first_byte(parquet, group, file.bytes) < piece.end:
                yield from _read_group(file, parquet, group, row, present, max_page_bytes)
            row += parquet.metadata.row_group(group).num_rows


def _read_group(
    file: InputFile, parquet: pq.ParquetFile, group: int, row: int, columns: list[str], limit: int
) -> Iterator[Page | Failure]:
    end = row + parquet.metadata.row_group(group).num_rows
    try:
        batches = parquet.iter_batches(
            batch_size=_BATCH_ROWS, row_groups=[group], columns=columns, use_threads=False
        )
        for batch in batches:
            for record in _rows(batch):
                if row < end:
                    yield _read_row(file, row, record, limit)
                row += 1
    except (*READ_ERRORS, pa.ArrowException) as error:
        if row < end:
            yield Failure(file, row, f"rows {row} to {end - 1} cannot be read: {error}"[:300])


def _rows(batch: pa.RecordBatch) -> Iterator[dict[str, object]]:
    """The rows as dictionaries; strings come as bytes, since a file may hold any bytes in them."""
    columns = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        if pa.types.is_dictionary(column.type):
            column = column.dictionary_decode()
        if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
            column = column.cast(pa.large_binary())
        columns[name] = column.to_pylist()
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def _read_row(file: InputFile, row: int, record: dict[str, object], limit: int) -> Page | Failure:
    if sum(len(value) for value in record.values() if isinstance(value, bytes)) > limit:
        return Failure(file, row, too_large(limit))
    try:
        decoded = {
            name: value.decode() if isinstance(value, bytes) else value for name, value in record.items()
        }
    except UnicodeDecodeError:
        return Failure(file, row, "a string of this row is not UTF-8")
    return read_object(file, row, decoded)


def _first_byte(parquet: pq.ParquetFile, group: int, file_bytes: int) -> int:
    """Where a row group begins. A footer may say anything, so it is kept inside the file."""
    metadata = parquet.metadata.row_group(group)
    if metadata.num_columns == 0:
        return 0
    column = metadata.column(0)
    first = column.dictionary_page_offset if column.has_dictionary_page else column.data_page_offset
    return min(max(int(first or 0), 0), max(file_bytes - 1, 0))
