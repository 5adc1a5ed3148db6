"""What a model has read, so that it reads nothing twice: of our decoder, and of transformers.

A memory holds one text. Reading another one costs only what comes after their common beginning: the
next turn of a conversation costs that turn. For several samples the text's keys and values are copied
into as many rows, each of which goes on by itself.
"""

import inspect
from collections.abc import Sequence
from itertools import takewhile
from typing import Any, Protocol

import torch
from torch import Tensor

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.language_model import HuggingFaceModel, LanguageModel, NativeModel
from tsumugu.model.cache import Cache
from tsumugu.training.device import autocast


class Memory(Protocol):
    """Of one text, or of several that began as one."""

    known: list[int]
    """The tokens that have been read; none where there are several texts."""

    def read(self, tokens: Sequence[int], *, room: int) -> Tensor:
        """Read a whole text, at least one token, with room for more; logits `float32 [1, V]` of what
        follows."""

    def spread(self, samples: int) -> None:
        """Go on with so many texts."""

    def step(self, tokens: Tensor) -> Tensor:
        """One more token `int64 [B]` in each text; logits `float32 [B, V]`."""


def new_memory(model: LanguageModel) -> Memory:
    """An empty one."""
    if isinstance(model, NativeModel):
        return NativeMemory(model)
    assert isinstance(model, HuggingFaceModel)
    return TransformersMemory(model)


def common_beginning(one: Sequence[int], other: Sequence[int]) -> int:
    """How many tokens two texts begin with alike."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one, other, strict=False)))


class NativeMemory:
    """Of a decoder of ours; see `Memory`.

    It may be interrupted at any moment: what is behind `known` is written again.
    """

    def __init__(self, model: NativeModel) -> None:
        self._model = model
        self._cache: Cache = model.new_cache(1, 0)
        self.known: list[int] = []

    @torch.no_grad()
    def read(self, tokens: Sequence[int], *, room: int) -> Tensor:
        """See `Memory.read`."""
        # The last token is always read: its logits are wanted.
        kept = common_beginning(self.known, tokens[:-1])
        self.known = self.known[:kept]
        self._cache.lengths[:] = kept
        needed = len(tokens) + room
        if len(self._cache.lengths) > 1 or self._cache.capacity < needed:
            self._cache = self._cache.copies(1, needed)
        logits = self._read(torch.tensor([list(tokens[kept:])]))
        self.known = list(tokens)
        return logits

    def spread(self, samples: int) -> None:
        """See `Memory.spread`."""
        if samples > 1:
            self._cache = self._cache.copies(samples, self._cache.capacity)
            self.known = []

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """See `Memory.step`."""
        logits = self._read(tokens[:, None])
        if len(tokens) == 1:
            self.known.append(int(tokens[0]))
        return logits

    def _read(self, tokens: Tensor) -> Tensor:
        model = self._model
        with autocast(model.device):
            hidden = model.decoder.hidden(
                tokens.to(model.device), past=self._cache.read_more(tokens.shape[1])
            )
        return model.logits(hidden[:, -1])


class TransformersMemory:
    """Of a model of transformers, in its own `past_key_values`; see `Memory`."""

    def __init__(self, model: HuggingFaceModel) -> None:
        parameters = inspect.signature(model.model.forward).parameters
        if "past_key_values" not in parameters:
            raise TsumuguError(
                f"{type(model.model).__name__} keeps no keys and values (past_key_values), without which "
                f"nothing can be written here"
            )
        self._model, self._device = model.model, model.device
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in parameters else {}
        self._cache: Any = None
        self._whole = False
        self.known: list[int] = []

    @torch.no_grad()
    def read(self, tokens: Sequence[int], *, room: int) -> Tensor:
        """See `Memory.read`; room is found as it is needed."""
        kept = common_beginning(self.known, tokens[:-1])
        if not kept or not self._cut(kept):
            from transformers import DynamicCache

            kept, self._cache = 0, DynamicCache(config=self._model.config)
        self.known = self.known[:kept]
        logits = self._read(torch.tensor([list(tokens[kept:])]))
        self.known = list(tokens)
        return logits

    def spread(self, samples: int) -> None:
        """See `Memory.spread`."""
        if samples > 1:
            self._cache.batch_repeat_interleave(samples)
            self.known = []

    @torch.no_grad()
    def step(self, tokens: Tensor) -> Tensor:
        """See `Memory.step`."""
        logits = self._read(tokens[:, None])
        if len(tokens) == 1:
            self.known.append(int(tokens[0]))
        return logits

    def _read(self, tokens: Tensor) -> Tensor:
        self._whole = False
        found = self._model(
            input_ids=tokens.to(self._device), past_key_values=self._cache, use_cache=True, **self._options
        )
        self._cache, self._whole = found.past_key_values, True
        logits: Tensor = found.logits[:, -1].float()
        return logits

    def _cut(self, kept: int) -> bool:
        """Forget all but the first tokens; whether that can be done.

        Windows and recurrences cannot go back. `DynamicCache.crop` is not used: what its argument means
        has changed between versions.
        """
        from transformers.cache_utils import DynamicLayer

        if any(type(layer) is not DynamicLayer for layer in self._cache.layers):
            return self._whole and kept == len(self.known)
        for layer in self._cache.layers:
            # A layer may be empty where the first reading was interrupted.
            if layer.keys is None or layer.keys.shape[-2] < kept:
                return False
            layer.keys, layer.values = layer.keys[..., :kept, :], layer.values[..., :kept, :]
        return True
