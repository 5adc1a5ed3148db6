"""Two models on the items that both answered: what differs, and by how much more than luck.

Items are matched by the hash of what was asked, documents by their ids. Where the prompts had other
numbers of examples, or the task another version, the models were asked different things, and nothing
is paired.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tsumugu.evaluation.comparison.reading import ModelResults, Rows, is_number
from tsumugu.evaluation.results import TaskFigures
from tsumugu.evaluation.statistics import Paired, compare_sums, compare_values, holm

BITS_PER_BYTE = "bits_per_byte"
_SAME = 1e-6
"""A score and the mean of its items differ by rounding alone if by less than this."""


@dataclass(frozen=True)
class PairedTest:
    """One model against the first, in one column of the table."""

    model: str
    against: str
    column: str
    metric: str
    only_first: int
    """Items that only the first model answered, left out here."""
    only_second: int
    found: Paired | None
    """None: the two could not be paired."""
    corrected: float | None
    """p, corrected for the number of all tests of the comparison."""
    note: str
    """Why nothing was paired, or what to keep in mind."""

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


def paired_tests(models: Sequence[ModelResults], names: Sequence[str]) -> tuple[PairedTest, ...]:
    """Every model after the first against it, in every task and text that both have."""
    found = []
    for other, name in zip(models[1:], names[1:], strict=True):
        for task in models[0].tasks:
            if task in other.tasks:
                found.append(_task(models[0], other, task, (names[0], name)))
        for text in models[0].perplexity:
            if text in other.perplexity:
                found.append(_text(models[0], other, text, (names[0], name)))
    return correct(found)


def correct(tests: Sequence[PairedTest]) -> tuple[PairedTest, ...]:
    """The tests with Holm's correction over all of them."""
    corrected = iter(holm([test.found.p for test in tests if test.found is not None]))
    return tuple(test if test.found is None else replace(test, corrected=next(corrected)) for test in tests)


def asked_differently(first: TaskFigures, second: TaskFigures) -> str:
    """In what two results of one task were not asked the same; nothing if they were."""
    found = []
    for key, what in (
        ("num_fewshot", "{}-shot and {}-shot"),
        ("version", "task versions {} and {}"),
        ("few_shot_from", "examples from {} and from {}"),
    ):
        one, other = getattr(first, key), getattr(second, key)
        if one != other:
            found.append(what.format(one, other))
    return ", ".join(found)


def _task(first: ModelResults, second: ModelResults, task: str, names: tuple[str, str]) -> PairedTest:
    figures = (first.tasks[task], second.tasks[task])
    metric = figures[0].main_metric
    differently = asked_differently(*figures)
    if differently:
        return _refused(names, task, metric, f"not paired: {differently}")
    sides = [_with_numbers(model.items(task), [metric]) for model in (first, second)]
    missing = _missing(names, sides)
    if missing:
        return _refused(names, task, metric, missing)
    for one, rows in zip(figures, sides, strict=True):
        score = one.metrics.get(metric)
        mean = sum(float(row[metric]) for row in rows.values()) / len(rows)
        if score is None or score.value is None or abs(mean - score.value) > _SAME:
            return _refused(names, task, metric, f"not paired: {metric} is not the mean of its items")
    shared = [key for key in sides[0] if key in sides[1]]
    values = [[float(side[key][metric]) for key in shared] for side in sides]
    found = compare_values(*values) if len(shared) > 1 else None
    return _test(names, task, metric, sides, found)


def _text(first: ModelResults, second: ModelResults, text: str, names: tuple[str, str]) -> PairedTest:
    sides = [_with_numbers(model.documents(text), ["nats", "bytes"]) for model in (first, second)]
    missing = _missing(names, sides)
    if missing:
        return _refused(names, text, BITS_PER_BYTE, missing)
    # The same id and another size is another text; an empty one says nothing.
    shared = [
        key
        for key, row in sides[0].items()
        if row["bytes"] and sides[1].get(key, {}).get("bytes") == row["bytes"]
    ]
    weights = [float(sides[0][key]["bytes"]) for key in shared]
    bits = [[float(side[key]["nats"]) / math.log(2) for key in shared] for side in sides]
    found = compare_sums(*bits, weights=weights) if len(shared) > 1 else None
    return _test(names, text, BITS_PER_BYTE, sides, found)


def _with_numbers(rows: Rows, names: Sequence[str]) -> Rows:
    return {key: row for key, row in rows.items() if all(is_number(row.get(name)) for name in names)}


def _missing(names: tuple[str, str], sides: Sequence[Rows]) -> str:
    without = " and ".join(name for name, rows in zip(names, sides, strict=True) if not rows)
    return f"not paired: no single items were kept of {without}" if without else ""


def _test(
    names: tuple[str, str], column: str, metric: str, sides: Sequence[Rows], found: Paired | None
) -> PairedTest:
    if found is None:
        return _refused(names, column, metric, "not paired: fewer than two items in common")
    only = [len(side) - found.items for side in sides]
    note = f"left out: {only[0]:,} items of the first, {only[1]:,} of the second" if any(only) else ""
    return PairedTest(names[1], names[0], column, metric, only[0], only[1], found, None, note)


def _refused(names: tuple[str, str], column: str, metric: str, note: str) -> PairedTest:
    return PairedTest(names[1], names[0], column, metric, 0, 0, None, None, note)
