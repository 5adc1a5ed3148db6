"""The results of one model as `tsumugu evaluate compare` needs them: with items that can be paired.

`results.py` reads the files. Here a run folder stands for its evaluation, and questions and documents
are found by what was asked, whatever their order.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tsumugu.evaluation.results import (
    RESULTS,
    TaskFigures,
    TextFigures,
    documents_path,
    items_path,
    read_documents,
    read_items,
    read_results,
)

Key = tuple[str, int]
"""A hash or an id, and the how many-th with it: some tasks ask the same twice."""
Rows = dict[Key, Mapping[str, Any]]
_STAGE = "evaluate"


@dataclass(frozen=True)
class ModelResults:
    """The scores of one model, and where its items lie."""

    name: str
    folder: Path
    place: str
    """Of the model."""
    perplexity: Mapping[str, TextFigures]
    """By text."""
    tasks: Mapping[str, TaskFigures]

    def items(self, task: str) -> Rows:
        """The questions of a task by their hashes; nothing if none were kept.

        Raises:
            TsumuguError: they are damaged.
        """
        if not items_path(self.folder, task).exists():
            # A table without tests is still a table, and the note on them says that there are no items.
            return {}
        return _by_key(read_items(self.folder, task), "hash")

    def documents(self, text: str) -> Rows:
        """The documents of a text by their ids; nothing if none were kept.

        Raises:
            TsumuguError: they are damaged.
        """
        if not documents_path(self.folder, text).exists():
            return {}
        return _by_key(map(asdict, read_documents(self.folder, text)), "id")


def open_results(place: Path) -> ModelResults:
    """The results in a folder, or in the folder `evaluate` of a run.

    Raises:
        TsumuguError: there are none, or they are damaged; the message says what to do.
    """
    run = place / _STAGE
    folder = run if (run / RESULTS).is_file() and not (place / RESULTS).is_file() else place
    found = read_results(folder)
    return ModelResults(
        name=found.name,
        folder=folder,
        place=str(found.model.get("place", place)),
        perplexity=found.perplexity,
        tasks=found.tasks,
    )


def is_number(value: object) -> bool:
    """Whether a value of an item can be calculated with."""
    return isinstance(value, int | float) and math.isfinite(value)


def _by_key(rows: Iterable[Mapping[str, Any]], name: str) -> Rows:
    seen: Counter[str] = Counter()
    found: Rows = {}
    for row in rows:
        key = str(row.get(name, row["id"]))
        found[key, seen[key]] = row
        seen[key] += 1
    return found
