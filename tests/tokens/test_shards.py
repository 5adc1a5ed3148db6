"""Shards are read as they were written, and a damaged one is refused by its name."""

import json
import resource
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xxhash

from conftest import memory_shard
from tsumugu.cli import main
from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, write_json
from tsumugu.tokens import shards
from tsumugu.tokens.shards import (
    TokenStream,
    npy_header,
    open_tokens,
    read_index,
    token_dtype,
    verify,
)


@pytest.fixture
def tokens(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run / "tokens", tmp_path / "run" / "tokens"))


def stream() -> TokenStream:
    """Consecutive numbers in three shards, whose documents begin at 0, 4, 10, 11, 13."""
    return TokenStream(
        (
            memory_shard(np.arange(10, dtype=np.uint16), np.array([0, 4, 10])),
            memory_shard(np.arange(10, 11, dtype=np.uint16), np.array([0, 1])),
            memory_shard(np.arange(11, 36, dtype=np.uint16), np.array([0, 2, 25])),
        )
    )


def test_reading_crosses_shards() -> None:
    assert stream().read(8, 12).tolist() == list(range(8, 20))
    assert stream().read(0, 36).tolist() == list(range(36))
    assert stream().read(36, 0).tolist() == []
    assert stream().read(3, 2).dtype == np.int64
    for start, length in ((30, 7), (-1, 2)):
        with pytest.raises(IndexError):
            stream().read(start, length)


def test_boundaries_are_where_documents_begin_in_a_window() -> None:
    begins = {0, 4, 10, 11, 13}
    for start in range(36):
        for length in range(36 - start):
            expected = [place - start for place in sorted(begins) if start <= place < start + length]
            assert stream().boundaries(start, length).tolist() == expected


def test_documents_come_one_by_one_across_shards() -> None:
    documents = [document.tolist() for document in stream().each_document()]
    assert [document[0] for document in documents] == [0, 4, 10, 11, 13]
    assert np.concatenate(documents).tolist() == list(range(36))
    assert stream().documents == 5


@pytest.mark.parametrize("shape", [(0,), (5,), (10**18,), (10**9, 2)])
def test_headers_are_those_of_numpy(shape: tuple[int, ...], tmp_path: Path) -> None:
    header = npy_header(np.dtype("<u2"), shape)
    assert len(header) == 128
    path = tmp_path / "header.npy"
    path.write_bytes(header)
    with path.open("rb") as opened:
        assert np.lib.format.read_magic(opened) == (1, 0)
        assert np.lib.format.read_array_header_1_0(opened) == (shape, False, np.dtype("<u2"))


def test_every_file_is_an_array_that_numpy_opens(finished_run: Path) -> None:
    folder = finished_run / "tokens"
    index = read_index(folder)
    for facts in index.shards:
        tokens, offsets, lengths = (np.load(folder / facts.file(part)) for part in shards.PARTS)
        assert tokens.dtype == np.uint16
        assert tokens.shape == (facts.tokens,)
        assert offsets.tolist()[:1] == [0]
        assert offsets[-1] == facts.tokens
        assert lengths.sum(0).tolist() == [facts.characters, facts.bytes]
        assert facts.xxh3["tokens"] == xxhash.xxh3_128_hexdigest((folder / facts.name).read_bytes())
    on_disk = {path.relative_to(folder).as_posix() for path in folder.glob("*/*/*.npy")}
    assert on_disk == {facts.file(part) for facts in index.shards for part in shards.PARTS}


def test_the_smallest_type_that_holds_every_id() -> None:
    assert token_dtype(65536) == "uint16"
    assert token_dtype(65537) == "uint32"


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1])


def retype(path: Path) -> None:
    data = path.read_bytes()
    header = data[:128].replace(b"<u2", b"<i2").replace(b"<i8", b"<u8").replace(b"<i4", b"<f4")
    path.write_bytes(header + data[128:])


def delete(path: Path) -> None:
    path.unlink()


@pytest.mark.parametrize("part", shards.PARTS)
@pytest.mark.parametrize("damage", [cut, retype, delete])
def test_a_damaged_shard_is_refused_by_its_name(
    tokens: Path, part: shards.Part, damage: Callable[[Path], None]
) -> None:
    name = read_index(tokens).shards[1].file(part)
    damage(tokens / name)
    with pytest.raises(TsumuguError, match=rf"{name}: this token shard is damaged.*Delete .*tokens and run"):
        read_everything(tokens)


def read_everything(folder: Path) -> None:
    """Headers are read when a file is mapped."""
    for shard in open_tokens(folder, "train").shards:
        for part in shards.PARTS:
            shard.open(part)


@pytest.mark.parametrize("part", shards.PARTS)
def test_verify_finds_one_changed_bit(
    tokens: Path, part: shards.Part, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tokens", "verify", str(tokens.parent)]) == 0
    assert f"{len(read_index(tokens).shards)} shards are whole" in capsys.readouterr().out
    name = read_index(tokens).shards[0].file(part)
    data = bytearray((tokens / name).read_bytes())
    data[-2] ^= 1
    (tokens / name).write_bytes(data)
    open_tokens(tokens, "train")
    assert main(["tokens", "verify", str(tokens.parent)]) == 1
    assert f"{name}: this token shard is damaged: its checksum" in capsys.readouterr().err


def test_verify_finds_an_index_that_tells_of_other_documents(tokens: Path) -> None:
    index = read_json(tokens / "index.json")
    index["shards"][0]["bytes"] += 1
    write_json(tokens / "index.json", index)
    with pytest.raises(TsumuguError, match="does not fit the documents of train/000/00000.npy"):
        verify(tokens)


def test_an_index_that_cannot_be_used_is_explained(tokens: Path) -> None:
    path = tokens / "index.json"
    whole = read_json(path)
    wrong: list[Any] = [
        {**whole, "version": 2},
        {**whole, "shards": [{"split": "train"}]},
        [],
        {"version": 1},
    ]
    for data in wrong:
        write_json(path, data)
        with pytest.raises(TsumuguError, match=r"index\.json.*Delete"):
            read_index(tokens)
    path.write_text(json.dumps(whole)[:-5])
    with pytest.raises(TsumuguError, match=r"index\.json.*Delete"):
        read_index(tokens)
    path.unlink()
    with pytest.raises(TsumuguError, match="not a folder of token shards"):
        read_index(tokens)


def test_an_empty_split_is_an_error(tokens: Path) -> None:
    with pytest.raises(TsumuguError, match="no token shards in the split 'test'"):
        open_tokens(tokens, "test")


def test_more_shards_than_a_process_may_have_open_files(tokens: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    index = read_json(tokens / "index.json")
    first = next(entry for entry in index["shards"] if entry["split"] == "train")
    for number in range(200):
        entry = {**first, "name": f"train/001/{number:05d}.npy", "source": 0}
        (tokens / "train/001").mkdir(exist_ok=True)
        for end in (".npy", ".offsets.npy", ".lengths.npy"):
            source = tokens / first["name"].replace(".npy", end)
            (tokens / entry["name"].replace(".npy", end)).hardlink_to(source)
        index["shards"].append(entry)
    write_json(tokens / "index.json", index)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, hard), hard))
    try:
        opened = open_tokens(tokens, "train")
        assert sum(1 for _ in opened.each_document()) == opened.documents
        assert opened.read(0, opened.tokens).shape == (opened.tokens,)
        assert len(opened.boundaries(0, opened.tokens)) == opened.documents
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_shard_that_was_replaced_is_mapped_anew(tokens: Path) -> None:
    before = open_tokens(tokens, "train").read(0, 5)
    index = read_json(tokens / "index.json")
    name = index["shards"][0]["name"]
    data = bytearray((tokens / name).read_bytes())
    data[128] ^= 1
    (tokens / name).unlink()
    (tokens / name).write_bytes(data)
    index["shards"][0]["xxh3"]["tokens"] = xxhash.xxh3_128_hexdigest(bytes(data))
    write_json(tokens / "index.json", index)
    assert open_tokens(tokens, "train").read(0, 5).tolist() == [int(before[0]) ^ 1, *before[1:].tolist()]
