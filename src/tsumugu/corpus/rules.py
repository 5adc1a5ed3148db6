"""Thresholds on columns of signals: which documents fail, and for which reason."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsumugu.corpus.config import Rule

PASSED = ""


def apply_rules(rules: Sequence[Rule], signals: Mapping[str, NDArray[Any]], documents: int) -> list[str]:
    """The reason of the first rule that each document fails, or `PASSED`.

    Args:
        rules: asked in order.
        signals: one column of length `documents` for every signal.
        documents: how many there are; a corpus may have no rules.
    """
    reasons = np.full(documents, PASSED, dtype=object)
    undecided = np.ones(documents, dtype=bool)
    for rule in rules:
        fails = failing(rule, signals[rule.signal]) & undecided
        reasons[fails] = rule.reason
        undecided &= ~fails
    return [str(reason) for reason in reasons]


def failing(rule: Rule, column: NDArray[Any]) -> NDArray[np.bool_]:
    """Which values of `column` do not pass `rule`; NaN, which is no value, passes."""
    fails = np.zeros(len(column), dtype=bool)
    if rule.at_least is not None:
        fails |= column < rule.at_least
    if rule.at_most is not None:
        fails |= column > rule.at_most
    return fails
