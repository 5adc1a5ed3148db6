"""Megatron-LM's indexed datasets: a `.bin` of token ids and an `.idx` that says where what lies.

The index, little-endian throughout (megatron/core/datasets/indexed_dataset.py and the data
pipeline's readme describe it):

    9 bytes        "MMIDIDX", 0, 0
    uint64         version, 1
    uint8          type of the ids: 1 uint8, 2 int8, 3 int16, 4 int32, 5 int64, 6 float64, 7 float32, 8 uint16
    uint64         sequences
    uint64         documents + 1
    int32 [s]      tokens of each sequence
    int64 [s]      where each begins in the .bin, in bytes
    int64 [d + 1]  the sequence with which each document begins, and the number of sequences

A document is one sequence or several, one after another. We write one for each document.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsumugu.errors import TsumuguError
from tsumugu.files import write_aside
from tsumugu.tokens.shards import TokenStream, open_tokens, read_index

MAGIC = b"MMIDIDX\x00\x00"
_HEADER = struct.Struct("<9sQBQQ")
_DTYPES = {1: "<u1", 2: "<i1", 3: "<i2", 4: "<i4", 5: "<i8", 8: "<u2"}
"""Those of whole numbers; 6 and 7 are float64 and float32."""
_CODES = {"<u2": 8, "<i4": 4}
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Pair:
    """An open pair; its arrays are memory maps."""

    prefix: Path
    """The common path, without .bin and .idx."""
    tokens: NDArray[Any]
    """All ids of the .bin."""
    sizes: NDArray[np.int32]
    """Tokens of each sequence."""
    pointers: NDArray[np.int64]
    """Where each begins in the .bin, in bytes."""
    first_sequences: NDArray[np.int64]
    """`int64 [documents + 1]`."""

    @property
    def documents(self) -> int:
        """Number of documents."""
        return len(self.first_sequences) - 1

    def document(self, number: int) -> NDArray[Any]:
        """The ids of a document."""
        first, last = self.first_sequences[number : number + 2]
        starts = (self.pointers[first:last] // self.tokens.itemsize).tolist()
        parts = [
            self.tokens[start : start + size]
            for start, size in zip(starts, self.sizes[first:last].tolist(), strict=True)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate([self.tokens[:0], *parts])


def open_pair(prefix: Path) -> Pair:
    """Open `prefix.bin` and `prefix.idx`; nothing but the header is read.

    Raises:
        TsumuguError: one is missing or truncated, or holds no ids; the message names it.
    """
    index_path, bin_path = with_suffix(prefix, "idx"), with_suffix(prefix, "bin")
    for path in (index_path, bin_path):
        if not path.is_file():
            raise TsumuguError(f"{path} does not exist; an indexed dataset is a pair of .bin and .idx")
    data = _map(index_path)
    if len(data) < _HEADER.size:
        raise TsumuguError(f"{index_path} is truncated: it has {len(data)} bytes, its header {_HEADER.size}")
    magic, version, code, sequences, documents = _HEADER.unpack(data[: _HEADER.size].tobytes())
    if magic != MAGIC or version != 1:
        raise TsumuguError(f"{index_path} is not the index of an indexed dataset (MMIDIDX, version 1)")
    if code not in _DTYPES:
        raise TsumuguError(f"{index_path}: type {code} is not one of whole numbers, as token ids are")
    expected = _HEADER.size + 12 * sequences + 8 * documents
    if len(data) != expected:
        raise TsumuguError(
            f"{index_path} is damaged or truncated: it has {len(data)} bytes; {sequences} sequences and "
            f"{documents - 1} documents take {expected}"
        )
    sizes, pointers, firsts = np.split(data[_HEADER.size :], [4 * sequences, 12 * sequences])
    dtype = np.dtype(_DTYPES[code])
    if (size := bin_path.stat().st_size) % dtype.itemsize:
        raise TsumuguError(f"{bin_path} is truncated: its {size} bytes do not divide by {dtype.itemsize}")
    return Pair(
        prefix=prefix,
        tokens=_map(bin_path).view(dtype),
        sizes=sizes.view("<i4"),
        pointers=pointers.view("<i8"),
        first_sequences=firsts.view("<i8"),
    )


def check_pair(pair: Pair) -> None:
    """Read the whole index, and insist that every sequence lies in the .bin.

    Raises:
        TsumuguError: one does not; the message names the file that is to blame.
    """
    index_path, bin_path = with_suffix(pair.prefix, "idx"), with_suffix(pair.prefix, "bin")
    sequences, itemsize = len(pair.sizes), pair.tokens.itemsize
    firsts = pair.first_sequences
    if len(firsts) == 0 or firsts[0] != 0 or firsts[-1] != sequences or _decreases(firsts):
        raise TsumuguError(f"{index_path} is damaged: its documents do not divide its {sequences} sequences")
    for begin in range(0, sequences, _CHUNK):
        sizes = pair.sizes[begin : begin + _CHUNK].astype(np.int64)
        pointers = pair.pointers[begin : begin + _CHUNK]
        if (sizes < 0).any() or (pointers < 0).any() or (pointers % itemsize).any():
            raise TsumuguError(f"{index_path} is damaged: a sequence has an impossible place or size")
        end = int((pointers + sizes * itemsize).max())
        if end > pair.tokens.nbytes:
            raise TsumuguError(
                f"{bin_path} is truncated: it has {pair.tokens.nbytes} bytes, and {index_path.name} says "
                f"that a sequence ends at {end}"
            )


def write_pair(prefix: Path, stream: TokenStream) -> None:
    """Write `prefix.bin` and `prefix.idx`, each whole or not at all, the index last.

    Tokens that are uint16 stay so; uint32 becomes int32, the only other type that Megatron-LM
    writes. Memory holds the offsets of one shard at a time.
    """
    dtype = np.dtype("<u2" if stream.shards[0].tokens.dtype.itemsize == 2 else "<i4")
    documents = stream.documents
    with write_aside(with_suffix(prefix, "bin")) as aside, aside.open("wb") as written:
        for shard in stream.shards:
            written.write(shard.tokens.data)
    with write_aside(with_suffix(prefix, "idx")) as aside, aside.open("wb") as written:
        written.write(_HEADER.pack(MAGIC, 1, _CODES[dtype.str], documents, documents + 1))
        for shard in stream.shards:
            written.write(np.diff(shard.offsets).astype("<i4").data)
        for shard, start in zip(stream.shards, stream.starts.tolist(), strict=False):
            written.write(((shard.offsets[:-1] + start) * dtype.itemsize).astype("<i8").data)
        for first in range(0, documents + 1, _CHUNK):
            written.write(np.arange(first, min(first + _CHUNK, documents + 1), dtype="<i8").data)


def export(folder: Path, target: Path, *, split: str | None = None) -> Iterator[tuple[Path, TokenStream]]:
    """Write a pair for each split (or one) and source of a `tokens` folder, and yield what each holds.

    Raises:
        TsumuguError: the folder is damaged, there is nothing to write, or a pair is there already.
    """
    index = read_index(folder)
    wanted = sorted({(s.split, s.source) for s in index.shards if split in (None, s.split)})
    if not wanted:
        raise TsumuguError(f"{folder}: no token shards in the split {split!r}")
    prefixes = {
        (part, source): target / f"{part}-{source:03d}-{_file_name(index.sources[source].name)}"
        for part, source in wanted
    }
    for prefix in prefixes.values():
        for suffix in ("bin", "idx"):
            if (path := with_suffix(prefix, suffix)).exists():
                raise TsumuguError(f"{path} exists already; choose another folder, or delete it")
    for (part, source), prefix in prefixes.items():
        stream = open_tokens(folder, part, source)
        write_pair(prefix, stream)
        yield prefix, stream


def with_suffix(prefix: Path, suffix: str) -> Path:
    """One of the two files of a pair, whose common path may have dots in it."""
    return prefix.with_name(f"{prefix.name}.{suffix}")


def _decreases(values: NDArray[np.int64]) -> bool:
    """Whether a value is smaller than the one before, without a copy of them all."""
    return any(
        (np.diff(values[begin : begin + _CHUNK + 1]) < 0).any() for begin in range(0, len(values), _CHUNK)
    )


def _file_name(source: str) -> str:
    return re.sub(r"[^\w.-]+", "-", source)[:60]


def _map(path: Path) -> NDArray[np.uint8]:
    """The bytes of a file; an empty one cannot be mapped."""
    if path.stat().st_size == 0:
        return np.empty(0, dtype=np.uint8)
    return np.memmap(path, mode="r", dtype=np.uint8)
