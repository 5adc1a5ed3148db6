"""One shard of pages, read, extracted, transformed, measured and judged by the rules.

This is the work that runs in parallel: it depends on nothing but the shard and the settings.
Documents go through in batches of a few megabytes, so that a shard may be of any size.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import xxhash

from tsumugu.corpus import dedup, quality_models, signals, transforms
from tsumugu.corpus.composing import load_compose, run_compose, seed_compose
from tsumugu.corpus.config import SIGNALS, CorpusConfig
from tsumugu.corpus.extracting import READING_SIGNALS, Extracted, extract_pieces
from tsumugu.corpus.inputs import InputFile, Piece
from tsumugu.corpus.reading import Failure, Skipped
from tsumugu.corpus.rules import PASSED, apply_rules
from tsumugu.corpus.signals import morphology
from tsumugu.corpus.tables import QUARANTINE, measured_schema, table_writer
from tsumugu.files import write_json

_BATCH_CHARACTERS = 4_000_000


@dataclass(frozen=True)
class MeasureTask:
    """One shard's input and its output files; the measured documents are written last."""

    pieces: tuple[Piece, ...]
    config: CorpusConfig
    output: Path
    quarantine: Path
    facts: Path
    """JSON: records that are no documents, and the statistics of a HojiChar Compose."""


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
    """Write the measured documents and the quarantined records of one shard."""
    config = task.config
    compose = load_compose(config.hojichar) if config.hojichar else None
    if compose:
        seed_compose(compose, task.output.stem)
    skipped: dict[str, int] = {}
    # The files appear in the reverse order: the one that stands for the shard comes last.
    with (
        table_writer(task.output, measured_schema(config.dedup)) as write_documents,
        table_writer(task.quarantine, QUARANTINE) as write_failures,
    ):
        for batch in _batches(task, skipped):
            write_failures(_failure_columns(batch.failures))
            write_documents(_measured_columns(batch.documents, config, compose))
        statistics = compose.get_total_statistics_map() if compose else []
        write_json(task.facts, {"skipped": skipped, "hojichar": statistics})


def record_id(file: InputFile, offset: int) -> str:
    """A record's identity: where it came from, not what it says."""
    return xxhash.xxh3_128_hexdigest(f"{file.source}\0{file.name}\0{offset}".encode())


def _batches(task: MeasureTask, skipped: dict[str, int]) -> Iterator[_Batch]:
    batch, characters = _Batch(), 0
    for record in extract_pieces(task.pieces, task.config):
        if isinstance(record, Skipped):
            skipped[record.why] = skipped.get(record.why, 0) + 1
        elif isinstance(record, Failure):
            batch.failures.append(record)
            characters += 1000
        else:
            batch.documents.append(record)
            characters += len(record.text) + 1000
        if characters >= _BATCH_CHARACTERS:
            yield batch
            batch, characters = _Batch(), 0
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
        **signals.measure(signals.make_batch(texts), config.measured_signals),
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
        "text": texts,
        "url": [one.url or one.file.name for one in documents],
        "source": [one.file.source for one in documents],
        "license": [one.file.license for one in documents],
        "metadata": [json.dumps(one.metadata, ensure_ascii=False, sort_keys=True) for one in documents],
        "reason": reasons,
        **columns,
        **dedup.keys(compared, config.dedup),
    }
