"""Small `tokens` folders in which a token tells its place."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from conftest import memory_shard
from tsumugu.tokens.shards import (
    PARTS,
    Index,
    Shard,
    ShardFacts,
    Source,
    TokenStream,
    file_xxh3,
    write_index,
)
from tsumugu.tokens.split import TRAIN

EOS = 2


def shard(lengths: Sequence[int], *, first: int = 0, name: str = "train/000/00000.npy") -> Shard:
    """Documents of so many tokens each; the tokens count up from `first`."""
    offsets = np.cumsum([0, *lengths], dtype=np.int64)
    return memory_shard(np.arange(first, first + offsets[-1], dtype=np.uint32), offsets, name=name)


def stream(*shards: Sequence[int]) -> TokenStream:
    """Shards of documents; the tokens count up through all of them."""
    made, first = [], 0
    for number, lengths in enumerate(shards):
        made.append(shard(lengths, first=first, name=f"train/000/{number:05d}.npy"))
        first += sum(lengths)
    return TokenStream(tuple(made))


def write_tokens(folder: Path, sources: Mapping[str, Sequence[Sequence[int]]]) -> Path:
    """A `tokens` folder: for each source its shards, for each shard the lengths of its documents.

    Token n of source s is s * 100,000 + n.
    """
    facts = []
    for source, shards in enumerate(sources.values()):
        first = source * 100_000
        for number, lengths in enumerate(shards):
            name = f"{TRAIN}/{source:03d}/{number:05d}.npy"
            made = shard(lengths, first=first)
            arrays = {
                "tokens": made.tokens,
                "offsets": made.offsets,
                "lengths": np.tile(np.array([1, 3], dtype=np.int32), (len(lengths), 1)),
            }
            entry = ShardFacts(
                TRAIN, source, name, len(lengths), made.size, len(lengths), 3 * len(lengths), {}
            )
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            for part in PARTS:
                np.save(folder / entry.file(part), arrays[part])
                entry.xxh3[part] = file_xxh3(folder / entry.file(part))
            facts.append(entry)
            first += made.size
    names = tuple(Source(name, "CC0-1.0") for name in sources)
    write_index(folder, Index("uint32", 1_000_000, 1, EOS, names, tuple(facts)))
    return folder
