"""One shard of pages, read, extracted, transformed, measured and judged by the rules.

This is the work that runs in parallel: it depends on nothing but the shard and the settings.
"""

from dataclasses import dataclass
from pathlib import Path

import xxhash

from tsumugu.corpus import dedup, signals
from tsumugu.corpus.config import CorpusConfig
from tsumugu.corpus.extraction import TooDeep, canonical_url, extract_text
from tsumugu.corpus.inputs import InputFile, Piece
from tsumugu.corpus.reading import Failure, Page, read_piece
from tsumugu.corpus.rules import PASSED, apply_rules
from tsumugu.corpus.tables import QUARANTINE, measured_schema, write_table
from tsumugu.corpus.transforms import Transformed, transform


@dataclass(frozen=True)
class MeasureTask:
    """One shard's input and its two output files; the quarantine is written first."""

    pieces: tuple[Piece, ...]
    config: CorpusConfig
    output: Path
    quarantine: Path


def measure_shard(task: MeasureTask) -> None:
    """Write the measured documents and the quarantined records of one shard."""
    pages: list[Page] = []
    results: list[Transformed] = []
    failures: list[Failure] = []
    for piece in task.pieces:
        for record in read_piece(piece, max_page_bytes=task.config.max_page_bytes):
            if isinstance(record, Failure):
                failures.append(record)
                continue
            try:
                text = extract_text(record.text) if record.is_html else record.text
            except TooDeep as error:
                failures.append(Failure(record.file, record.offset, str(error)))
                continue
            if record.is_html:
                url = canonical_url(record.text)
                record = Page(record.file, record.offset, "", url, is_html=True)
            pages.append(record)
            results.append(transform(text))

    quarantine = {
        "id": [record_id(failure.file, failure.offset) for failure in failures],
        "source": [failure.file.source for failure in failures],
        "path": [failure.file.name for failure in failures],
        "offset": [failure.offset for failure in failures],
        "error": [failure.error for failure in failures],
    }
    write_table(task.quarantine, quarantine, QUARANTINE)

    texts = [result.text for result in results]
    columns = signals.measure(texts)
    columns["foreign_paragraphs"] = signals.column([result.foreign_paragraphs for result in results])
    columns["masked_emails"] = signals.column([result.masked_emails for result in results])
    columns["masked_phone_numbers"] = signals.column([result.masked_phone_numbers for result in results])
    reasons = apply_rules(task.config.rules, columns, len(texts))

    # Only what passed the rules is compared, so only that pays for signatures.
    compared = [text if reason == PASSED else "" for text, reason in zip(texts, reasons, strict=True)]
    write_table(
        task.output,
        {
            "id": [record_id(page.file, page.offset) for page in pages],
            "text": texts,
            "url": [page.url or page.file.name for page in pages],
            "source": [page.file.source for page in pages],
            "license": [page.file.license for page in pages],
            "reason": reasons,
            **columns,
            **dedup.keys(compared, task.config.dedup),
        },
        measured_schema(task.config.dedup),
    )


def record_id(file: InputFile, offset: int) -> str:
    """A record's identity: where it came from, not what it says."""
    return xxhash.xxh3_128_hexdigest(f"{file.source}\0{file.name}\0{offset}".encode())
