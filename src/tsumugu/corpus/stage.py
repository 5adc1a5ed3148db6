"""Pages to documents: measure every shard, compare all documents, write what stays and why.

read -> extract -> transform -> signals -> rules      one task per shard, in parallel
exact, near and contained duplicates                  once, on keys
documents, decisions, quarantine                      one task per shard, in parallel
"""

import shutil
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from tsumugu.corpus.config import SIGNALS
from tsumugu.corpus.dedup import decide
from tsumugu.corpus.dedup.removing import cut_spans
from tsumugu.corpus.inputs import find_files, plan_shards
from tsumugu.corpus.measuring import MeasureTask, measure_shard
from tsumugu.corpus.rules import PASSED
from tsumugu.corpus.tables import DECISIONS, DOCUMENTS, shard_name, write_table
from tsumugu.engine import map_shards
from tsumugu.errors import TsumuguError
from tsumugu.files import write_aside, write_json
from tsumugu.pipeline import Counts, StageContext

EXAMPLES_PER_REASON = 20
EXAMPLE_CHARACTERS = 1200


def run(context: StageContext) -> Counts:
    """Fill `documents/`, `decisions/`, `quarantine/` and `examples.json`; return the funnel."""
    config = context.recipe.corpus
    shards = plan_shards(find_files(config.inputs), shard_bytes=config.shard_bytes)
    measured = [
        MeasureTask(
            pieces=pieces,
            config=config,
            output=context.work / "measured" / shard_name(index),
            quarantine=context.work / "quarantine" / shard_name(index),
        )
        for index, pieces in enumerate(shards)
    ]
    map_shards(measure_shard, measured, workers=context.workers, description="corpus: measure")

    decided = decide(
        [task.output for task in measured],
        config=config,
        work=context.work / "dedup",
        workers=context.workers,
    )
    written = [
        WriteTask(
            measured=task.output,
            quarantined=task.quarantine,
            decided=decided[index],
            folder=context.folder,
            name=shard_name(index),
        )
        for index, task in enumerate(measured)
    ]
    map_shards(write_shard, written, workers=context.workers, description="corpus: write")
    write_json(context.folder / "examples.json", _examples(written))
    return _count(context.folder, written)


@dataclass(frozen=True)
class WriteTask:
    """One measured shard and the final decisions on its documents."""

    measured: Path
    quarantined: Path
    decided: Path
    folder: Path
    name: str

    @property
    def output(self) -> Path:
        """Written last, so that it stands for all three files."""
        return self.folder / "decisions" / self.name


def write_shard(task: WriteTask) -> None:
    """Write one shard's documents, quarantine and decisions."""
    table = pq.read_table(task.measured, columns=[*DOCUMENTS.names, *SIGNALS])
    decided = pq.read_table(task.decided).to_pydict()
    kept = [reason is None for reason in decided["reason"]]
    documents = table.select(DOCUMENTS.names).filter(kept).to_pydict()
    removals = (spans for spans, stays in zip(decided["removals"], kept, strict=True) if stays)
    documents["text"] = [
        cut_spans(text, spans).strip("\n") if spans else text
        for text, spans in zip(documents["text"], removals, strict=True)
    ]
    write_table(task.folder / "documents" / task.name, documents, DOCUMENTS)

    with write_aside(task.folder / "quarantine" / task.name) as aside:
        shutil.copyfile(task.quarantined, aside)

    # What was quarantined came in too: every document has a row, and only these lack signals.
    quarantined = pq.read_table(task.quarantined, columns=["id"])["id"].to_pylist()
    lost = len(quarantined)
    write_table(
        task.output,
        {
            "id": table["id"].to_pylist() + quarantined,
            "kept": kept + [False] * lost,
            "reason": [*decided["reason"], *["quarantined"] * lost],
            **{name: table[name].to_pylist() + [None] * lost for name in SIGNALS},
            **{name: decided[name] + [None] * lost for name in ("cluster", "cluster_size", "duplicate_of")},
        },
        DECISIONS,
    )


def _count(folder: Path, written: list[WriteTask]) -> Counts:
    """Count the files that were written, and insist that nothing was lost on the way."""
    reasons: Counter[str] = Counter()
    sources: dict[str, Counter[str]] = {}
    documents = quarantined = came_in = characters = text_bytes = 0
    for task in written:
        # Counted where it was read, not where it was written.
        came_in += pq.read_metadata(task.measured).num_rows + pq.read_metadata(task.quarantined).num_rows
        decided = pq.read_table(task.output, columns=["reason"])["reason"]
        reasons.update(decided.drop_null().to_pylist())
        quarantined += pq.read_metadata(folder / "quarantine" / task.name).num_rows
        kept = pq.read_table(folder / "documents" / task.name, columns=["text", "source"])
        documents += kept.num_rows
        characters += pc.sum(pc.utf8_length(kept["text"])).as_py() or 0
        text_bytes += pc.sum(pc.binary_length(kept["text"])).as_py() or 0
        incoming = pq.read_table(task.measured, columns=["source"])["source"].to_pylist()
        incoming += pq.read_table(task.quarantined, columns=["source"])["source"].to_pylist()
        for source in incoming:
            sources.setdefault(source, Counter())["in"] += 1
        for source in kept["source"].to_pylist():
            sources[source]["kept"] += 1

    dropped = {reason: number for reason, number in sorted(reasons.items()) if reason != "quarantined"}
    counts: dict[str, Any] = {
        "in": came_in,
        "kept": documents,
        "dropped": sum(dropped.values()),
        "quarantined": quarantined,
        "dropped_by_reason": dropped,
        "characters": characters,
        "bytes": text_bytes,
        "sources": {name: {"in": found["in"], "kept": found["kept"]} for name, found in sources.items()},
    }
    if counts["in"] != counts["kept"] + counts["dropped"] + counts["quarantined"]:
        raise AssertionError(f"documents were lost or doubled: {counts}")
    if documents == 0:
        raise TsumuguError(
            f"corpus: none of {came_in} documents is left: {dropped}, {quarantined} quarantined. "
            f"Look at the thresholds of corpus.rules."
        )
    return counts


def _examples(written: list[WriteTask]) -> dict[str, list[dict[str, Any]]]:
    """For every reason (and for what was kept), some documents: beginning, address, signals.

    Ids are hashes, so the documents with the smallest ids are a random but reproducible choice.
    """
    found: dict[str, list[dict[str, Any]]] = {}
    for task in written:
        ids = pq.read_table(task.measured, columns=["id"])["id"].to_pylist()
        chosen: dict[int, str] = {}
        by_reason: dict[str, list[int]] = {}
        for row, reason in enumerate(pq.read_table(task.decided, columns=["reason"])["reason"].to_pylist()):
            by_reason.setdefault(reason or PASSED, []).append(row)
        for reason, rows in by_reason.items():
            for row in sorted(rows, key=lambda row: ids[row])[:EXAMPLES_PER_REASON]:
                chosen[row] = reason
        if not chosen:
            continue
        table = pq.read_table(task.measured, columns=[*DOCUMENTS.names, *SIGNALS]).take(list(chosen))
        for row, reason in zip(table.to_pylist(), chosen.values(), strict=True):
            example = {
                "id": row["id"],
                "url": row["url"],
                "source": row["source"],
                "text": row["text"][:EXAMPLE_CHARACTERS],
                "signals": {name: row[name] for name in SIGNALS},
            }
            found.setdefault(reason or "kept", []).append(example)
        for reason, examples in found.items():
            found[reason] = sorted(examples, key=lambda entry: str(entry["id"]))[:EXAMPLES_PER_REASON]
    return dict(sorted(found.items()))
