"""The sequences that a stream of tokens is cut into, by number: two ways of packing."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache, partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from tsumugu.tokens.shards import Shard, TokenStream

# Two for each shard, beside the 256 of the token shards; most systems allow 1024 open files.
_MAPPED_FILES = 256


class Span(NamedTuple):
    """Tokens `start` to `start + length` of a shard."""

    shard: Shard
    start: int
    length: int


class Sequences(Protocol):
    """Numbered sequences of a stream."""

    @property
    def count(self) -> int:
        """How many there are."""
        ...

    def spans(self, number: int, shift: int) -> list[Span]:
        """Where the tokens of sequence `number` lie, in order. `shift` moves the cuts, if they move."""
        ...

    def boundaries(self, number: int, shift: int) -> NDArray[np.int64]:
        """Places in the sequence, above 0, at which another document begins: `int64`, ascending."""
        ...


@dataclass(frozen=True)
class Concatenated:
    """All documents in one row, cut every `length` tokens, with `shift` tokens left out at the front.

    A sequence has `length + 1` tokens: its last one is only predicted, and begins the next sequence.
    """

    stream: TokenStream
    length: int

    @property
    def count(self) -> int:
        """Sequences that fit with any shift below `length`; 0 or less in a stream that is too short."""
        return self.stream.tokens // self.length - 1

    def spans(self, number: int, shift: int) -> list[Span]:
        """Most often one; more where shards meet."""
        pieces = self.stream.spans(number * self.length + shift, self.length + 1)
        return [Span(shard, start, length) for shard, start, _, length in pieces]

    def boundaries(self, number: int, shift: int) -> NDArray[np.int64]:
        """Found in the mapped offsets of the shards."""
        found = self.stream.boundaries(number * self.length + shift, self.length + 1)
        return found[found > 0]


@dataclass(frozen=True)
class BestFit:
    """Sequences of whole documents and of pieces of long ones, as `packing.py` chose them."""

    stream: TokenStream
    folder: Path
    """Where the packing lies."""

    @cached_property
    def _starts(self) -> NDArray[np.int64]:
        """The number of each shard's first sequence, and of all: `int64 [shards + 1]`."""
        counts = [_length(sequences_path(self.folder, shard)) - 1 for shard in self.stream.shards]
        return np.cumsum([0, *counts], dtype=np.int64)

    @cached_property
    def _map(self) -> Callable[[Path], NDArray[np.int64]]:
        return lru_cache(_MAPPED_FILES)(partial(np.load, mmap_mode="r"))

    @property
    def count(self) -> int:
        """Sequences in all shards."""
        return int(self._starts[-1])

    def spans(self, number: int, shift: int) -> list[Span]:
        """One for every piece; `shift` means nothing here."""
        index = int(np.searchsorted(self._starts, number, side="right")) - 1
        shard = self.stream.shards[index]
        inside = number - int(self._starts[index])
        first, last = self._map(sequences_path(self.folder, shard))[inside : inside + 2]
        pieces = self._map(pieces_path(self.folder, shard))[first:last]
        return [Span(shard, start, length) for start, length in pieces.tolist()]

    def boundaries(self, number: int, shift: int) -> NDArray[np.int64]:
        """Where the second and later pieces begin."""
        lengths = [span.length for span in self.spans(number, shift)]
        return np.cumsum(lengths[:-1], dtype=np.int64)


def _length(path: Path) -> int:
    """Length of an array on disk, from the first bytes of its file."""
    with path.open("rb") as stream:
        version = np.lib.format.read_magic(stream)
        assert version == (1, 0), path
        shape, _, _ = np.lib.format.read_array_header_1_0(stream)
    return int(shape[0])


def each_span(spans: list[Span]) -> Iterator[tuple[int, Span]]:
    """Every span with its place in the sequence."""
    place = 0
    for span in spans:
        yield place, span
        place += span.length


def pieces_path(folder: Path, shard: Shard) -> Path:
    """Where the pieces of a shard's sequences are listed."""
    return folder / f"{shard.name.removesuffix('.npy')}.pieces.npy"


def sequences_path(folder: Path, shard: Shard) -> Path:
    """Where it says which pieces belong to which sequence."""
    return folder / f"{shard.name.removesuffix('.npy')}.sequences.npy"
