"""Some documents for every reason, and of those that stay: what the report opens to.

Ids are hashes, so the documents with the smallest ids are a random but reproducible choice.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tsumugu.corpus.config import SIGNALS

PER_REASON = 20
CHARACTERS = 1200
KEPT = "kept"


def examples_by_reason(measured: Sequence[Path], decided: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """For every reason, up to 20 documents: beginning, address, signals; `kept` is one of the keys."""
    found: dict[str, list[tuple[str, int, int]]] = {}
    for shard, (path, decision) in enumerate(zip(measured, decided, strict=True)):
        ids = pq.read_table(path, columns=["id"])["id"].to_pylist()
        reasons = pq.read_table(decision, columns=["reason"])["reason"].to_pylist()
        for row, (name, reason) in enumerate(zip(ids, reasons, strict=True)):
            found.setdefault(reason or KEPT, []).append((name, shard, row))
        found = {reason: sorted(places)[:PER_REASON] for reason, places in found.items()}
    rows = {(shard, row) for places in found.values() for _, shard, row in places}
    shown = _read(measured, rows)
    return {reason: [shown[place[1:]] for place in places] for reason, places in sorted(found.items())}


def _read(measured: Sequence[Path], places: set[tuple[int, int]]) -> dict[tuple[int, int], dict[str, Any]]:
    shown = {}
    for shard, path in enumerate(measured):
        rows = {row for one, row in places if one == shard}
        first = 0
        # In batches: a shard's texts need not fit into memory at once.
        for batch in pq.ParquetFile(path).iter_batches(
            batch_size=512, columns=["id", "url", "source", "text", *SIGNALS]
        ):
            for row in rows & set(range(first, first + len(batch))):
                one = batch.slice(row - first, 1).to_pylist()[0]
                shown[shard, row] = {
                    "id": one["id"],
                    "url": one["url"],
                    "source": one["source"],
                    "text": one["text"][:CHARACTERS],
                    "signals": {name: one[name] for name in SIGNALS},
                }
            first += len(batch)
    return shown
