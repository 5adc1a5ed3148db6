"""One measured part and the decisions on it, to the three tables that a run keeps."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tsumugu.corpus.config import SIGNALS
from tsumugu.corpus.dedup.removing import cut_spans
from tsumugu.corpus.tables import DECISIONS, DOCUMENTS, table_writer
from tsumugu.files import write_aside

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

    @property
    def output(self) -> Path:
        """Written last, so that it stands for all three files."""
        return self.folder / "decisions" / self.name


def write_part(task: WriteTask) -> None:
    """Write one part's documents, quarantine and decisions."""
    with table_writer(task.folder / "documents" / task.name, DOCUMENTS) as write:
        for documents, decided in _portions(task, DOCUMENTS.names, ["reason", "removals"]):
            kept = pa.compute.is_null(decided["reason"])
            removals = decided["removals"].filter(kept).to_pylist()
            columns: dict[str, Any] = documents.filter(kept).to_pydict()
            columns["text"] = [
                cut_spans(text, spans).strip("\n") if spans else text
                for text, spans in zip(columns["text"], removals, strict=True)
            ]
            write(columns)

    with write_aside(task.folder / "quarantine" / task.name) as aside:
        shutil.copyfile(task.quarantined, aside)

    with table_writer(task.output, DECISIONS) as write:
        for measured, decided in _portions(task, [*_ADDRESS, *SIGNALS], _DECIDED):
            reason = decided["reason"]
            write(
                {
                    **{name: decided[name] for name in _DECIDED},
                    **{name: measured[name] for name in _ADDRESS},
                    "kept": pa.compute.is_null(reason),
                    **{name: measured[name] for name in SIGNALS},
                }
            )
        # What was quarantined came in too: every document has a row, and only these lack signals.
        lost = pq.read_table(task.quarantined, columns=["id", "source", "path"])
        columns = {name: pa.nulls(len(lost), DECISIONS.field(name).type) for name in DECISIONS.names}
        columns |= {"id": lost["id"], "source": lost["source"], "url": lost["path"]}
        write({**columns, "kept": [False] * len(lost), "reason": [QUARANTINED] * len(lost)})


def _portions(
    task: WriteTask, columns: list[str], decided: list[str]
) -> Iterator[tuple[pa.RecordBatch, pa.Table]]:
    """Rows of the part with the decisions on them, a few thousand at a time."""
    decisions = pq.read_table(task.decided, columns=decided)
    first = 0
    for batch in pq.ParquetFile(task.measured).iter_batches(batch_size=_ROWS, columns=columns):
        yield batch, decisions.slice(first, len(batch)).combine_chunks()
        first += len(batch)
