"""Finding files: folders, globs, remote paths, and whose a file is."""

import os
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tsumugu.corpus.config import Input
from tsumugu.corpus.inputs import InputFile, find_files, fingerprint_inputs, listed_once, plan_shards
from tsumugu.corpus.reading import Failure, Page, read_records
from tsumugu.corpus.remote import open_remote
from tsumugu.errors import TsumuguError

PAGE = "<p>吾輩は猫である。名前はまだ無い。</p>".encode()


def entry(path: object, source: str = "test", **settings: Any) -> Input:
    return Input(path=str(path), source=source, license="CC0-1.0", **settings)


def write(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(PAGE)


def read(files: list[InputFile]) -> list[Any]:
    return [
        record
        for shard in plan_shards(files, shard_bytes=100)
        for piece in shard
        for record in read_records(piece, max_page_bytes=10_000)
    ]


@pytest.fixture
def memory() -> Any:
    """fsspec's file system in memory, empty."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def test_every_known_name_is_found_and_no_other(tmp_path: Path) -> None:
    known = {
        "a.html": "html",
        "b.HTM": "html",
        "c.xhtml.gz": "html",
        "d.jsonl": "jsonl",
        "e.ndjson.zst": "jsonl",
        "f.parquet": "parquet",
        "g.txt": "text",
        "h.warc": "warc",
        "i.warc.gz": "warc",
        "j.warc.lz4": "warc",
        "k.warc.wet.gz": "wet",
        "l.arc.gz": "warc",
    }
    write(tmp_path, *known, "m.css", "n", "o.warc.wat.gz", "p.json")
    assert {file.name: file.kind for file in find_files([entry(tmp_path)])} == known


def test_a_stated_format_reads_every_file_whatever_its_name(tmp_path: Path) -> None:
    write(tmp_path, "index.php?id=3", "page.html", "style.css")
    assert [file.kind for file in find_files([entry(tmp_path, format="html")])] == ["html"] * 3


def test_a_glob_finds_what_it_matches_with_names_below_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "a/one.html", "a/deep/two.html", "b/three.html", "a/four.txt")
    assert [file.name for file in find_files([entry(tmp_path / "a" / "**" / "*.html")])] == [
        "deep/two.html",
        "one.html",
    ]
    assert [file.name for file in find_files([entry(tmp_path / "?" / "*.html")])] == [
        "a/one.html",
        "b/three.html",
    ]
    with pytest.raises(TsumuguError, match="holds no file"):
        find_files([entry(tmp_path / "*.warc.gz")])


def test_a_file_whose_name_looks_like_a_glob_is_a_file(tmp_path: Path) -> None:
    write(tmp_path, "page[1].html")
    assert [file.name for file in find_files([entry(tmp_path / "page[1].html")])] == ["page[1].html"]


def test_a_file_of_two_globs_belongs_to_the_first_and_a_glob_comes_before_its_folder(tmp_path: Path) -> None:
    write(tmp_path, "ab.html", "a.html", "b.html", "c.html")
    inputs = [
        entry(tmp_path, "folder"),
        entry(tmp_path / "a*.html", "first"),
        entry(tmp_path / "*b.html", "second"),
    ]
    assert [(file.source, file.name) for file in find_files(inputs)] == [
        ("folder", "c.html"),
        ("first", "a.html"),
        ("first", "ab.html"),
        ("second", "b.html"),
    ]


def test_folders_with_a_pages_name_are_no_pages(tmp_path: Path) -> None:
    write(tmp_path, "x.html/inner.html")
    (tmp_path / "y.jsonl").mkdir()
    assert [file.name for file in find_files([entry(tmp_path)])] == ["x.html/inner.html"]


def test_pipes_are_not_opened(tmp_path: Path) -> None:
    write(tmp_path, "a.html")
    os.mkfifo(tmp_path / "b.html")
    assert [file.name for file in find_files([entry(tmp_path)])] == ["a.html"]


def test_a_name_that_is_not_utf8_is_read_and_can_be_stored(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path) + b"/\x83y\x81[\x83W.html"
    try:
        with open(path, "wb") as stream:  # noqa: PTH123 (a name in bytes)
            stream.write(PAGE)
    except OSError:
        pytest.skip("this file system refuses such names")
    (file,) = find_files([entry(tmp_path)])
    assert file.name == "\\x83y\\x81[\\x83W.html"
    (page,) = read([file])
    assert isinstance(page, Page)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_we_may_not_read_is_quarantined(tmp_path: Path) -> None:
    write(tmp_path, "a.html", "b.html")
    (tmp_path / "a.html").chmod(0)
    refused, page = read(find_files([entry(tmp_path)]))
    assert isinstance(refused, Failure)
    assert isinstance(page, Page)


def test_the_fingerprint_changes_with_the_pages(tmp_path: Path) -> None:
    write(tmp_path, "a.html")
    before = fingerprint_inputs([entry(tmp_path)])
    assert before == fingerprint_inputs([entry(tmp_path)])
    os.utime(tmp_path / "a.html", ns=(0, 0))
    assert fingerprint_inputs([entry(tmp_path)]) != before


def test_a_moment_in_which_files_are_listed_once(tmp_path: Path) -> None:
    write(tmp_path, "a.html")
    with listed_once():
        before = fingerprint_inputs([entry(tmp_path)])
        write(tmp_path, "b.html")
        # What is read is what the fingerprint tells of.
        assert [file.name for file in find_files([entry(tmp_path)])] == ["a.html"]
        assert fingerprint_inputs([entry(tmp_path)]) == before
        assert len(find_files([entry(tmp_path, "other")])) == 2
        find_files([entry(tmp_path)]).clear()
        assert len(find_files([entry(tmp_path)])) == 1
    assert len(find_files([entry(tmp_path)])) == 2


def test_shards_follow_the_files_and_large_plain_lines_are_divided(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b"x" * 250)
    (tmp_path / "b.jsonl.gz").write_bytes(b"x" * 250)
    shards = plan_shards(find_files([entry(tmp_path)]), shard_bytes=100)
    assert [[(piece.file.name, piece.start) for piece in shard] for shard in shards] == [
        [("a.jsonl", 0)],
        [("a.jsonl", 100)],
        [("a.jsonl", 200), ("b.jsonl.gz", 0)],
    ]


def test_remote_files_are_found_and_read_like_local_ones(memory: Any, tmp_path: Path) -> None:
    lines = '{"text": "一行目"}\n{"text": "二行目"}\n{"text": "三行目"}\n'.encode() * 20
    for name, data in (("pages/a.html", PAGE), ("pages/deep/b.jsonl", lines), ("pages/c.css", PAGE)):
        memory.pipe(f"/bucket/{name}", data)
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(data)
    local = find_files([entry(tmp_path / "pages")])
    for url in ("memory://bucket/pages", "memory://bucket/pages/", f"file://{tmp_path}/pages"):
        remote = find_files([entry(url)])
        assert [(file.name, file.kind, file.bytes) for file in remote] == [
            (file.name, file.kind, file.bytes) for file in local
        ]
        assert [(record.offset, record.text) for record in read(remote)] == [
            (record.offset, record.text) for record in read(local)
        ]


def test_remote_globs_and_single_files(memory: Any) -> None:
    for name in ("a/one.html", "a/deep/two.html", "b/three.html"):
        memory.pipe(f"/bucket/{name}", PAGE)
    assert [file.name for file in find_files([entry("memory://bucket/a/**/*.html")])] == [
        "deep/two.html",
        "one.html",
    ]
    assert [file.name for file in find_files([entry("memory://bucket/b/three.html")])] == ["three.html"]


def test_innermost_holds_among_remote_inputs_and_between_file_urls_and_paths(
    memory: Any, tmp_path: Path
) -> None:
    write(tmp_path, "a.html", "inner/b.html")
    memory.pipe("/bucket/a.html", PAGE)
    memory.pipe("/bucket/inner/b.html", PAGE)
    for outer, inner in (
        ("memory://bucket", "memory://bucket/inner"),
        (str(tmp_path), f"file://{tmp_path}/inner"),
        (f"file://{tmp_path}", str(tmp_path / "inner")),
    ):
        found = find_files([entry(outer, "outer"), entry(inner, "inner")])
        assert [(file.source, file.name) for file in found] == [("outer", "a.html"), ("inner", "b.html")]


def test_the_fingerprint_changes_with_remote_files(memory: Any, tmp_path: Path) -> None:
    memory.pipe("/bucket/a.html", PAGE)
    before = fingerprint_inputs([entry("memory://bucket")])
    assert before == fingerprint_inputs([entry("memory://bucket")])
    memory.pipe("/bucket/a.html", PAGE)
    assert fingerprint_inputs([entry("memory://bucket")]) != before
    write(tmp_path, "a.html")
    before = fingerprint_inputs([entry(f"file://{tmp_path}")])
    os.utime(tmp_path / "a.html", ns=(0, 0))
    assert fingerprint_inputs([entry(f"file://{tmp_path}")]) != before


def test_what_is_not_there_is_a_clear_error(memory: Any) -> None:
    with pytest.raises(TsumuguError, match="memory://nowhere"):
        find_files([entry("memory://nowhere")])
    with pytest.raises(TsumuguError, match="cannot be listed"):
        find_files([entry("no-such-protocol://bucket")])


def test_a_remote_file_that_vanished_is_quarantined(memory: Any) -> None:
    memory.pipe("/bucket/a.html", PAGE)
    files = find_files([entry("memory://bucket")])
    memory.rm("/bucket/a.html")
    (failure,) = read(files)
    assert isinstance(failure, Failure)


class Flaky:
    """A stream of ten million bytes that fails now and then, as networks do."""

    size = 10**7
    failures = 0

    def __init__(self) -> None:
        self._position = 0
        self._reads = 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> int:
        self._position = position
        return position

    def read(self, size: int) -> bytes:
        self._reads += 1
        if self._reads % 3 == 0:
            Flaky.failures += 1
            raise ConnectionResetError("the network is gone")
        data = bytes([65 + self._position // 2**20]) * min(size, self.size - self._position)
        self._position += len(data)
        return data

    def close(self) -> None:
        pass


def test_a_network_that_fails_is_tried_again_where_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = type("Opened", (), {"open": staticmethod(Flaky)})
    monkeypatch.setattr("fsspec.open", lambda *arguments, **options: opened)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    with open_remote("s3://bucket/file", {}) as stream:
        assert len(stream.read()) == Flaky.size
    assert Flaky.failures > 1


def test_a_network_that_is_gone_stops_the_run_instead_of_losing_data(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Flaky, size: int) -> bytes:
        raise ConnectionResetError("the network is gone")

    monkeypatch.setattr(Flaky, "read", refuse)
    opened = type("Opened", (), {"open": staticmethod(Flaky)})
    monkeypatch.setattr("fsspec.open", lambda *arguments, **options: opened)
    monkeypatch.setattr("time.sleep", lambda seconds: None)
    for name in ("a.html", "a.jsonl", "a.jsonl.gz", "a.jsonl.zst", "a.warc", "a.parquet"):
        kind = find_kind(name)
        file = InputFile(entry("s3://bucket"), f"s3://bucket/{name}", name, kind, 100, "")
        with pytest.raises(TsumuguError, match="finished shards are kept"):
            read([file])


def find_kind(name: str) -> Any:
    return {"html": "html", "jsonl": "jsonl", "warc": "warc", "parquet": "parquet"}[name.split(".")[1]]


def test_files_of_a_server_that_sends_whole_files_only_are_not_divided(
    memory: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    memory.pipe("/pages/a.warc.gz", b"x" * 1000)
    assert [file.divisible for file in find_files([entry("memory://pages")])] == [True]
    find = type(memory).find

    def find_whole(*arguments: Any, **settings: Any) -> Any:
        return {name: info | {"partial": False} for name, info in find(*arguments, **settings).items()}

    monkeypatch.setattr(type(memory), "find", find_whole)
    files = find_files([entry("memory://pages")])
    assert [file.divisible for file in files] == [False]
    assert [len(shard) for shard in plan_shards(files, shard_bytes=10)] == [1]
