"""Megatron-LM's format, byte by byte: what we write read by hand, what is written by hand read by us."""

import itertools
import struct
from pathlib import Path

import numpy as np
import pytest
from tokens_rooms import SOURCES, make_rooms, run_tokens, small_corpus, with_tokens

from conftest import memory_shard
from tsumugu.cli import main
from tsumugu.errors import TsumuguError
from tsumugu.recipe import Recipe
from tsumugu.tokens.megatron import Pair, check_pair, open_pair, write_pair
from tsumugu.tokens.shards import TokenStream, open_tokens

LETTERS = {1: "B", 2: "b", 3: "h", 4: "i", 5: "q", 8: "H"}
"""The format's codes of whole numbers, in the letters of `struct`."""


def write_by_hand(prefix: Path, documents: list[list[list[int]]], *, code: int) -> None:
    """A pair from documents of sequences, as the format's description says."""
    sequences = [sequence for document in documents for sequence in document]
    letter = LETTERS[code]
    data = b"".join(struct.pack(f"<{len(sequence)}{letter}", *sequence) for sequence in sequences)
    prefix.with_name(f"{prefix.name}.bin").write_bytes(data)
    sizes = [len(sequence) for sequence in sequences]
    pointers = [sum(sizes[:number]) * struct.calcsize(letter) for number in range(len(sizes))]
    firsts = [sum(map(len, documents[:number])) for number in range(len(documents) + 1)]
    prefix.with_name(f"{prefix.name}.idx").write_bytes(
        b"MMIDIDX\0\0"
        + struct.pack("<QB", 1, code)
        + struct.pack("<QQ", len(sizes), len(firsts))
        + struct.pack(f"<{len(sizes)}i", *sizes)
        + struct.pack(f"<{len(pointers)}q", *pointers)
        + struct.pack(f"<{len(firsts)}q", *firsts)
    )


def read_by_hand(prefix: Path) -> tuple[int, list[list[list[int]]]]:
    """Code and documents of sequences of a pair, as the format's description says."""
    index = prefix.with_name(f"{prefix.name}.idx").read_bytes()
    data = prefix.with_name(f"{prefix.name}.bin").read_bytes()
    assert index[:9] == b"MMIDIDX\0\0"
    version, code = struct.unpack_from("<QB", index, 9)
    assert version == 1
    sequences, documents = struct.unpack_from("<QQ", index, 18)
    place = 34
    sizes = struct.unpack_from(f"<{sequences}i", index, place)
    pointers = struct.unpack_from(f"<{sequences}q", index, place + 4 * sequences)
    firsts = struct.unpack_from(f"<{documents}q", index, place + 12 * sequences)
    assert len(index) == place + 12 * sequences + 8 * documents
    ids = [
        list(struct.unpack_from(f"<{size}{LETTERS[code]}", data, pointer))
        for size, pointer in zip(sizes, pointers, strict=True)
    ]
    assert len(data) == sum(sizes) * struct.calcsize(LETTERS[code])
    return code, [ids[first:last] for first, last in itertools.pairwise(firsts)]


def opened(prefix: Path) -> Pair:
    pair = open_pair(prefix)
    check_pair(pair)
    return pair


@pytest.mark.parametrize("code", sorted(LETTERS))
def test_every_type_and_several_sequences_in_a_document(code: int, tmp_path: Path) -> None:
    documents: list[list[list[int]]] = [[[5, 6, 7]], [[1], [2, 3], [4]], [[]], [], [[100, 127]]]
    write_by_hand(tmp_path / "a.b_text_document", documents, code=code)
    pair = opened(tmp_path / "a.b_text_document")
    found = [pair.document(number).tolist() for number in range(pair.documents)]
    assert found == [[5, 6, 7], [1, 2, 3, 4], [], [], [100, 127]]


def test_large_ids_keep_their_value(tmp_path: Path) -> None:
    for code, value in ((8, 65535), (4, 2**31 - 1), (5, 2**40)):
        write_by_hand(tmp_path / str(code), [[[value, 0]]], code=code)
        assert opened(tmp_path / str(code)).document(0).tolist() == [value, 0]


def test_a_pair_without_documents_can_be_read(tmp_path: Path) -> None:
    write_by_hand(tmp_path / "empty", [], code=8)
    assert opened(tmp_path / "empty").documents == 0


@pytest.mark.parametrize(("dtype", "code"), [(np.uint16, 8), (np.uint32, 4)])
def test_what_we_write_is_what_the_format_says(dtype: type, code: int, tmp_path: Path) -> None:
    largest = 65535 if code == 8 else 2**31 - 1
    stream = TokenStream(
        (
            memory_shard(np.array([1, 9, 2, 1, largest, 2], dtype=dtype), np.array([0, 3, 6])),
            memory_shard(np.array([1, 2], dtype=dtype), np.array([0, 2])),
        )
    )
    write_pair(tmp_path / "out", stream)
    assert read_by_hand(tmp_path / "out") == (code, [[[1, 9, 2]], [[1, largest, 2]], [[1, 2]]])
    pair = opened(tmp_path / "out")
    assert [pair.document(number).tolist() for number in range(3)] == [[1, 9, 2], [1, largest, 2], [1, 2]]


@pytest.fixture
def pair(tmp_path: Path) -> Path:
    write_by_hand(tmp_path / "pair", [[[1, 2], [3]], [[4, 5, 6]]], code=4)
    return tmp_path / "pair"


def overwrite(path: Path, place: int, data: bytes) -> None:
    whole = bytearray(path.read_bytes())
    whole[place : place + len(data)] = data
    path.write_bytes(whole)


@pytest.mark.parametrize(
    ("place", "data", "message"),
    [
        (0, b"X", "pair.idx is not the index"),
        (9, struct.pack("<Q", 2), "pair.idx is not the index"),
        (17, b"\x07", "pair.idx: type 7"),
        (17, b"\x63", "pair.idx: type 99"),
        (18, struct.pack("<Q", 4), "pair.idx is damaged or truncated"),
        (26, struct.pack("<Q", 2**60), "pair.idx is damaged or truncated"),
        (34, struct.pack("<i", -1), "pair.idx is damaged: a sequence"),
        (46, struct.pack("<q", -4), "pair.idx is damaged: a sequence"),
        (46, struct.pack("<q", 2), "pair.idx is damaged: a sequence"),
        (34, struct.pack("<i", 7), "pair.bin is truncated"),
        (70, struct.pack("<q", 1), "pair.idx is damaged: its documents"),
        (78, struct.pack("<q", 4), "pair.idx is damaged: its documents"),
        (86, struct.pack("<q", 2), "pair.idx is damaged: its documents"),
    ],
)
def test_a_damaged_index_is_refused_by_its_name(pair: Path, place: int, data: bytes, message: str) -> None:
    opened(pair)
    overwrite(pair.with_name("pair.idx"), place, data)
    with pytest.raises(TsumuguError, match=message):
        opened(pair)


@pytest.mark.parametrize("keep", [0, 20, 33, 34, 50, 93])
def test_a_truncated_index_is_refused_by_its_name(pair: Path, keep: int) -> None:
    path = pair.with_name("pair.idx")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TsumuguError, match=r"pair\.idx is (damaged or )?truncated"):
        opened(pair)


@pytest.mark.parametrize("keep", [0, 3, 20, 23])
def test_truncated_tokens_are_refused_by_their_name(pair: Path, keep: int) -> None:
    path = pair.with_name("pair.bin")
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TsumuguError, match=r"pair\.bin is truncated"):
        opened(pair)


@pytest.mark.parametrize("name", ["pair.idx", "pair.bin"])
def test_half_a_pair_is_refused(pair: Path, name: str) -> None:
    pair.with_name(name).unlink()
    with pytest.raises(TsumuguError, match=rf"{name} does not exist"):
        opened(pair)


def test_export_and_import_give_the_same_tokens(
    recipe: Recipe, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_rooms(tmp_path, small_corpus())
    run_tokens(with_tokens(recipe), tmp_path, tmp_path / "run")
    assert main(["tokens", "export", str(tmp_path / "run"), str(tmp_path / "out")]) == 0
    told = capsys.readouterr().out
    names = [f"{split}-{n:03d}-{SOURCES[n]}" for split in ("train", "validation") for n in (0, 1)]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == sorted(
        f"{name}.{suffix}" for name in names for suffix in ("bin", "idx")
    )
    assert all(name in told for name in names)
    code, documents = read_by_hand(tmp_path / "out" / "train-000-web")
    web = [ids.tolist() for ids in open_tokens(tmp_path / "run" / "tokens", "train", 0).each_document()]
    assert (code, documents) == (8, [[ids] for ids in web])

    words = ["tokens", "export", str(tmp_path / "run"), str(tmp_path / "out"), "--split", "train"]
    assert main(words) == 1
    assert "train-000-web.bin exists already" in capsys.readouterr().err
    words[3] = str(tmp_path / "train-alone")
    assert main(words) == 0
    assert len(list((tmp_path / "train-alone").iterdir())) == 4

    entry = {"format": "megatron", "license": "CC0-1.0"}
    again = with_tokens(
        recipe,
        [
            {**entry, "path": str(tmp_path / "out" / "train-000-web"), "source": "again"},
            {**entry, "path": str(tmp_path / "out" / "validation-000-web.bin"), "source": "held"},
        ],
    )
    run_tokens(again, tmp_path, tmp_path / "second")
    for source, split in ((2, "train"), (3, "validation")):
        before = open_tokens(tmp_path / "run" / "tokens", split, 0)
        shards = [
            open_tokens(tmp_path / "second" / "tokens", part, source) for part in ("train", "validation")
        ]
        found = sorted(ids.tolist() for stream in shards for ids in stream.each_document())
        assert found == sorted(ids.tolist() for ids in before.each_document())
        lengths = sorted(row for stream in shards for s in stream.shards for row in s.lengths.tolist())
        assert lengths == sorted(row for s in before.shards for row in s.lengths.tolist())
