"""A model behind the `LM` interface of lm-evaluation-harness.

How prompts and answers become tokens is the harness's own code (`TemplateLM`), so that scores are
those of its `hf` model; what is computed for them, and in which order, is ours.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from lm_eval.api.model import TemplateLM

from tsumugu.evaluation.scoring import Ids, Item, score, score_items
from tsumugu.evaluation.subject import Subject

Pair = tuple[tuple[str, str], list[int], list[int]]


class TsumuguLM(TemplateLM):  # type: ignore[misc]
    """Answers the harness's requests with a subject."""

    def __init__(self, subject: Subject, *, batch_size: int) -> None:
        """Ask `subject`, `batch_size` rows at a time."""
        super().__init__()
        self._subject = subject
        self._batch_size = batch_size
        self.counts: Counter[str] = Counter()
        """What was out of the ordinary: `truncated`, `empty`."""

    @property
    def eot_token_id(self) -> int:
        """What ends a text."""
        return self._subject.eos_id

    @property
    def prefix_token_id(self) -> int:
        """What stands before an answer to nothing."""
        return self._subject.text_start

    def tok_encode(self, string: str, add_special_tokens: bool | None = None, **kwargs: Any) -> list[int]:
        """Ids of a text, behind what begins a prompt unless that is declined."""
        start = [] if add_special_tokens is False else [*self._subject.prompt_start]
        return start + self._subject.encode(string)

    def _loglikelihood_tokens(self, requests: list[Pair], **kwargs: Any) -> list[tuple[float, bool]]:
        """Log-probability of each continuation after its context, and whether it was the likeliest."""
        items, owners = self._items(requests)
        found: list[tuple[float, bool]] = [(0.0, True)] * len(requests)
        scored = score_items(
            self._subject.model, items, batch_size=self._batch_size, description="evaluate: answers"
        )
        for numbers, answers in zip(owners, scored, strict=True):
            for number, one in zip(numbers, answers, strict=True):
                found[number] = (one.log_probability, one.greedy)
        return found

    def _items(self, requests: Sequence[Pair]) -> tuple[list[Item], list[list[int]]]:
        """Requests with one context together; those that are too long lose tokens on the left."""
        longest = self._subject.model.max_length + 1
        by_context: dict[tuple[int, ...], list[int]] = {}
        answers: dict[int, Ids] = {}
        for number, (_, context, answer) in enumerate(requests):
            if not answer:
                # Nothing is certain to follow anything.
                self.counts["empty"] += 1
                continue
            if len(context) + len(answer) > longest:
                self.counts["truncated"] += 1
                whole = [*context, *answer][-longest:]
                first = max(1, len(whole) - len(answer))
                context, answer = whole[:first], whole[first:]
            by_context.setdefault(tuple(context), []).append(number)
            answers[number] = np.array(answer, dtype=np.int64)
        items = [
            Item(np.array(context, dtype=np.int64), tuple(answers[number] for number in numbers))
            for context, numbers in by_context.items()
        ]
        return items, list(by_context.values())

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-probability of each whole text."""
        start = self._subject.text_start
        sequences = [
            (np.array([start, *self._subject.encode(request.args[0])], dtype=np.int64), 1)
            for request in requests
        ]
        scored = score(
            self._subject.model, sequences, batch_size=self._batch_size, description="evaluate: texts"
        )
        return [one.log_probability for one in scored]

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Greedy continuations up to a stop text."""
        raise NotImplementedError
