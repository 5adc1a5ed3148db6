"""What one evaluation of one model left in its folder, as `tsumugu evaluate compare` reads it.

`results.json` has the scores; beside it `items/TASK.jsonl` and `documents/TEXT.jsonl` have a line for
each question and each document, without which two models cannot be paired.
"""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json

RESULTS = "results.json"
_FORMAT = 1
Key = tuple[str, int]
"""A hash or an id, and the how many-th with it: some tasks ask the same twice."""


@dataclass(frozen=True)
class ModelResults:
    """The scores of one model, and where its items lie."""

    name: str
    folder: Path
    facts: Mapping[str, Any]
    perplexity: Mapping[str, Mapping[str, Any]]
    """By text."""
    tasks: Mapping[str, Mapping[str, Any]]

    def items(self, task: str) -> dict[Key, dict[str, Any]]:
        """The questions of a task by their hashes; nothing if none were kept."""
        return _by_key(_lines(self.folder, "items", task), "hash")

    def documents(self, text: str) -> dict[Key, dict[str, Any]]:
        """The documents of a text by their ids; nothing if none were kept."""
        return _by_key(_lines(self.folder, "documents", text), "id")


def read_results(place: Path) -> ModelResults:
    """The results in a folder, or in the folder `evaluate` of a run.

    Raises:
        TsumuguError: there are none, or they cannot be understood.
    """
    folder = next((each for each in (place, place / "evaluate") if (each / RESULTS).is_file()), None)
    if folder is None:
        raise TsumuguError(
            f"{place}: there are no results here ({RESULTS}). Make them: tsumugu evaluate model {place} "
            f"--output DIR, or for a run: tsumugu evaluate RECIPE"
        )
    try:
        found = read_json(folder / RESULTS)
        if found["format"] != _FORMAT:
            raise TsumuguError(
                f"{folder / RESULTS}: these results have format {found['format']!r}, and this program reads "
                f"{_FORMAT}. Evaluate the model again"
            )
        for result in (found.get("tasks") or {}).values():
            result["metrics"][result["main_metric"]]
        return ModelResults(
            name=str(found["model"]["name"]),
            folder=folder,
            facts=found["model"],
            perplexity=dict(found.get("perplexity") or {}),
            tasks=dict(found.get("tasks") or {}),
        )
    except (ValueError, KeyError, TypeError) as error:
        raise TsumuguError(f"{folder / RESULTS}: cannot be understood: {error!r}") from error


def _lines(folder: Path, kind: str, name: str) -> Iterator[dict[str, Any]]:
    path = folder / kind / f"{name}.jsonl"
    # Results come from elsewhere, and a name in them must not lead out of their folder.
    if path.parent != folder / kind or "\\" in name or not path.is_file():
        return
    with path.open(encoding="utf-8") as stream:
        for number, line in enumerate(stream, 1):
            try:
                row = json.loads(line)
            except ValueError as error:
                raise TsumuguError(f"{path}, line {number}: not JSON: {error}") from error
            if not isinstance(row, dict):
                raise TsumuguError(f"{path}, line {number}: not an object")
            yield row


def _by_key(rows: Iterator[dict[str, Any]], name: str) -> dict[Key, dict[str, Any]]:
    seen: Counter[str] = Counter()
    found = {}
    for row in rows:
        key = str(row.get(name, row.get("id")))
        found[key, seen[key]] = row
        seen[key] += 1
    return found
