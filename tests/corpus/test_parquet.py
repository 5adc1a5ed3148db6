"""Every row of a Parquet file comes back once, whatever the pieces."""

import tracemalloc
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tsumugu.corpus.config import Input
from tsumugu.corpus.inputs import find_files, plan_shards
from tsumugu.corpus.parquet import read_parquet
from tsumugu.corpus.records import Failure, Page

LIMIT = 10_000


def read(folder: Path, *, shard_bytes: int = 10**9, **settings: Any) -> list[Page | Failure]:
    files = find_files([Input(path=str(folder), source="test", license="CC0-1.0", **settings)])
    return [
        record
        for shard in plan_shards(files, shard_bytes=shard_bytes)
        for piece in shard
        for record in read_parquet(piece, max_page_bytes=LIMIT)
    ]


def write(path: Path, columns: dict[str, Any], rows_in_group: int = 30) -> None:
    pq.write_table(pa.table(columns), path, row_group_size=rows_in_group)


def texts(count: int) -> list[str]:
    return [f"第{number}行。" + "あ" * (number % 13) for number in range(count)]


@pytest.mark.parametrize("shard_bytes", [200, 1000, 10**9])
def test_a_divided_file_yields_every_row_once(tmp_path: Path, shard_bytes: int) -> None:
    write(tmp_path / "a.parquet", {"number": range(1000), "text": texts(1000)}, rows_in_group=70)
    found = read(tmp_path, shard_bytes=shard_bytes)
    assert [record.offset for record in found] == list(range(1000))
    assert [record.text for record in found if isinstance(record, Page)] == texts(1000)


def test_columns_are_configurable_and_others_travel_along(tmp_path: Path) -> None:
    columns = {"本文": ["吾輩は猫である。"], "link": ["https://example.jp"], "score": [0.5], "more": [[1, 2]]}
    write(tmp_path / "a.parquet", columns)
    (page,) = read(tmp_path, text_key="本文", url_key="link", metadata_keys=("score", "more"))
    assert isinstance(page, Page)
    assert (page.text, page.url) == ("吾輩は猫である。", "https://example.jp")
    assert page.metadata == {"score": "0.5", "more": "[1, 2]"}


@pytest.mark.parametrize("kind", [pa.string(), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_every_kind_of_string_column_is_read(tmp_path: Path, kind: pa.DataType) -> None:
    write(tmp_path / "a.parquet", {"text": pa.array(["猫", "猫", "犬"]).cast(kind)})
    assert [record.text for record in read(tmp_path) if isinstance(record, Page)] == ["猫", "猫", "犬"]


def test_bad_rows_are_failures_and_their_neighbours_survive(tmp_path: Path) -> None:
    values = ["猫".encode(), None, b"\xff\xfe", b"", b"a" * (LIMIT + 1), "犬".encode()]
    binary = pa.array(values, pa.binary())
    array = pa.Array.from_buffers(pa.string(), len(values), binary.buffers())
    write(tmp_path / "a.parquet", {"text": array})
    found = read(tmp_path)
    assert [isinstance(record, Page) for record in found] == [True, False, False, False, False, True]
    errors = [record.error for record in found if isinstance(record, Failure)]
    for word, error in zip(["strings", "UTF-8", "empty", "larger"], errors, strict=True):
        assert word in error


def test_a_missing_column_is_one_failure_that_names_what_is_there(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"content": texts(100)})
    (failure,) = read(tmp_path, shard_bytes=100)
    assert isinstance(failure, Failure)
    assert "content" in failure.error


@pytest.mark.parametrize("data", [b"", b"PAR1", b"not parquet at all" * 50])
def test_what_is_no_parquet_is_one_failure(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(data)
    assert [type(record) for record in read(tmp_path, shard_bytes=100)] == [Failure]


def test_an_empty_table_is_one_failure(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"text": pa.array([], pa.string())})
    assert [type(record) for record in read(tmp_path)] == [Failure]


def test_a_truncated_file_is_one_failure(tmp_path: Path) -> None:
    write(tmp_path / "a.parquet", {"text": texts(1000)})
    data = (tmp_path / "a.parquet").read_bytes()
    (tmp_path / "a.parquet").write_bytes(data[: len(data) // 2])
    assert [type(record) for record in read(tmp_path)] == [Failure]


def test_a_damaged_row_group_costs_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"text": texts(90)}), path, row_group_size=30, compression="zstd", use_dictionary=False
    )
    column = pq.read_metadata(path).row_group(1).column(0)
    data = bytearray(path.read_bytes())
    start = column.data_page_offset
    data[start : start + column.total_compressed_size] = b"\xff" * column.total_compressed_size
    path.write_bytes(data)
    found = read(tmp_path)
    assert [record.offset for record in found if isinstance(record, Page)] == [*range(30), *range(60, 90)]
    assert [record.error.split(":")[0] for record in found if isinstance(record, Failure)] == [
        "rows 30 to 59 cannot be read"
    ]


def test_a_row_group_is_not_held_in_memory(tmp_path: Path) -> None:
    rows = [f"{number:06d}" + "本日は晴天なり。" * 200 for number in range(10_000)]
    write(tmp_path / "a.parquet", {"text": rows}, rows_in_group=10_000)
    (file,) = find_files([Input(path=str(tmp_path), source="test", license="CC0-1.0")])
    before = pa.total_allocated_bytes()
    tracemalloc.start()
    peak_arrow = 0
    for shard in plan_shards([file], shard_bytes=10**9):
        for _ in read_parquet(shard[0], max_page_bytes=LIMIT):
            peak_arrow = max(peak_arrow, pa.total_allocated_bytes() - before)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The rows are 48 MB.
    assert peak + peak_arrow < 20e6
