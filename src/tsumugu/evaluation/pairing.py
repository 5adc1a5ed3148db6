"""Two models on the items that both answered: what differs, and by how much more than luck.

Items are matched by the hash of what was asked, documents by their ids. Where the prompts had other
numbers of examples, or the task another version, the models were asked different things, and nothing
is paired.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from tsumugu.evaluation.compared_results import Key, ModelResults
from tsumugu.evaluation.statistics import Paired, compare_sums, compare_values, holm

BITS_PER_BYTE = "bits_per_byte"


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


def asked_differently(first: Mapping[str, Any], second: Mapping[str, Any]) -> str:
    """In what two results of one task were not asked the same; nothing if they were."""
    found = []
    for key, what in (
        ("num_fewshot", "{}-shot and {}-shot"),
        ("version", "task versions {} and {}"),
        ("few_shot_from", "examples from {} and from {}"),
        ("main_metric", "metrics {} and {}"),
    ):
        if first.get(key) != second.get(key):
            found.append(what.format(first.get(key), second.get(key)))
    return ", ".join(found)


def _task(first: ModelResults, second: ModelResults, task: str, names: tuple[str, str]) -> PairedTest:
    metric = str(first.tasks[task]["main_metric"])
    differently = asked_differently(first.tasks[task], second.tasks[task])
    if differently:
        return _refused(names, task, metric, f"not paired: {differently}")
    a, b = first.items(task), second.items(task)
    return _pair(a, b, [metric], names, task, metric)


def _text(first: ModelResults, second: ModelResults, text: str, names: tuple[str, str]) -> PairedTest:
    a, b = first.documents(text), second.documents(text)
    return _pair(a, b, ["nats", "bytes"], names, text, BITS_PER_BYTE)


def _pair(
    a: dict[Key, dict[str, Any]],
    b: dict[Key, dict[str, Any]],
    fields: Sequence[str],
    names: tuple[str, str],
    column: str,
    metric: str,
) -> PairedTest:
    """Pair the items that have all fields on both sides, and the same bytes where these are counted."""
    if not a or not b:
        missing = " and ".join(name for name, items in zip(names, (a, b), strict=True) if not items)
        return _refused(names, column, metric, f"not paired: no single items were kept of {missing}")
    a = {key: row for key, row in a.items() if all(is_number(row.get(field)) for field in fields)}
    b = {key: row for key, row in b.items() if all(is_number(row.get(field)) for field in fields)}
    weighted = "bytes" in fields
    shared = [key for key in a if key in b and not (weighted and a[key]["bytes"] != b[key]["bytes"])]
    if not shared or (weighted and not sum(a[key]["bytes"] for key in shared)):
        return _refused(names, column, metric, "not paired: no item in common")
    if weighted:
        # Nats to bits, so that the difference is one of bits per byte.
        bits = [[float(side[key]["nats"]) / math.log(2) for key in shared] for side in (a, b)]
        found = compare_sums(bits[0], bits[1], weights=[float(a[key]["bytes"]) for key in shared])
    else:
        values = [[float(side[key][metric]) for key in shared] for side in (a, b)]
        found = compare_values(values[0], values[1])
    only = (len(a) - len(shared), len(b) - len(shared))
    note = ""
    if any(only):
        note = (
            f"{len(shared):,} items in common; left out: {only[0]:,} of the first, {only[1]:,} of the second"
        )
    return PairedTest(names[1], names[0], column, metric, *only, found, None, note)


def _refused(names: tuple[str, str], column: str, metric: str, note: str) -> PairedTest:
    return PairedTest(names[1], names[0], column, metric, 0, 0, None, None, note)


def is_number(value: object) -> bool:
    """Whether a value of a results file can be calculated with."""
    return isinstance(value, int | float) and math.isfinite(value)
