"""Greedy continuations up to a stop text.

Our decoder writes many texts at once, each in a row of a cache: a row whose text is finished takes
the next prompt, so that rows do not wait for the longest. A model of transformers writes batches of
prompts of like length with `generate`. Both stop at the first stop text, wherever in a token it lies.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from tsumugu.evaluation.language_model import HuggingFaceModel, LanguageModel, NativeModel
from tsumugu.model.cache import Cache
from tsumugu.training.device import autocast

Ids = NDArray[np.int64]
Decode = Callable[[Sequence[int]], str]
_REFILL = 4
"""A batch is filled up when one row in so many is free: reading prompts one by one is slow."""
_SHORTEST_PREFIX, _FEWEST = 32, 3
"""Tokens that all prompts must begin with for these to be read once, and the fewest prompts."""


@dataclass(frozen=True)
class Prompt:
    """What is to be continued."""

    tokens: Ids
    """`int64 [n]`, n >= 1; with `max_new_tokens` more it fits the model."""
    stops: tuple[str, ...]
    """Texts that end the continuation and are no part of it."""
    max_new_tokens: int
    truncated: bool = False
    """Whether it was longer, and lost its beginning."""


def generate(
    model: LanguageModel,
    prompts: Sequence[Prompt],
    *,
    decode: Decode,
    eos_id: int,
    batch_size: int,
    description: str,
    done: Callable[[int, str], None] = lambda index, text: None,
) -> list[str]:
    """The likeliest next token, again and again, for each prompt.

    Args:
        model: who writes.
        prompts: what is continued.
        decode: ids to text.
        eos_id: the token that ends a text.
        batch_size: texts that are written at once.
        description: for the progress bar; none without it.
        done: told of each text as soon as it is finished.

    Returns:
        The continuations, without the prompts and what stopped them.
    """
    texts = [""] * len(prompts)
    if not prompts:
        return texts
    # Long prompts first, like with like.
    order = sorted(range(len(prompts)), key=lambda index: -len(prompts[index].tokens))
    with tqdm(total=len(prompts), desc=description or None, unit="text", disable=not description) as bar:

        def finish(index: int, text: str) -> None:
            texts[index] = text
            done(index, text)
            bar.update()

        if isinstance(model, NativeModel):
            _write_in_rows(model, prompts, order, decode, eos_id, batch_size, finish)
        else:
            assert isinstance(model, HuggingFaceModel)
            for begin in range(0, len(order), batch_size):
                _write_batch(model, prompts, order[begin : begin + batch_size], decode, eos_id, finish)
    return texts


@dataclass
class _Text:
    """A continuation that is being written."""

    index: int
    prompt: Prompt
    decode: Decode
    eos_id: int
    new: list[int] = field(default_factory=list)
    text: str = ""

    def add(self, token: int) -> bool:
        """Take one more token; whether the text is finished."""
        if token == self.eos_id:
            return True
        self.new.append(token)
        # A token may end inside of a character, or of a stop text: only the whole says what it says.
        self.text = self.decode(self.new)
        places = [self.text.find(stop) for stop in self.prompt.stops]
        found = [place for place in places if place >= 0]
        if found:
            self.text = self.text[: min(found)]
        return bool(found) or len(self.new) >= self.prompt.max_new_tokens


@torch.no_grad()
def _write_in_rows(
    model: NativeModel,
    prompts: Sequence[Prompt],
    order: Sequence[int],
    decode: Decode,
    eos_id: int,
    batch_size: int,
    finish: Callable[[int, str], None],
) -> None:
    waiting = deque(order)
    rows = min(batch_size, len(order))
    capacity = max(len(prompt.tokens) + prompt.max_new_tokens for prompt in prompts)
    cache = model.new_cache(rows, capacity)
    prefix = _read_common(model, [prompt.tokens for prompt in prompts])
    texts: list[_Text | None] = [None] * rows
    tokens = torch.zeros(rows, dtype=torch.int64)

    def take(chosen: Sequence[int], logits: Tensor) -> None:
        for row, token in zip(chosen, logits.argmax(-1).tolist(), strict=True):
            text = texts[row]
            if text is None:
                continue
            tokens[row] = token
            if text.add(token):
                finish(text.index, text.text)
                texts[row] = None
                cache.lengths[row] = 0

    while waiting or any(texts):
        free = [row for row, text in enumerate(texts) if text is None]
        if waiting and (len(free) == rows or len(free) * _REFILL >= rows):
            chosen = free[: len(waiting)]
            for row in chosen:
                index = waiting.popleft()
                texts[row] = _Text(index, prompts[index], decode, eos_id)
            read = [_tokens(texts[row]) for row in chosen]
            take(chosen, _read_prompts(model, cache, chosen, read, prefix))
        else:
            with autocast(model.device):
                hidden = model.decoder.hidden(tokens[:, None].to(model.device), past=cache.go_on())
            take(range(rows), model.logits(hidden[:, 0]))


def _tokens(text: _Text | None) -> Ids:
    assert text is not None
    return text.prompt.tokens


def _read_common(model: NativeModel, prompts: Sequence[Ids]) -> Cache | None:
    """What all prompts begin with, read once; None if that is little."""
    shortest = min(map(len, prompts))
    first, length = prompts[0], shortest - 1
    for prompt in prompts[1:]:
        different = np.flatnonzero(prompt[:length] != first[:length])
        length = int(different[0]) if len(different) else length
    if len(prompts) < _FEWEST or length < _SHORTEST_PREFIX:
        return None
    return model.read_prefix(torch.from_numpy(first[:length]).to(model.device))


def _read_prompts(
    model: NativeModel, cache: Cache, rows: Sequence[int], prompts: Sequence[Ids], prefix: Cache | None
) -> Tensor:
    """Read prompts into rows of the cache; the logits `[B, V]` of what follows each."""
    known = 0 if prefix is None else int(prefix.lengths[0])
    lengths = torch.tensor([len(prompt) for prompt in prompts])
    padded = torch.zeros(len(prompts), int(lengths.max()) - known, dtype=torch.int64)
    for row, prompt in enumerate(prompts):
        padded[row, : len(prompt) - known] = torch.from_numpy(prompt[known:])
    reading = cache.begin(torch.tensor(rows), lengths, padded.shape[1], prefix=prefix)
    with autocast(model.device):
        hidden = model.decoder.hidden(padded.to(model.device), past=reading)
    last = (lengths - known - 1).to(model.device)
    return model.logits(hidden[torch.arange(len(prompts), device=model.device), last])


@torch.no_grad()
def _write_batch(
    model: HuggingFaceModel,
    prompts: Sequence[Prompt],
    chosen: Sequence[int],
    decode: Decode,
    eos_id: int,
    finish: Callable[[int, str], None],
) -> None:
    from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

    width = max(len(prompts[index].tokens) for index in chosen)
    tokens = torch.full((len(chosen), width), eos_id)
    mask = torch.zeros(len(chosen), width, dtype=torch.int64)
    for row, index in enumerate(chosen):
        prompt = prompts[index].tokens
        tokens[row, width - len(prompt) :] = torch.from_numpy(prompt)
        mask[row, width - len(prompt) :] = 1
    texts = [_Text(index, prompts[index], decode, eos_id) for index in chosen]
    finished = [False] * len(chosen)

    class Stops(StoppingCriteria):  # type: ignore[misc]
        """Row by row, as each text says."""

        def __call__(self, input_ids: Tensor, scores: Any, **kwargs: Any) -> Tensor:
            for row, token in enumerate(input_ids[:, -1].tolist()):
                finished[row] = finished[row] or texts[row].add(token)
            return torch.tensor(finished, device=input_ids.device)

    # Greedy and nothing else, whatever the directory's own settings are.
    settings = GenerationConfig(
        do_sample=False,
        max_new_tokens=max(prompts[index].max_new_tokens for index in chosen),
        eos_token_id=eos_id,
        pad_token_id=eos_id,
    )
    model.model.generate(
        tokens.to(model.device),
        attention_mask=mask.to(model.device),
        generation_config=settings,
        stopping_criteria=StoppingCriteriaList([Stops()]),
    )
    for text in texts:
        finish(text.index, text.text)
