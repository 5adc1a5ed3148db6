"""Every record comes back once, as a page or as a failure with its place."""

import bz2
import gzip
import json
import lzma
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tsumugu.corpus.config import Input
from tsumugu.corpus.inputs import find_files, plan_shards
from tsumugu.corpus.reading import Failure, Page, Skipped, read_records
from tsumugu.errors import TsumuguError

LIMIT = 10_000


def read(folder: Path, *, shard_bytes: int = 10**9) -> list[Page | Failure]:
    files = find_files([Input(path=str(folder), source="test", license="CC0-1.0")])
    shards = plan_shards(files, shard_bytes=shard_bytes)
    return [
        record
        for shard in shards
        for piece in shard
        for record in read_records(piece, max_page_bytes=LIMIT)
        if not isinstance(record, Skipped)
    ]


def lines(count: int) -> bytes:
    records = [{"text": f"文書{n}" + "あ" * (n % 17), "url": f"https://example.jp/{n}"} for n in range(count)]
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


@pytest.mark.parametrize("shard_bytes", [1, 50, 333, 1000, 10**9])
def test_a_divided_file_yields_every_line_once(tmp_path: Path, shard_bytes: int) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(100))
    found = read(tmp_path, shard_bytes=shard_bytes)
    assert [page.text[:5].rstrip("あ") for page in found if isinstance(page, Page)] == [
        f"文書{n}" for n in range(100)
    ]
    assert len({record.offset for record in found}) == 100


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), (".zst", zstd)],
)
def test_compressed_lines_are_read(tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]) -> None:
    (tmp_path / f"a.jsonl{suffix}").write_bytes(compress(lines(50)))
    assert all(isinstance(record, Page) for record in read(tmp_path))
    assert len(read(tmp_path)) == 50


@pytest.mark.parametrize(
    ("suffix", "compress"), [(".gz", gzip.compress), (".xz", lzma.compress), (".zst", zstd)]
)
def test_a_truncated_archive_yields_what_it_holds_and_one_failure(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes]
) -> None:
    data = compress(lines(20_000))
    (tmp_path / f"a.jsonl{suffix}").write_bytes(data[: len(data) // 2])
    found = read(tmp_path)
    failures = [record for record in found if isinstance(record, Failure)]
    assert len(failures) >= 1
    assert "breaks off" in failures[-1].error
    assert len(found) > 100


def test_an_archive_that_is_none_is_one_failure(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(b"this is not gzip")
    assert [type(record) for record in read(tmp_path)] == [Failure]


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (b"{broken", "malformed JSON"),
        (b'{"text": 5}', "must be strings"),
        (b'{"title": "x"}', "not an object"),
        (b'["text"]', "not an object"),
        (b"NaN", "not an object"),
        (b'{"text": "  "}', "empty"),
        (b'{"text": "\\ud83d"}', "surrogate"),
        (b'{"text": "x", "url": 5}', "must be strings"),
        (b'{"text": "x", "url": "\\ud83d"}', "surrogate"),
        (b'{"text": "\xff\xfe"}', "malformed JSON"),
        (b"[" * 100_000, "larger than"),
        (b"[" * 9_000, "malformed JSON"),
        (b'{"text": "' + b"a" * LIMIT + b'"}', "larger than"),
    ],
)
def test_a_bad_line_is_a_failure_and_its_neighbours_survive(tmp_path: Path, line: bytes, error: str) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1) + line + b"\n" + lines(1))
    first, bad, last = read(tmp_path)
    assert isinstance(first, Page)
    assert isinstance(bad, Failure)
    assert error in bad.error
    assert bad.offset == len(lines(1))
    assert isinstance(last, Page)


def test_pages_that_cannot_be_read_are_failures(tmp_path: Path) -> None:
    (tmp_path / "a-empty.html").write_bytes(b"")
    (tmp_path / "b-blank.html").write_bytes(b" \n ")
    (tmp_path / "c-large.html").write_bytes(b"a" * (LIMIT + 1))
    (tmp_path / "d-dangling.html").symlink_to(tmp_path / "nowhere")
    (tmp_path / "e-binary.html").write_bytes(bytes(range(256)))
    (tmp_path / "f-empty.jsonl").write_bytes(b"")
    (tmp_path / "g-folder.html").mkdir()
    errors = [record.error for record in read(tmp_path) if isinstance(record, Failure)]
    assert [error.split(":")[0] for error in errors] == [
        "empty file",
        "empty file",
        f"larger than corpus.max_page_bytes = {LIMIT}",
        "cannot be read",
        "binary data, not a page",
        "empty file",
    ]


def test_an_input_that_is_absent_or_holds_nothing_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TsumuguError, match="does not exist"):
        read(tmp_path / "nowhere")
    (tmp_path / "notes.doc").write_text("x")
    with pytest.raises(TsumuguError, match="holds no file"):
        read(tmp_path)


def read_one(path: Path, **settings: Any) -> list[Page | Failure]:
    files = find_files([Input(path=str(path), source="test", license="CC0-1.0", **settings)])
    return [
        record
        for shard in plan_shards(files, shard_bytes=10**9)
        for piece in shard
        for record in read_records(piece, max_page_bytes=LIMIT)
        if not isinstance(record, Skipped)
    ]


def test_keys_are_configurable_and_other_keys_travel_along(tmp_path: Path) -> None:
    record = {
        "本文": "吾輩は猫である。",
        "link": "https://example.jp/",
        "date": "2024-01-01",
        "tags": ["猫"],
        "x": 1,
    }
    (tmp_path / "a.jsonl").write_text(json.dumps(record), encoding="utf-8")
    (page,) = read_one(tmp_path, text_key="本文", url_key="link", metadata_keys=("date", "tags", "absent"))
    assert isinstance(page, Page)
    assert (page.text, page.url) == ("吾輩は猫である。", "https://example.jp/")
    assert page.metadata == {"date": "2024-01-01", "tags": '["猫"]'}


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "あ"}', encoding="utf-8")
    (failure,) = read_one(tmp_path, text_key="content")
    assert isinstance(failure, Failure)
    assert "'content'" in failure.error


def test_a_text_file_is_one_document_in_any_encoding(tmp_path: Path) -> None:
    text = "　吾輩は猫である。\n名前はまだ無い。\n" * 20
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    (tmp_path / "b.txt").write_text(text, encoding="cp932")
    (tmp_path / "c.txt.gz").write_bytes(gzip.compress(text.encode("euc_jp")))
    assert [page.text for page in read(tmp_path) if isinstance(page, Page)] == [text] * 3
    assert not any(page.is_html for page in read(tmp_path) if isinstance(page, Page))


def test_null_bytes_are_text_when_few_and_binary_when_many(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("日本語の文章です。".encode() * 50 + b"\0")
    (tmp_path / "b.txt").write_bytes(b"\0" * 100)
    (tmp_path / "c.jsonl").write_bytes(b'{"text": "a\\u0000b"}')
    text, binary, line = read(tmp_path)
    assert isinstance(text, Page)
    assert isinstance(binary, Failure)
    assert isinstance(line, Page)


def test_a_page_that_unpacks_to_more_than_the_limit_is_not_unpacked(tmp_path: Path) -> None:
    bomb = gzip.compress(bytes(300 * 2**20), compresslevel=1)
    (tmp_path / "a.html.gz").write_bytes(bomb)
    (tmp_path / "b.jsonl.gz").write_bytes(bomb)
    tracemalloc.start()
    errors = [record.error for record in read(tmp_path) if isinstance(record, Failure)]
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert errors == [f"larger than corpus.max_page_bytes = {LIMIT}"] * 2
    assert peak < 20 * 2**20


def test_frames_one_behind_the_other_are_one_file(tmp_path: Path) -> None:
    half = lines(25)
    for suffix, compress in ((".gz", gzip.compress), (".zst", zstd), (".xz", lzma.compress)):
        (tmp_path / f"a.jsonl{suffix}").write_bytes(compress(half) + compress(half))
    found = read(tmp_path)
    assert len(found) == 150
    assert all(isinstance(record, Page) for record in found)


def test_a_folder_inside_another_input_belongs_to_the_inner_one(tmp_path: Path) -> None:
    for name in ("a.html", "inner/b.html", "inner/deep/c.html", "inner/deep/d.html", "innermost/e.html"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("<p>こんにちは</p>", encoding="utf-8")
    inputs = [
        Input(path=str(tmp_path / path), source=source, license="CC0-1.0")
        for path, source in [("", "outer"), ("inner", "inner"), ("inner/deep/d.html", "file")]
    ]
    found = [(file.source, file.name) for file in find_files(inputs)]
    assert found == [
        ("outer", "a.html"),
        ("outer", "innermost/e.html"),
        ("inner", "b.html"),
        ("inner", "deep/c.html"),
        ("file", "d.html"),
    ]


def test_a_name_that_is_not_utf_8_is_no_obstacle(tmp_path: Path) -> None:
    for name in (b"\xff\xfe.jsonl.zst", b"\xff.jsonl"):
        path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name))
        path.write_bytes(zstd(lines(3)) if name.endswith(b"zst") else lines(3))
    found = read(tmp_path)
    assert len(found) == 6
    assert all(isinstance(record, Page) for record in found)


def test_an_input_that_is_missing_is_an_error_unless_it_is_optional(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(1))
    there = Input(path=str(tmp_path), source="there", license="CC0-1.0")
    missing = Input(path=str(tmp_path / "missing"), source="missing", license="CC0-1.0")
    with pytest.raises(TsumuguError, match="does not exist"):
        find_files([there, missing])
    optional = missing.model_copy(update={"optional": True})
    assert [file.source for file in find_files([there, optional])] == ["there"]
    with pytest.raises(TsumuguError, match="no input exists"):
        find_files([optional])


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is closed to root")
def test_a_folder_that_may_not_be_read_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(TsumuguError, match="closed cannot be read"):
        find_files([Input(path=str(tmp_path), source="test", license="CC0-1.0")])
