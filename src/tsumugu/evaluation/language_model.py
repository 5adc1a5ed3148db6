"""What evaluation asks of a model, and the two kinds that can answer: ours and those of transformers.

Rows hold a context and after it the answers to it, side by side: an answer sees the context and
itself (`Rows.mask`), and stands at the positions that follow the context. So a context is computed
once, however many answers it has.
"""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor

from tsumugu.model.attention import Scope
from tsumugu.model.cache import After, Cache, scope_after
from tsumugu.model.decoder import Decoder
from tsumugu.training.device import autocast


class Rows(NamedTuple):
    """Tokens that go through a model at once, with padding at the ends of rows."""

    tokens: Tensor
    """`int64 [B, T]`."""
    positions: Tensor | None
    """`int64 [B, T]`; None: 0, 1, 2, ..."""
    mask: Tensor | None
    """`bool [B, 1, T, T]`: which tokens see which; None: all that stand before them."""


LogitsAt = Callable[[Tensor, Tensor], Tensor]
"""Logits `float32 [N, V]` at N (rows, places), each `int64 [N]`."""


class LanguageModel(Protocol):
    """A model that is asked."""

    device: torch.device
    max_length: int
    """Tokens that it can see at once."""
    vocab_size: int
    """Logits of a token."""
    shares_contexts: bool
    """Whether several answers may stand in one row."""

    def read(self, rows: Rows, places: Tensor) -> LogitsAt:
        """Read rows; logits will be wanted at no other places (`int64 [P]`, of any row) than these."""


class NativeModel:
    """A decoder of ours, on its device, in evaluation mode."""

    shares_contexts = True

    def __init__(self, decoder: Decoder, *, max_length: int | None = None) -> None:
        """Ask `decoder`, with no more than `max_length` tokens at once (default: its own limit)."""
        self.decoder = decoder
        self.device = next(decoder.parameters()).device
        limit = decoder.config.max_position_embeddings
        self.max_length = limit if max_length is None else min(limit, max_length)
        self.vocab_size = decoder.vocab_size

    @torch.no_grad()
    def read(self, rows: Rows, places: Tensor) -> LogitsAt:
        """See `LanguageModel.read`."""
        with autocast(self.device):
            hidden = self.decoder.hidden(
                rows.tokens,
                positions=rows.positions,
                scope=None if rows.mask is None else Scope(rows.mask),
            )

        return lambda row, place: self.logits(hidden[row, place])

    @torch.no_grad()
    def read_prefix(self, tokens: Tensor) -> Cache:
        """Read `int64 [P]`, which many rows begin with; what `read_after` goes on from."""
        cache = self.new_cache(1, len(tokens))
        reading = cache.begin(torch.tensor([0]), torch.tensor([len(tokens)]), len(tokens))
        with autocast(self.device):
            self.decoder.hidden(tokens[None], past=reading)
        return cache

    @torch.no_grad()
    def read_after(self, prefix: Cache, rows: Rows, places: Tensor) -> LogitsAt:
        """As `read`, with rows whose positions, masks and places count from the end of the prefix."""
        first, width = int(prefix.lengths[0]), rows.tokens.shape[1]
        positions = (
            torch.arange(width, device=self.device)[None] if rows.positions is None else rows.positions
        )
        scope = scope_after(first, width, self.device)
        if rows.mask is not None:
            # Everything that comes after a prefix sees all of it.
            scope = Scope(torch.cat([rows.mask.new_ones(*rows.mask.shape[:3], first), rows.mask], dim=3))
        with autocast(self.device):
            hidden = self.decoder.hidden(rows.tokens, past=After(prefix, first + positions, scope))
        return lambda row, place: self.logits(hidden[row, place])

    def new_cache(self, rows: int, capacity: int) -> Cache:
        """For `rows` texts of at most `capacity` tokens, in the precision of keys and values here."""
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        return Cache(self.decoder.config, rows, capacity, dtype=dtype, device=self.device)

    @torch.no_grad()
    def logits(self, hidden: Tensor) -> Tensor:
        """`[N, D]` to `float32 [N, V]`."""
        assert self.decoder.head is not None
        with autocast(self.device):
            out: Tensor = self.decoder.head(hidden[None], None)
        return out[0].float()


class HuggingFaceModel:
    """A causal language model of transformers, on its device."""

    def __init__(self, model: Any, *, max_length: int, probe: int = 24) -> None:
        """Ask `model`.

        Args:
            model: of `AutoModelForCausalLM`.
            max_length: tokens that it can see at once.
            probe: tokens of the trial that shows whether it understands masks and positions.
        """
        self.model = model.eval()
        self.device = model.device
        self.max_length = max_length
        self.vocab_size = int(model.get_output_embeddings().weight.shape[0])
        self._keeps = "logits_to_keep" in inspect.signature(model.forward).parameters
        self.shares_contexts = self._understands_masks(min(probe, max_length // 2))

    @torch.no_grad()
    def read(self, rows: Rows, places: Tensor) -> LogitsAt:
        """See `LanguageModel.read`."""
        given: dict[str, Any] = {}
        if rows.mask is not None:
            dtype = self.model.dtype
            closed = torch.finfo(dtype).min
            given["attention_mask"] = torch.where(rows.mask, 0.0, closed).to(dtype)
        if rows.positions is not None:
            given["position_ids"] = rows.positions
        if self._keeps:
            given["logits_to_keep"] = places
        logits = self.model(input_ids=rows.tokens, use_cache=False, **given).logits
        at = torch.full((rows.tokens.shape[1],), -1, dtype=torch.int64, device=self.device)
        at[places] = torch.arange(len(places), device=self.device)

        def logits_at(row: Tensor, place: Tensor) -> Tensor:
            found: Tensor = logits[row, at[place] if self._keeps else place]
            return found.float()

        return logits_at

    def _understands_masks(self, length: int) -> bool:
        """Whether two answers in one row get the logits that they get alone. Not every architecture
        takes masks of pairs or positions of choice (ALiBi, recurrences), and none says so."""
        draw = torch.Generator().manual_seed(0)
        context, one, two = torch.randint(0, self.vocab_size, (length,), generator=draw).tensor_split(
            [length // 2, 3 * length // 4]
        )
        n, a, b = len(context), len(one), len(two)
        tokens = torch.cat([context, one, two])[None].to(self.device)
        positions = torch.cat([torch.arange(n + a), torch.arange(n, n + b)])[None].to(self.device)
        mask = torch.ones(length, length, dtype=torch.bool).tril()
        mask[n + a :, n : n + a] = False
        last = torch.tensor([length - 1], device=self.device)
        plain = torch.cat([context, two])[None].to(self.device)
        end = torch.tensor([n + b - 1], device=self.device)
        zero = torch.zeros_like(end)
        try:
            shared = self.read(Rows(tokens, positions, mask[None, None].to(self.device)), last)(zero, last)
        except (TypeError, ValueError, RuntimeError, IndexError):
            return False
        alone = self.read(Rows(plain, None, None), end)(zero, end)
        # In half precision other shapes round differently, but not as another context would.
        tolerance = 1e-4 if self.model.dtype == torch.float32 else 0.25
        return bool((shared - alone).abs().max() < tolerance * max(1.0, float(alone.abs().max())))
