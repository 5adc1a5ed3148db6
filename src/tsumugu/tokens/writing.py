"""Writing token shards: documents go in one after another, and nothing waits in memory.

A shard's number of tokens is known only at its end, so its header, whose size is fixed, is
written last.
"""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsumugu.files import write_aside
from tsumugu.tokenizer.encoder import Encoder
from tsumugu.tokens.frequencies import count_ids
from tsumugu.tokens.shards import (
    HEADER_BYTES,
    LENGTHS,
    OFFSETS,
    PARTS,
    Part,
    ShardFacts,
    file_xxh3,
    npy_header,
    part_name,
    token_dtype,
)
from tsumugu.tokens.split import TRAIN

Ids = NDArray[np.integer] | Sequence[int]


class ShardWriters:
    """The shards that one unit of work leaves: one for each split and source that has documents."""

    def __init__(self, stack: ExitStack, folder: Path, number: int, encoder: Encoder) -> None:
        self._stack = stack
        self._folder = folder
        self._number = number
        self._encoder = encoder
        self._writers: dict[tuple[str, int], _Writer] = {}
        self.facts: list[ShardFacts] = []
        """Of every shard, once all are written."""
        self.frequencies = np.zeros(encoder.vocab_size, dtype=np.int64)
        """How often each id was written for training: `int64 [vocab_size]`."""

    def append(self, split: str, source: int, documents: Sequence[Ids], lengths: NDArray[np.integer]) -> None:
        """Add documents to the shard of a split and source.

        Args:
            documents: ids of each, without the tokens that begin and end a document.
            lengths: characters and UTF-8 bytes of each one's text, `[documents, 2]`.
        """
        if (split, source) not in self._writers:
            name = f"{split}/{source:03d}/{self._number:05d}.npy"
            self._writers[split, source] = _Writer(self._stack, self._folder, name, self._encoder)
        tokens = self._writers[split, source].append(documents, lengths)
        if split == TRAIN:
            self.frequencies += count_ids(tokens, self._encoder.vocab_size)

    def finish(self) -> None:
        """Complete all files."""
        for (split, source), writer in sorted(self._writers.items()):
            self.facts.append(writer.finish(split, source))


@contextmanager
def shard_writers(folder: Path, number: int, encoder: Encoder) -> Iterator[ShardWriters]:
    """Writers for shard `number` in the `tokens` folder; files appear whole when the block ends well.

    Args:
        encoder: says the ids that begin and end a document, and the size of the vocabulary.
    """
    with ExitStack() as stack:
        writers = ShardWriters(stack, folder, number, encoder)
        yield writers
        writers.finish()


class _Writer:
    def __init__(self, stack: ExitStack, folder: Path, name: str, encoder: Encoder) -> None:
        self._name = name
        self._asides: dict[Part, Path] = {
            part: stack.enter_context(write_aside(folder / part_name(name, part))) for part in PARTS
        }
        self._stream = stack.enter_context(self._asides["tokens"].open("wb"))
        self._stream.write(bytes(HEADER_BYTES))
        self._bos, self._eos = encoder.bos_id, encoder.eos_id
        self._dtype = np.dtype(token_dtype(encoder.vocab_size)).newbyteorder("<")
        self._sizes: list[int] = []
        self._lengths: list[NDArray[np.integer]] = []

    def append(self, documents: Sequence[Ids], lengths: NDArray[np.integer]) -> NDArray[np.unsignedinteger]:
        begin = 0 if self._bos is None else 1
        sizes = [begin + len(ids) + 1 for ids in documents]
        tokens = np.empty(sum(sizes), dtype=self._dtype)
        place = 0
        for ids, size in zip(documents, sizes, strict=True):
            if self._bos is not None:
                tokens[place] = self._bos
            tokens[place + begin : place + size - 1] = ids
            tokens[place + size - 1] = self._eos
            place += size
        self._stream.write(tokens.data)
        self._sizes += sizes
        self._lengths.append(lengths.astype(LENGTHS))
        return tokens

    def finish(self, split: str, source: int) -> ShardFacts:
        offsets = np.zeros(len(self._sizes) + 1, dtype=OFFSETS)
        np.cumsum(self._sizes, out=offsets[1:])
        lengths = np.concatenate(self._lengths)
        count = int(offsets[-1])
        self._stream.seek(0)
        self._stream.write(npy_header(self._dtype, (count,)))
        self._stream.close()
        _write(self._asides["offsets"], offsets)
        _write(self._asides["lengths"], lengths)
        characters, size = map(int, lengths.sum(axis=0, dtype=np.int64))
        return ShardFacts(
            split=split,
            source=source,
            name=self._name,
            documents=len(self._sizes),
            tokens=count,
            characters=characters,
            bytes=size,
            xxh3={part: file_xxh3(aside) for part, aside in self._asides.items()},
        )


def _write(path: Path, array: NDArray[Any]) -> None:
    with path.open("wb") as stream:
        stream.write(npy_header(array.dtype, array.shape))
        stream.write(array.data)
