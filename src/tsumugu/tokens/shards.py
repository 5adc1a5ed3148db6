"""Token shards: what lies in a `tokens` folder, and how it is read.

A shard is three `.npy` files of one source and split: token ids, where its documents begin, and
how long their texts are. `index.json` lists all shards with their sizes and checksums. Opening
compares every file's size with the index, and mapping its header; nothing is read before it is asked
for, and only so many files are mapped into memory at a time as a process may have open. `verify`
compares the checksums too.
"""

import itertools
import json
import math
import mmap
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xxhash
from numpy.typing import NDArray

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, write_json

INDEX = "index.json"
VERSION = 1
HEADER_BYTES = 128
OFFSETS = np.dtype("<i8")
LENGTHS = np.dtype("<i4")
# A map keeps its file open, and a process may open 1024 files on most systems.
_MAPPED_FILES = 256

Part = Literal["tokens", "offsets", "lengths"]
PARTS: tuple[Part, ...] = ("tokens", "offsets", "lengths")


@dataclass(frozen=True)
class Source:
    """Where documents came from: an input of the corpus, or of `tokens.pretokenized`."""

    name: str
    license: str


@dataclass(frozen=True)
class ShardFacts:
    """What the index says about a shard."""

    split: str
    source: int
    """Its place in `Index.sources`."""
    name: str
    """Of the tokens' file, below the `tokens` folder: `train/000/00000.npy`."""
    documents: int
    tokens: int
    characters: int
    bytes: int
    """UTF-8 bytes of the documents' texts."""
    xxh3: dict[Part, str]
    """XXH3-128 of each of the three files, header included, in hexadecimal."""

    def file(self, part: Part) -> str:
        """The name of one of the three files, below the `tokens` folder."""
        return part_name(self.name, part)


@dataclass(frozen=True)
class Index:
    """All that `index.json` says. Shards are in order of split, source and number."""

    dtype: str
    """`uint16` or `uint32`."""
    vocab_size: int
    bos_id: int | None
    """None: documents begin without it."""
    eos_id: int
    sources: tuple[Source, ...]
    shards: tuple[ShardFacts, ...]


@dataclass(frozen=True)
class Shard:
    """One shard, open for reading: each access to an array maps the file again if need be."""

    name: str
    source: int
    size: int
    """Tokens."""
    documents: int
    open: Callable[[Part], NDArray[Any]]

    @property
    def tokens(self) -> NDArray[np.unsignedinteger]:
        """Token ids: `uint16` or `uint32 [size]`."""
        return self.open("tokens")

    @property
    def offsets(self) -> NDArray[np.int64]:
        """Where documents begin and end: `int64 [documents + 1]`."""
        return self.open("offsets")

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Characters and UTF-8 bytes of each document's text: `int32 [documents, 2]`."""
        return self.open("lengths")


@dataclass(frozen=True)
class TokenStream:
    """Shards as one long sequence of tokens."""

    shards: tuple[Shard, ...]

    @cached_property
    def starts(self) -> NDArray[np.int64]:
        """Where each shard begins in the stream, and where the last one ends: `int64 [shards + 1]`."""
        return np.cumsum([0, *(shard.size for shard in self.shards)], dtype=np.int64)

    @property
    def tokens(self) -> int:
        """Tokens in all shards."""
        return int(self.starts[-1])

    @cached_property
    def documents(self) -> int:
        """Documents in all shards."""
        return sum(shard.documents for shard in self.shards)

    def read(self, start: int, length: int) -> NDArray[np.int64]:
        """Tokens `start` to `start + length`, across shards: `int64 [length]`.

        Raises:
            IndexError: the stream ends before `start + length`.
        """
        read = np.empty(length, dtype=np.int64)
        for shard, inside, place, count in self.spans(start, length):
            read[place : place + count] = shard.tokens[inside : inside + count]
        return read

    def boundaries(self, start: int, length: int) -> NDArray[np.int64]:
        """Where documents begin among tokens `start` to `start + length`, counted from `start`.

        `int64`, ascending, 0 included if a document begins at `start`. Found by binary search in
        the mapped offsets.
        """
        found = []
        for shard, inside, place, count in self.spans(start, length):
            # The last offset is the end of the shard, where no document of it begins.
            offsets = shard.offsets[:-1]
            first, last = np.searchsorted(offsets, (inside, inside + count))
            found.append(offsets[first:last] - (inside - place))
        return np.concatenate(found) if found else np.empty(0, dtype=np.int64)

    def each_document(self) -> Iterator[NDArray[np.int64]]:
        """The tokens of every document, in order: `int64 [n]`."""
        for shard in self.shards:
            tokens = shard.tokens
            for start, end in itertools.pairwise(shard.offsets.tolist()):
                yield tokens[start:end].astype(np.int64)

    def spans(self, start: int, length: int) -> Iterator[tuple[Shard, int, int, int]]:
        """The shards of a window: shard, where it goes on in the shard and in the window, how far."""
        if not 0 <= start <= start + length <= self.tokens:
            raise IndexError(f"tokens {start} to {start + length} of a stream of {self.tokens}")
        number = int(np.searchsorted(self.starts, start, side="right")) - 1
        place = 0
        while place < length:
            inside = start + place - int(self.starts[number])
            count = min(length - place, self.shards[number].size - inside)
            yield self.shards[number], inside, place, count
            place, number = place + count, number + 1


def open_tokens(
    folder: Path, split: str, source: int | None = None, *, index: Index | None = None
) -> TokenStream:
    """The shards of a split, of all sources in order or of one, from a `tokens` folder.

    `index` is its index, if it has been read already.

    Raises:
        TsumuguError: there is none, or a file of one is missing or not as long as the index says; the
            message names it. So does the error of reading a shard whose header is not what it was.
    """
    index = index or read_index(folder)
    chosen = [
        facts for facts in index.shards if facts.split == split and (source is None or facts.source == source)
    ]
    if not chosen:
        of = "" if source is None else f" of source {index.sources[source].name!r}"
        raise TsumuguError(f"{folder}: no token shards{of} in the split {split!r}; it is empty")
    return TokenStream(tuple(_open_shard(folder, facts, index.dtype) for facts in chosen))


def read_index(folder: Path) -> Index:
    """The index of a `tokens` folder.

    Raises:
        TsumuguError: there is none, or it is damaged or of another version.
    """
    path = folder / INDEX
    try:
        data = read_json(path)
        if data.pop("version") != VERSION:
            raise ValueError(f"not version {VERSION}")
        sources = tuple(Source(**entry) for entry in data.pop("sources"))
        shards = tuple(ShardFacts(**entry) for entry in data.pop("shards"))
        return Index(**data, sources=sources, shards=shards)
    except FileNotFoundError as error:
        raise TsumuguError(f"{path} does not exist: {folder} is not a folder of token shards") from error
    except (
        json.JSONDecodeError,
        UnicodeDecodeError,
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
    ) as error:
        raise _damaged(path, folder, f"it cannot be understood ({type(error).__name__}: {error})") from error


def write_index(folder: Path, index: Index) -> None:
    """Write `index.json`, atomically."""
    write_json(folder / INDEX, {"version": VERSION, **asdict(index)})


def verify(folder: Path) -> Index:
    """Read every byte of a `tokens` folder and compare it with the index, which is returned.

    Raises:
        TsumuguError: a file is missing or changed; the message names it.
    """
    index = read_index(folder)
    for facts in index.shards:
        shard = _open_shard(folder, facts, index.dtype)
        for part in PARTS:
            if file_xxh3(folder / facts.file(part)) != facts.xxh3[part]:
                raise _damaged(folder / facts.file(part), folder, "its checksum is not that of the index")
        offsets, lengths = shard.offsets, shard.lengths.sum(axis=0, dtype=np.int64)
        sums = (int(offsets[-1]), *map(int, lengths))
        if (
            sums != (facts.tokens, facts.characters, facts.bytes)
            or offsets[0]
            or (np.diff(offsets) < 1).any()
        ):
            raise _damaged(folder / INDEX, folder, f"it does not fit the documents of {facts.name}")
        if int(shard.tokens.max()) >= index.vocab_size:
            raise _damaged(folder / facts.name, folder, f"an id is not below {index.vocab_size}")
    return index


def part_name(name: str, part: Part) -> str:
    """The name of one of the three files of the shard `name`: `train/000/00000.offsets.npy`."""
    return name if part == "tokens" else f"{name.removesuffix('.npy')}.{part}.npy"


def token_dtype(vocab_size: int) -> str:
    """The smaller of uint16 and uint32 that holds every id."""
    return "uint16" if vocab_size <= 2**16 else "uint32"


def npy_header(dtype: np.dtype[Any], shape: tuple[int, ...]) -> bytes:
    """The first 128 bytes of a `.npy` file (version 1.0 of the format, numpy.lib.format)."""
    text = f"{{'descr': {dtype.str!r}, 'fortran_order': False, 'shape': {shape}, }}"
    return b"\x93NUMPY\x01\x00" + (HEADER_BYTES - 10).to_bytes(2, "little") + f"{text:117}\n".encode()


def file_xxh3(path: Path) -> str:
    """XXH3-128 of a file, in hexadecimal."""
    digest = xxhash.xxh3_128()
    with path.open("rb") as stream:
        while chunk := stream.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _layout(part: Part, dtype: str, *, tokens: int, documents: int) -> tuple[np.dtype[Any], tuple[int, ...]]:
    match part:
        case "tokens":
            return np.dtype(dtype).newbyteorder("<"), (tokens,)
        case "offsets":
            return OFFSETS, (documents + 1,)
        case "lengths":
            return LENGTHS, (documents, 2)


def _open_shard(folder: Path, facts: ShardFacts, dtype: str) -> Shard:
    for part in PARTS:
        path = f"{folder}/{facts.file(part)}"
        kind, shape = _layout(part, dtype, tokens=facts.tokens, documents=facts.documents)
        expected = HEADER_BYTES + kind.itemsize * math.prod(shape)
        try:
            # Sizes only: there may be tens of thousands of files, and to open each takes a second.
            size = os.stat(path).st_size  # noqa: PTH116 - no Path for each file either
        except FileNotFoundError as error:
            raise _damaged(path, folder, "it is missing") from error
        if size != expected:
            raise _damaged(path, folder, f"it has {size} bytes and should have {expected}")
    return Shard(
        facts.name, facts.source, facts.tokens, facts.documents, partial(_open, str(folder), facts, dtype)
    )


def _open(folder: str, facts: ShardFacts, dtype: str, part: Part) -> NDArray[Any]:
    # Asked for every row of every batch: no Path and no dtype is made for a file that is mapped already.
    return _map(folder, facts.file(part), facts.xxh3[part], part, dtype, facts.tokens, facts.documents)


@lru_cache(maxsize=_MAPPED_FILES)
def _map(
    folder: str, name: str, xxh3: str, part: Part, dtype: str, tokens: int, documents: int
) -> NDArray[Any]:
    """A file as an array. The checksum is there so that a file that was replaced is mapped anew."""
    path = f"{folder}/{name}"
    kind, shape = _layout(part, dtype, tokens=tokens, documents=documents)
    with open(path, "rb", buffering=0) as stream:  # noqa: PTH123 - a string is what there is
        if stream.read(HEADER_BYTES) != npy_header(kind, shape):
            raise _damaged(path, Path(folder), f"it does not begin as an array {kind}{list(shape)} does")
        mapped = mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ)
    if part == "tokens":
        # Sequences are read in a shuffled order: reading ahead (megabytes on some disks) is for nothing.
        mapped.madvise(mmap.MADV_RANDOM)
    return np.frombuffer(mapped, dtype=kind, offset=HEADER_BYTES).reshape(shape)


def _damaged(path: Path | str, folder: Path, what: str) -> TsumuguError:
    return TsumuguError(
        f"{path}: this token shard is damaged: {what}. Delete {folder} and run the tokens stage again."
    )
