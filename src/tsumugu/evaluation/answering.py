"""A model behind the `LM` interface of lm-evaluation-harness.

How prompts and answers become tokens is the harness's own code (`TemplateLM`), so that scores are
those of its `hf` model; what is computed for them, and in which order, is ours. Under torchrun
the harness gives every process its share of the questions.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from lm_eval.api.model import TemplateLM
from torch import Tensor

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.answers import AnswerFile
from tsumugu.evaluation.generation import Prompt, generate
from tsumugu.evaluation.scoring import Ids, Item, Scored, score, score_items
from tsumugu.evaluation.subject import Subject

Pair = tuple[tuple[str, str], list[int], list[int]]
_MOST_NEW_TOKENS = 256
"""As the harness's `hf` model has it, where a task does not say."""
TRUNCATED, EMPTY = "truncated", "empty"


class TsumuguLM(TemplateLM):  # type: ignore[misc]
    """Answers the harness's requests with a subject."""

    def __init__(
        self,
        subject: Subject,
        *,
        batch_size: int,
        quiet: bool = False,
    ) -> None:
        """Ask `subject`, `batch_size` rows at a time.

        Args:
            subject: on every process the same.
            batch_size: rows in a forward pass, texts written at once.
            quiet: no progress bars.
        """
        super().__init__()
        self._subject = subject
        self._batch_size = batch_size
        self.answers: AnswerFile | None = None
        """What is known already, and where answers are kept."""
        self._device = subject.model.device
        if dist.is_initialized():
            self._rank, self._world_size = dist.get_rank(), dist.get_world_size()
        self.quiet = quiet or self._rank > 0
        self.unusual: dict[str, Counter[str]] = {TRUNCATED: Counter(), EMPTY: Counter()}
        """Requests by task whose context lost tokens on the left, and whose answer has no token."""

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

    def loglikelihood(self, requests: list[Any], disable_tqdm: bool = False) -> list[tuple[float, bool]]:
        """Log-probability of each answer after its context, and whether it was the likeliest."""
        found: list[Any] = self._known("loglikelihood", requests)
        missing = [number for number, answer in enumerate(found) if answer is None]
        pairs = [self._pair(*requests[number].args) for number in missing]
        items, owners, truncated = self._items(pairs, [requests[number].task_name for number in missing])

        def keep(item: int, scored: tuple[Scored, ...]) -> None:
            for owner, one in zip(owners[item], scored, strict=True):
                number = missing[owner]
                found[number] = [one.log_probability, one.greedy]
                self._keep(
                    "loglikelihood", requests[number].args, found[number], truncated=owner in truncated
                )

        score_items(
            self._subject.model,
            items,
            batch_size=self._batch_size,
            description=self._bar("answers"),
            done=keep,
        )
        # Nothing is certain to follow anything.
        return [(0.0, True) if answer is None else (answer[0], answer[1]) for answer in found]

    def _pair(self, context: str, answer: str) -> tuple[list[int], list[int]]:
        if not context:
            return [self.prefix_token_id], self.tok_encode(answer, add_special_tokens=False)
        before, after = self._encode_pair(context, answer)
        return list(before), list(after)

    def _loglikelihood_tokens(self, requests: list[Pair], **kwargs: Any) -> list[tuple[float, bool]]:
        """What `TemplateLM.loglikelihood` would call; `loglikelihood` here does not."""
        raise NotImplementedError

    def _items(
        self, pairs: Sequence[tuple[list[int], list[int]]], tasks: Sequence[str | None]
    ) -> tuple[list[Item], list[list[int]], set[int]]:
        """Pairs with one context together, whose they are, and which were too long and lost tokens on
        the left."""
        longest = self._subject.model.max_length + 1
        by_context: dict[tuple[int, ...], list[int]] = {}
        answers: dict[int, Ids] = {}
        truncated = set()
        for number, (context, answer) in enumerate(pairs):
            if not answer:
                self.unusual[EMPTY][tasks[number] or ""] += 1
                continue
            if len(context) + len(answer) > longest:
                self.unusual[TRUNCATED][tasks[number] or ""] += 1
                truncated.add(number)
                whole = [*context, *answer][-longest:]
                first = max(1, len(whole) - len(answer))
                context, answer = whole[:first], whole[first:]
            by_context.setdefault(tuple(context), []).append(number)
            answers[number] = np.array(answer, dtype=np.int64)
        items = [
            Item(np.array(context, dtype=np.int64), tuple(answers[number] for number in numbers))
            for context, numbers in by_context.items()
        ]
        return items, list(by_context.values()), truncated

    def loglikelihood_rolling(self, requests: list[Any], disable_tqdm: bool = False) -> list[float]:
        """Log-probability of each whole text."""
        found: list[Any] = self._known("rolling", requests)
        missing = [number for number, answer in enumerate(found) if answer is None]
        ids = [[self._subject.text_start, *self._subject.encode(requests[n].args[0])] for n in missing]
        sequences = [(np.array(tokens, dtype=np.int64), 1) for tokens in ids]
        scored = score(
            self._subject.model,
            sequences,
            batch_size=self._batch_size,
            description=self._bar("texts"),
        )
        for number, one in zip(missing, scored, strict=True):
            found[number] = one.log_probability
            self._keep("rolling", requests[number].args, one.log_probability)
        return found

    def generate_until(self, requests: list[Any], disable_tqdm: bool = False) -> list[str]:
        """Greedy continuations up to a stop text."""
        found: list[Any] = self._known("generate", requests)
        missing = [number for number, answer in enumerate(found) if answer is None]
        prompts = [self._prompt(requests[number]) for number in missing]

        def keep(index: int, text: str) -> None:
            number = missing[index]
            found[number] = text
            self._keep("generate", requests[number].args, text, truncated=prompts[index].truncated)

        generate(
            self._subject.model,
            prompts,
            decode=self._subject.decode,
            eos_id=self._subject.eos_id,
            batch_size=self._batch_size,
            description=self._bar("generation"),
            done=keep,
        )
        return found

    def _prompt(self, request: Any) -> Prompt:
        context, settings = request.args
        if settings.get("do_sample") or (settings.get("temperature") or 0) > 0:
            raise TsumuguError(
                f"task {request.task_name} asks for samples (do_sample, temperature), and answers here are "
                f"greedy, so that they are the same every time. Set do_sample: false in its "
                f"generation_kwargs"
            )
        stops = settings.get("until") or []
        new = int(settings.get("max_gen_toks", _MOST_NEW_TOKENS))
        if "longest_of" in settings:
            # As jp-stable's JSQuAD limits an answer: to the length of the longest that is right.
            lengths = [len(self._subject.encode(text)) for text in settings["longest_of"]]
            new = max(1, *lengths) + settings.get("longest_of_margin", 0)
        room = self._subject.model.max_length - new
        if room < 1:
            raise TsumuguError(
                f"task {request.task_name} asks for {new} new tokens (max_gen_toks), and the model sees "
                f"{self._subject.model.max_length} at once, which leaves no place for a prompt"
            )
        tokens = self.tok_encode(context) or [self.prefix_token_id]
        if len(tokens) > room:
            self.unusual[TRUNCATED][request.task_name or ""] += 1
        return Prompt(
            tokens=np.array(tokens[-room:], dtype=np.int64),
            stops=tuple([stops] if isinstance(stops, str) else stops),
            max_new_tokens=new,
            truncated=len(tokens) > room,
        )

    def _known(self, kind: str, requests: Sequence[Any]) -> list[Any]:
        if self.answers is None:
            return [None] * len(requests)
        for request in requests:
            # The count is of all questions, also of those that were answered before a crash.
            if self.answers.was_truncated(kind, request.args):
                self.unusual[TRUNCATED][request.task_name or ""] += 1
        return [self.answers.get(kind, request.args) for request in requests]

    def _keep(self, kind: str, request: Sequence[Any], answer: Any, *, truncated: bool = False) -> None:
        if self.answers is not None:
            self.answers.put(kind, request, answer, truncated=truncated)

    def _bar(self, what: str) -> str:
        return "" if self.quiet else f"evaluate: {what}"

    # What the harness asks of processes that share its questions.

    def all_gather(self, tensor: Tensor) -> Tensor:
        """Of all processes, one behind the other."""
        found = [torch.zeros_like(tensor) for _ in range(self._world_size)]
        dist.all_gather(found, tensor)
        return torch.stack(found).flatten()

    def gather_object(self, obj: Any, dst: int = 0) -> list[Any] | None:
        """Of all processes, on process `dst`; None on the others."""
        if self._world_size == 1:
            return [obj]
        found: list[Any] | None = [None] * self._world_size if self._rank == dst else None
        dist.gather_object(obj, found, dst=dst)
        return found

    def barrier(self) -> None:
        """Until all processes are here."""
        dist.barrier()
