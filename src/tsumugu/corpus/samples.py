"""Some documents for every reason, and of those that stay: what the report opens to.

Ids are hashes, so the documents with the smallest ids are a random but reproducible choice.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tsumugu.corpus.columns import read_columns
from tsumugu.corpus.config import SIGNALS
from tsumugu.corpus.tables import read_rows

PER_REASON = 20
CHARACTERS = 1200
KEPT = "kept"
_SHOWN = ("id", "url", "source", "text")
_COLUMNS = (*_SHOWN, *SIGNALS)


def examples_by_reason(measured: Sequence[Path], decided: Sequence[Path]) -> dict[str, list[dict[str, Any]]]:
    """For every reason, up to 20 documents: beginning, address, signals; `kept` is one of the keys."""
    found: dict[str, list[tuple[str, int, int]]] = {}
    for shard, (path, decision) in enumerate(zip(measured, decided, strict=True)):
        ids = read_columns(path, ["id"])["id"].to_pylist()
        reasons = read_columns(decision, ["reason"])["reason"].to_pylist()
        for row, (name, reason) in enumerate(zip(ids, reasons, strict=True)):
            found.setdefault(reason or KEPT, []).append((name, shard, row))
        found = {reason: sorted(places)[:PER_REASON] for reason, places in found.items()}
    shown = {}
    for shard, path in enumerate(measured):
        rows = {row for places in found.values() for _, one, row in places if one == shard}
        for row, entry in read_rows(path, rows, _COLUMNS, characters=CHARACTERS).items():
            shown[shard, row] = _example(entry)
    return {reason: [shown[place[1:]] for place in places] for reason, places in sorted(found.items())}


def _example(entry: dict[str, Any]) -> dict[str, Any]:
    return {
        **{name: entry[name] for name in _SHOWN},
        "signals": {name: entry[name] for name in SIGNALS},
    }
