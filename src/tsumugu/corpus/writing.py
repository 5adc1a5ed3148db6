"""One measured part and the decisions on it, to the three tables that a run keeps, and their counts."""

import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tsumugu.corpus.columns import read_columns
from tsumugu.corpus.config import SIGNALS
from tsumugu.corpus.dedup.removing import cut_spans
from tsumugu.corpus.tables import DECISIONS, DOCUMENTS, table_writer
from tsumugu.files import computed_once, write_aside, write_json

QUARANTINED = "quarantined"
_ADDRESS = ["id", "source", "url"]
_DECIDED = ["reason", "cluster", "cluster_size", "duplicate_of"]
_ROWS = 2_000


@dataclass(frozen=True)
class WriteTask:
    """One measured part and the final decisions on its documents."""

    measured: Path
    decided: Path
    quarantined: Path
    folder: Path
    name: str
    counts: Path
    """Where they go, as JSON."""

    @property
    def output(self) -> Path:
        """Written last, so that it stands for all three tables and the counts."""
        return self.folder / "decisions" / self.name


@dataclass(frozen=True)
class PartCounts:
    """What the tables of one part hold."""

    kept: int
    dropped_by_reason: dict[str, int]
    quarantined: int
    characters: int
    """Of the texts that are kept."""
    bytes: int
    """Of the same in UTF-8."""
    sources: dict[str, dict[str, int]]
    """`in` and `kept` of each source, in the order in which they come."""


def write_part(task: WriteTask) -> None:
    """Write one part's documents and quarantine, count them, and write the decisions."""
    _write_documents(task)
    with write_aside(task.folder / "quarantine" / task.name) as aside:
        shutil.copyfile(task.quarantined, aside)
    write_json(task.counts, asdict(_count(task)))
    _write_decisions(task)


def read_counts(task: WriteTask) -> PartCounts:
    """What `write_part` counted; a run that an earlier version began may have tables without counts."""
    return PartCounts(**computed_once(task.counts, lambda: asdict(_count(task))))


def _count(task: WriteTask) -> PartCounts:
    """Count what was dropped as it was decided, and the rest as it is on disk."""
    reasons = Counter(read_columns(task.decided, ["reason"])["reason"].drop_null().to_pylist())
    sources: dict[str, Counter[str]] = {}
    for incoming in (task.measured, task.quarantined):
        for source, number in _tally(incoming):
            sources.setdefault(source, Counter())["in"] += number
    documents = task.folder / "documents" / task.name
    for source, number in _tally(documents):
        sources[source]["kept"] += number
    kept = characters = text_bytes = 0
    with pq.ParquetFile(documents) as file:
        for batch in file.iter_batches(columns=["text"]):
            kept += len(batch)
            characters += pc.sum(pc.utf8_length(batch["text"])).as_py() or 0
            text_bytes += pc.sum(pc.binary_length(batch["text"])).as_py() or 0
    return PartCounts(
        kept=kept,
        dropped_by_reason=dict(reasons),
        quarantined=pq.read_metadata(task.folder / "quarantine" / task.name).num_rows,
        characters=characters,
        bytes=text_bytes,
        sources={name: {"in": found["in"], "kept": found["kept"]} for name, found in sources.items()},
    )


def _tally(table: Path) -> list[tuple[str, int]]:
    """How many rows of each source a table has."""
    counts = pc.value_counts(read_columns(table, ["source"])["source"]).to_pylist()
    return [(found["values"], found["counts"]) for found in counts]


def _write_documents(task: WriteTask) -> None:
    with table_writer(task.folder / "documents" / task.name, DOCUMENTS) as write:
        for documents, decided in _portions(task, DOCUMENTS.names, ["reason", "removals"]):
            kept = pc.is_null(decided["reason"])
            removals = decided["removals"].filter(kept).to_pylist()
            columns: dict[str, Any] = documents.filter(kept).to_pydict()
            columns["text"] = [
                cut_spans(text, spans).strip("\n") if spans else text
                for text, spans in zip(columns["text"], removals, strict=True)
            ]
            write(columns)


def _write_decisions(task: WriteTask) -> None:
    with table_writer(task.output, DECISIONS) as write:
        for measured, decided in _portions(task, [*_ADDRESS, *SIGNALS], _DECIDED):
            reason = decided["reason"]
            write(
                {
                    **{name: decided[name] for name in _DECIDED},
                    **{name: measured[name] for name in _ADDRESS},
                    "kept": pc.is_null(reason),
                    **{name: measured[name] for name in SIGNALS},
                }
            )
        # What was quarantined came in too: every document has a row, and only these lack signals.
        lost = read_columns(task.quarantined, ["id", "source", "path"])
        columns = {name: pa.nulls(len(lost), DECISIONS.field(name).type) for name in DECISIONS.names}
        columns |= {"id": lost["id"], "source": lost["source"], "url": lost["path"]}
        write({**columns, "kept": [False] * len(lost), "reason": [QUARANTINED] * len(lost)})


def _portions(
    task: WriteTask, columns: list[str], decided: list[str]
) -> Iterator[tuple[pa.RecordBatch, pa.Table]]:
    """Rows of the part with the decisions on them, a few thousand at a time."""
    decisions = read_columns(task.decided, decided)
    first = 0
    for batch in pq.ParquetFile(task.measured).iter_batches(batch_size=_ROWS, columns=columns):
        yield batch, decisions.slice(first, len(batch)).combine_chunks()
        first += len(batch)
