"""Pages to documents: measure every shard, compare all documents, write what stays and why.

read -> extract -> transform -> signals -> rules      one task per shard, in parallel
duplicates, contamination                             on keys, in parallel over bands and parts
documents, decisions, quarantine                      one task per part, in parallel

A shard is measured into one or more parts of bounded size, so that no later step holds more text
than a part, whatever the size of an input file.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tsumugu.corpus import dedup
from tsumugu.corpus.composing import add_statistics
from tsumugu.corpus.examples import duplicate_clusters, near_thresholds
from tsumugu.corpus.inputs import find_files, plan_shards
from tsumugu.corpus.measuring import (
    MeasureTask,
    ShardFacts,
    check_extras,
    measure_shard,
    measured_parts,
    read_facts,
)
from tsumugu.corpus.samples import examples_by_reason
from tsumugu.corpus.tables import shard_name
from tsumugu.corpus.writing import QUARANTINED, WriteTask, write_part
from tsumugu.engine import kept_workers, map_shards
from tsumugu.errors import TsumuguError
from tsumugu.files import write_aside, write_json
from tsumugu.pipeline import Counts, StageContext

CONTAMINATION = "contamination.json"


@kept_workers()
def run(context: StageContext) -> Counts:
    """Fill `documents/`, `decisions/`, `quarantine/` and the examples; return the funnel."""
    config, folder, work = context.recipe.corpus, context.folder, context.work
    check_extras(config)
    shards = plan_shards(find_files(config.inputs), shard_bytes=config.shard_bytes)
    tasks = [
        MeasureTask(
            pieces=pieces,
            config=config,
            output=work / "measured" / f"{index:05d}",
        )
        for index, pieces in enumerate(shards)
    ]
    map_shards(measure_shard, tasks, resources=context.resources, description="corpus: measure")

    parts = [part for task in tasks for part in measured_parts(task.output)]
    measured = [part.documents for part in parts]
    decided = dedup.decide(measured, config=config, work=work / "dedup", resources=context.resources)
    written = [
        WriteTask(
            measured=part.documents,
            decided=decision,
            quarantined=part.quarantine,
            folder=folder,
            name=shard_name(index),
        )
        for index, (part, decision) in enumerate(zip(parts, decided, strict=True))
    ]
    map_shards(write_part, written, resources=context.resources, description="corpus: write")

    write_json(folder / "examples.json", examples_by_reason(measured, decided))
    write_json(folder / "rules.json", [rule.model_dump() for rule in config.effective_rules])
    write_json(folder / "near_thresholds.json", near_thresholds(measured, config.effective_rules))
    write_json(folder / "clusters.json", duplicate_clusters(measured, decided))
    report = work / "dedup" / "contamination" / CONTAMINATION
    if report.exists():
        with write_aside(folder / CONTAMINATION) as aside:
            shutil.copyfile(report, aside)
    facts = [read_facts(task.output) for task in tasks]
    counts = _count(folder, written, came_in=sum(one.came_in for one in facts))
    return counts | _sum_facts(facts)


def _sum_facts(shards: Sequence[ShardFacts]) -> Counts:
    """What the shards know beside their documents: skipped records, statistics of a Compose."""
    skipped: Counter[str] = Counter()
    statistics: list[dict[str, Any]] = []
    for facts in shards:
        skipped.update(facts.skipped)
        statistics = add_statistics(statistics, facts.hojichar) if facts.hojichar else statistics
    return {"skipped": dict(sorted(skipped.items())), "hojichar": statistics}


def _count(folder: Path, written: Sequence[WriteTask], *, came_in: int) -> Counts:
    """Count the files that were written, and insist that nothing was lost since it was read."""
    reasons: Counter[str] = Counter()
    sources: dict[str, Counter[str]] = {}
    documents = quarantined = characters = text_bytes = 0
    for task in written:
        reasons.update(_values(task.output, "reason").drop_null().to_pylist())
        quarantined += pq.read_metadata(folder / "quarantine" / task.name).num_rows
        for incoming in (task.measured, task.quarantined):
            for source, number in _tally(_values(incoming, "source")):
                sources.setdefault(source, Counter())["in"] += number
        kept = folder / "documents" / task.name
        for source, number in _tally(_values(kept, "source")):
            sources[source]["kept"] += number
        for batch in pq.ParquetFile(kept).iter_batches(columns=["text"]):
            documents += len(batch)
            characters += pc.sum(pc.utf8_length(batch["text"])).as_py() or 0
            text_bytes += pc.sum(pc.binary_length(batch["text"])).as_py() or 0

    dropped = {reason: number for reason, number in sorted(reasons.items()) if reason != QUARANTINED}
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


def _values(path: Path, column: str) -> pa.ChunkedArray:
    return pq.read_table(path, columns=[column])[column]


def _tally(values: pa.ChunkedArray) -> list[tuple[str, int]]:
    return [(found["values"], found["counts"]) for found in pc.value_counts(values).to_pylist()]
