"""Pages to documents: measure every shard, compare all documents, write what stays and why.

read -> extract -> transform -> signals -> rules      one task per shard, in parallel
duplicates, contamination                             on keys, in parallel over bands and parts
documents, decisions, quarantine                      one task per part, in parallel
examples to look at                                   one task per view, in parallel

A shard is measured into one or more parts of bounded size, so that no later step holds more text
than a part, whatever the size of an input file.
"""

import shutil
from collections import Counter
from collections.abc import Sequence
from typing import Any

from tsumugu.corpus import dedup
from tsumugu.corpus.composing import add_statistics
from tsumugu.corpus.inputs import find_files, plan_shards
from tsumugu.corpus.measuring import (
    MeasureTask,
    ShardFacts,
    check_extras,
    measure_shard,
    measured_parts,
    read_facts,
)
from tsumugu.corpus.tables import shard_name
from tsumugu.corpus.views import VIEWS, ViewTask, write_view
from tsumugu.corpus.writing import WriteTask, read_counts, write_part
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
            counts=work / "counts" / f"{index:05d}.json",
        )
        for index, (part, decision) in enumerate(zip(parts, decided, strict=True))
    ]
    map_shards(write_part, written, resources=context.resources, description="corpus: write")

    views = [ViewTask(tuple(measured), tuple(decided), config, folder / name) for name in VIEWS]
    map_shards(write_view, views, resources=context.resources, description="corpus: examples")
    write_json(folder / "rules.json", [rule.model_dump() for rule in config.effective_rules])
    report = work / "dedup" / "contamination" / CONTAMINATION
    if report.exists():
        with write_aside(folder / CONTAMINATION) as aside:
            shutil.copyfile(report, aside)
    facts = [read_facts(task.output) for task in tasks]
    counts = _count(written, came_in=sum(one.came_in for one in facts))
    return counts | _sum_facts(facts)


def _sum_facts(shards: Sequence[ShardFacts]) -> Counts:
    """What the shards know beside their documents: skipped records, statistics of a Compose."""
    skipped: Counter[str] = Counter()
    statistics: list[dict[str, Any]] = []
    for facts in shards:
        skipped.update(facts.skipped)
        statistics = add_statistics(statistics, facts.hojichar) if facts.hojichar else statistics
    return {"skipped": dict(sorted(skipped.items())), "hojichar": statistics}


def _count(written: Sequence[WriteTask], *, came_in: int) -> Counts:
    """Add up what was written, and insist that nothing was lost since it was read."""
    parts = [read_counts(task) for task in written]
    reasons: Counter[str] = Counter()
    sources: dict[str, Counter[str]] = {}
    for part in parts:
        reasons.update(part.dropped_by_reason)
        for name, found in part.sources.items():
            sources.setdefault(name, Counter()).update(found)
    dropped = dict(sorted(reasons.items()))
    counts: dict[str, Any] = {
        "in": came_in,
        "kept": sum(part.kept for part in parts),
        "dropped": sum(dropped.values()),
        "quarantined": sum(part.quarantined for part in parts),
        "dropped_by_reason": dropped,
        "characters": sum(part.characters for part in parts),
        "bytes": sum(part.bytes for part in parts),
        "sources": {name: {"in": found["in"], "kept": found["kept"]} for name, found in sources.items()},
    }
    if counts["in"] != counts["kept"] + counts["dropped"] + counts["quarantined"]:
        raise AssertionError(f"documents were lost or doubled: {counts}")
    if counts["kept"] == 0:
        raise TsumuguError(
            f"corpus: none of {came_in} documents is left: {dropped}, {counts['quarantined']} quarantined. "
            f"Look at the thresholds of corpus.rules."
        )
    return counts
