"""Which documents the tokenizer is trained and tested on: a seeded sample, weighted by source.

Two passes over the shards, neither of which holds more than a few documents at a time. The first
counts the characters of every source; from them follows which share of its documents is wanted. The
second draws: a document belongs to the sample if a hash of its id falls below the share of its source.
So the sample depends on the documents, the settings and the seed, and not on the division into shards.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import xxhash

from tsumugu.engine import Resources, map_shards
from tsumugu.files import read_json, write_json
from tsumugu.tokens.split import is_validation

_ROWS_AT_ONCE = 64
_BUFFER_BYTES = 1 << 16


@dataclass(frozen=True)
class Split:
    """How documents are held out; see `tokens.split`."""

    seed: int
    fraction: float

    def held_out(self, document_id: str) -> bool:
        """Whether the document is one for validation."""
        return is_validation(document_id, seed=self.seed, fraction=self.fraction)


@dataclass
class Amount:
    """Text of one source."""

    documents: int = 0
    characters: int = 0


@dataclass
class Totals:
    """All text of a corpus by source, the two sides of the split apart."""

    training: dict[str, Amount] = field(default_factory=dict)
    held_out: dict[str, Amount] = field(default_factory=dict)


@dataclass(frozen=True)
class CountTask:
    """One shard of documents."""

    documents: Path
    split: Split
    output: Path


@dataclass(frozen=True)
class Document:
    """A document of the sample."""

    source: str
    text: str


def count_text(documents: Sequence[Path], split: Split, *, work: Path, resources: Resources) -> Totals:
    """Count the documents and characters of every source, in parallel over shards."""
    tasks = [CountTask(path, split, work / f"{path.stem}.json") for path in documents]
    map_shards(count_shard, tasks, resources=resources, description="tokenizer: count")
    totals = Totals()
    for task in tasks:
        for side, counted in read_json(task.output).items():
            found = totals.held_out if side == "held_out" else totals.training
            for source, numbers in counted.items():
                amount = found.setdefault(source, Amount())
                amount.documents += numbers["documents"]
                amount.characters += numbers["characters"]
    return totals


def count_shard(task: CountTask) -> None:
    """Write documents and characters by side and source as JSON."""
    counted: dict[str, dict[str, dict[str, int]]] = {"training": {}, "held_out": {}}
    for batch in _batches(task.documents):
        lengths = pc.utf8_length(batch["text"]).to_pylist()
        names = zip(batch["id"].to_pylist(), batch["source"].to_pylist(), lengths, strict=True)
        for document_id, source, length in names:
            side = "held_out" if task.split.held_out(document_id) else "training"
            numbers = counted[side].setdefault(source, {"documents": 0, "characters": 0})
            numbers["documents"] += 1
            numbers["characters"] += length
    write_json(task.output, counted)


def plan_sample(
    totals: Mapping[str, Amount], *, characters: int, weights: Mapping[str, float] | None = None
) -> dict[str, float]:
    """The share of each source's documents that a sample of about `characters` takes.

    Without weights every source gives the same share. With them each gives characters in proportion
    to its weight; a source with less text than that gives all it has, and the others make up for it.
    A source without a weight gives nothing. Small samples are drawn with a margin of three standard
    deviations, so that they hold at least what was asked for.
    """
    wanted = weights or {source: amount.characters for source, amount in totals.items()}
    open_sources = {source: wanted.get(source, 0.0) for source in totals}
    open_sources = {source: weight for source, weight in open_sources.items() if weight > 0}
    shares = dict.fromkeys(totals, 0.0)
    left = float(characters)
    while open_sources:
        total_weight = sum(open_sources.values())
        targets = {source: left * weight / total_weight for source, weight in open_sources.items()}
        short = [source for source, target in targets.items() if target >= totals[source].characters]
        if not short:
            for source, target in targets.items():
                documents = totals[source].documents * target / totals[source].characters
                drawn = documents + 3 * math.sqrt(documents)
                shares[source] = min(1.0, drawn / totals[source].documents)
            break
        for source in short:
            shares[source] = 1.0
            left -= totals[source].characters
            del open_sources[source]
    return shares


def draw_documents(
    documents: Sequence[Path], shares: Mapping[str, float], split: Split, *, held_out: bool
) -> Iterator[Document]:
    """The documents of the sample on one side of the split, in the order of the corpus."""
    limits = {source: int(share * 2**64) for source, share in shares.items()}
    for path in documents:
        for batch in _batches(path):
            names = zip(batch["id"].to_pylist(), batch["source"].to_pylist(), strict=True)
            drawn = [
                row
                for row, (document_id, source) in enumerate(names)
                if _drawn(document_id, split.seed) < limits.get(source, 0)
                and split.held_out(document_id) == held_out
            ]
            # Row by row: `take` loads all of Arrow's kernels, which is 40 MB.
            sources, texts = batch["source"], batch["text"]
            for row in drawn:
                yield Document(sources[row].as_py(), texts[row].as_py())


def _drawn(document_id: str, seed: int) -> int:
    return xxhash.xxh3_64_intdigest(f"tokenizer\0{seed}\0{document_id}".encode())


def _batches(path: Path) -> Iterator[pa.RecordBatch]:
    # Read ahead and by threads, a row group would be in memory several times over.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=_BUFFER_BYTES) as file:
        yield from file.iter_batches(
            batch_size=_ROWS_AT_ONCE, columns=["id", "source", "text"], use_threads=False
        )
