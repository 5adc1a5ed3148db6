"""Rules are asked in order, and the first that fails gives the reason."""

import numpy as np
import pytest

from tsumugu.corpus.config import Rule
from tsumugu.corpus.rules import apply_rules, failing


def test_the_first_failing_rule_is_the_reason() -> None:
    rules = [
        Rule(reason="too_short", signal="characters", at_least=100),
        Rule(reason="no_hiragana", signal="hiragana_share", at_least=0.2, at_most=0.9),
    ]
    signals = {
        "characters": np.array([50.0, 100.0, 200.0, 200.0, 10.0]),
        "hiragana_share": np.array([0.5, 0.2, 0.1, 0.95, 0.0]),
    }
    assert apply_rules(rules, signals, 5) == [
        "too_short",
        "",
        "no_hiragana",
        "no_hiragana",
        "too_short",
    ]


def test_without_rules_everything_passes() -> None:
    assert apply_rules([], {}, 2) == ["", ""]


def test_a_bound_keeps_its_own_value_and_no_value_passes() -> None:
    column = np.array([1.0, 2.0, 3.0, np.nan])
    at_least = Rule(reason="r", signal="characters", at_least=2.0)
    at_most = Rule(reason="r", signal="characters", at_most=2.0)
    assert failing(at_least, column).tolist() == [True, False, False, False]
    assert failing(at_most, column).tolist() == [False, False, True, False]


@pytest.mark.parametrize(
    ("bounds", "told"),
    [
        ({}, "needs at_least"),
        ({"at_least": 2.0, "at_most": 1.0}, "nothing passes"),
    ],
)
def test_a_rule_that_decides_nothing_is_refused(bounds: dict[str, float], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Rule.model_validate({"reason": "r", "signal": "characters", **bounds})
