"""Chance and majority of a task."""

from typing import Any

import pytest

from tsumugu.evaluation.tasks.baselines import Baseline, answer_baseline, choice_baseline, task_baseline


def test_chance_is_one_over_the_number_of_choices_of_each_question() -> None:
    found = choice_baseline([5, 5, 2, 2], [0, 1, 1, 1])
    assert found.chance == pytest.approx((0.2 + 0.2 + 0.5 + 0.5) / 4)
    assert found.majority == 0.75


def test_the_majority_answer_counts_once_for_each_question() -> None:
    found = answer_baseline([["YES"], ["yes", "Ｙｅｓ"], ["NO"]])
    assert found.chance == 0
    assert found.majority == pytest.approx(2 / 3)


def test_samples_tell_choices_from_written_answers() -> None:
    choices = [{"arguments": [("問", "甲"), ("問", "乙")], "target": n % 2, "doc": {}} for n in range(4)]
    assert task_baseline(choices) == Baseline(chance=0.5, majority=0.5)
    gold = {"answers": {"text": ["犬", "猫"]}}
    written: list[dict[str, Any]] = [{"arguments": [("問", {})], "target": "犬", "doc": gold}]
    assert task_baseline(written) == Baseline(chance=0, majority=1)
    assert task_baseline([]) is None
