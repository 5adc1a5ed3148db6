"""Shards of documents, as the corpus stage leaves them."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def write_shards(folder: Path, rows: list[tuple[str, str, str]], sizes: list[int]) -> list[Path]:
    """Parquet files of so many rows (id, source, text) each."""
    folder.mkdir()
    paths = []
    for number, size in enumerate(sizes):
        part, rows = rows[:size], rows[size:]
        columns = dict(zip(("id", "source", "text"), map(list, zip(*part, strict=True)), strict=True))
        paths.append(folder / f"{number:05d}.parquet")
        pq.write_table(pa.table(columns), paths[-1], row_group_size=37)
    assert not rows
    return paths
