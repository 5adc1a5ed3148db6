"""One shard of pages, read, extracted, transformed, measured and judged by the rules.

This is the work that runs in parallel: it depends on nothing but the shard and the settings.
Documents go through in batches of a few megabytes, into parts of bounded size, so that a shard may
be of any size.
"""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import xxhash

from tsumugu.corpus import dedup, quality_models, signals, transforms
from tsumugu.corpus.composing import load_compose, run_compose, seed_compose
from tsumugu.corpus.config import SIGNALS, CorpusConfig
from tsumugu.corpus.extracting import READING_SIGNALS, Extracted, extract_pieces
from tsumugu.corpus.inputs import InputFile, Piece
from tsumugu.corpus.reading import Failure, Skipped
from tsumugu.corpus.rules import PASSED, apply_rules
from tsumugu.corpus.signals import morphology
from tsumugu.corpus.tables import QUARANTINE, measured_schema, shard_name, table_writer
from tsumugu.files import read_json, write_aside, write_json

_FACTS = "facts.json"
_BATCH_CHARACTERS = 4_000_000
_RECORD_BYTES = 1000
"""What a record costs beside its text: an address, an id, signals, the keys of its copies."""


@dataclass(frozen=True)
class MeasureTask:
    """One shard's input, and the folder of parts that it becomes (`measured_parts` reads it)."""

    pieces: tuple[Piece, ...]
    config: CorpusConfig
    output: Path


@dataclass(frozen=True)
class MeasuredPart:
    """Neighbouring records of one shard: the unit of work from here on.

    A part is full when it holds `shard_bytes` of text, so it is larger than that by one batch at most,
    however large the shard. A compressed file of any size is one shard; its parts spread over workers.
    """

    documents: Path
    """Columns as `tables.measured_schema` says."""
    quarantine: Path
    """Columns as `tables.QUARANTINE` says."""


@dataclass(frozen=True)
class ShardFacts:
    """What a shard knows beside its documents."""

    parts: int
    came_in: int
    """Documents and failures, counted where they were read."""
    skipped: dict[str, int]
    """Records that are no documents, by kind."""
    hojichar: list[dict[str, Any]]
    """The statistics of a HojiChar Compose."""


@dataclass
class _Batch:
    documents: list[Extracted] = field(default_factory=list)
    failures: list[Failure] = field(default_factory=list)


def check_extras(config: CorpusConfig) -> None:
    """Find out before any work is done that everything the rules ask for can be measured.

    Raises:
        TsumuguError: an extra is not installed, or a model cannot be used.
    """
    if not config.measured_signals.isdisjoint(morphology.NAMES):
        morphology.load_tagger()
    quality_models.check(config.quality)


def measure_shard(task: MeasureTask) -> None:
    """Write the folder of one shard: at least one part, and the facts."""
    config = task.config
    compose = load_compose(config.hojichar) if config.hojichar else None
    if compose:
        seed_compose(compose, task.output.name)
    skipped: dict[str, int] = {}
    came_in = parts = 0
    with write_aside(task.output) as folder:
        batches = _batches(task, skipped)
        for batch in batches:
            came_in += _write_part(_part(folder, parts), chain([batch], batches), config, compose)
            parts += 1
        statistics = compose.get_total_statistics_map() if compose else []
        write_json(folder / _FACTS, asdict(ShardFacts(parts, came_in, skipped, statistics)))


def measured_parts(shard: Path) -> list[MeasuredPart]:
    """The parts of a shard's folder, in the order of the input."""
    return [_part(shard, number) for number in range(read_facts(shard).parts)]


def read_facts(shard: Path) -> ShardFacts:
    """What `measure_shard` left in a shard's folder beside the parts."""
    return ShardFacts(**read_json(shard / _FACTS))


def record_id(file: InputFile, offset: int) -> str:
    """A record's identity: where it came from, not what it says."""
    return xxhash.xxh3_128_hexdigest(f"{file.source}\0{file.name}\0{offset}".encode())


def _part(shard: Path, number: int) -> MeasuredPart:
    name = shard_name(number)
    return MeasuredPart(documents=shard / "documents" / name, quarantine=shard / "quarantine" / name)


def _write_part(part: MeasuredPart, batches: Iterable[_Batch], config: CorpusConfig, compose: Any) -> int:
    """Take batches until the part is full or there are no more; return how many records it has."""
    records = held = 0
    with (
        table_writer(part.documents, measured_schema(config.dedup)) as write_documents,
        table_writer(part.quarantine, QUARANTINE) as write_failures,
    ):
        for batch in batches:
            columns = _measured_columns(batch.documents, config, compose)
            write_documents(columns)
            write_failures(_failure_columns(batch.failures))
            count = len(batch.documents) + len(batch.failures)
            records += count
            held += columns["text"].nbytes + columns["metadata"].nbytes + count * _RECORD_BYTES
            if held >= config.shard_bytes:
                break
    return records


def _batches(task: MeasureTask, skipped: dict[str, int]) -> Iterator[_Batch]:
    """At least one batch, which may be empty; no other one is."""
    limit = min(_BATCH_CHARACTERS, task.config.shard_bytes)
    batch, characters, batches = _Batch(), 0, 0
    for record in extract_pieces(task.pieces, task.config):
        if isinstance(record, Skipped):
            skipped[record.why] = skipped.get(record.why, 0) + 1
            continue
        if isinstance(record, Failure):
            batch.failures.append(record)
        else:
            batch.documents.append(record)
            characters += len(record.text) + sum(map(len, record.metadata.values()))
        characters += _RECORD_BYTES
        if characters >= limit:
            yield batch
            batch, characters, batches = _Batch(), 0, batches + 1
    if characters or not batches:
        yield batch


def _failure_columns(failures: list[Failure]) -> dict[str, Any]:
    return {
        "id": [record_id(failure.file, failure.offset) for failure in failures],
        "source": [failure.file.source for failure in failures],
        "path": [failure.file.name for failure in failures],
        "offset": [failure.offset for failure in failures],
        "error": [failure.error for failure in failures],
    }


def _measured_columns(documents: list[Extracted], config: CorpusConfig, compose: Any) -> dict[str, Any]:
    texts, counters = transforms.apply([one.text for one in documents], config.effective_transforms)
    reasons = [PASSED] * len(texts)
    if compose:
        texts, reasons = run_compose(compose, texts)
    known = np.array([[one.signals[name] for name in READING_SIGNALS] for one in documents], dtype=np.float64)
    columns: dict[str, signals.Column] = {
        # Signals that nobody measures have no value.
        **{name: np.full(len(texts), np.nan) for name in SIGNALS},
        **signals.measure(texts, config.measured_signals),
        **quality_models.measure(texts, config.quality),
        **counters,
        **dict(zip(READING_SIGNALS, known.reshape(-1, len(READING_SIGNALS)).T, strict=True)),
    }
    by_rule = apply_rules(config.effective_rules, columns, len(texts))
    reasons = [earlier or reason for earlier, reason in zip(reasons, by_rule, strict=True)]
    # Only what passed the rules is compared, so only that pays for signatures.
    compared = [text if reason == PASSED else "" for text, reason in zip(texts, reasons, strict=True)]
    return {
        "id": [record_id(one.file, one.offset) for one in documents],
        "text": pa.array(texts, pa.string()),
        "url": [one.url or one.file.name for one in documents],
        "source": [one.file.source for one in documents],
        "license": [one.file.license for one in documents],
        "metadata": pa.array(
            [json.dumps(one.metadata, ensure_ascii=False, sort_keys=True) for one in documents], pa.string()
        ),
        "reason": reasons,
        **columns,
        **dedup.keys(compared, config.dedup),
    }
