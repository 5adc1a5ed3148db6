"""What a task's score is worth: the accuracy of guessing, and of always giving one answer.

A multiple-choice score of 22 % says nothing until one knows that guessing among five choices gives
20 %; a score of 70 % on MARC-ja is worse than calling every review positive.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tsumugu.evaluation.tasks.metrics import normalize_aio


@dataclass(frozen=True)
class Baseline:
    """Accuracies that need no model."""

    chance: float
    """Of a choice drawn at random; 0 where an answer is written, since none would be hit."""
    majority: float
    """Of giving the most frequent gold answer every time (of choices: the most frequent place)."""


def choice_baseline(choices: Sequence[int], gold: Sequence[int]) -> Baseline:
    """Of questions with `choices[i]` choices each and the right one at index `gold[i]`."""
    return Baseline(
        chance=sum(1 / count for count in choices) / len(choices),
        majority=max(Counter(gold).values()) / len(gold),
    )


def answer_baseline(references: Sequence[Sequence[str]]) -> Baseline:
    """Of questions with these gold answers each, compared as AI王 compares them."""
    known = Counter(answer for gold in references for answer in {normalize_aio(one) for one in gold})
    return Baseline(chance=0.0, majority=max(known.values()) / len(references))


def task_baseline(samples: Sequence[Mapping[str, Any]]) -> Baseline | None:
    """Of a task's samples as `simple_evaluate(log_samples=True)` returns them; None where it has no sense.

    Choices are counted by the requests of a sample; its target is the index of the right one. Of
    written answers all that the example names under `answers` are gold, else its target.
    """
    if not samples:
        return None
    first = samples[0]
    if len(first["arguments"]) > 1:
        gold = [sample["target"] for sample in samples]
        if not all(isinstance(one, int) for one in gold):
            return None
        return choice_baseline([len(sample["arguments"]) for sample in samples], gold)
    return answer_baseline([_answers(sample) for sample in samples])


def _answers(sample: Mapping[str, Any]) -> list[str]:
    found = sample["doc"].get("answers") or [str(sample["target"])]
    if isinstance(found, Mapping):
        found = found["text"]
    return [found] if isinstance(found, str) else list(found)
