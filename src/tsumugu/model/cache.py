"""Keys and values of tokens that a decoder has read, so that the next token costs one token.

A cache has rows for several texts, each as long as it is: rows are filled, and filled again with
another text, one by one, while the others go on. What lies behind a row's end is never looked at.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from tsumugu.model.attention import Scope
from tsumugu.model.config import ModelConfig


class LayerCache(NamedTuple):
    """What one layer keeps, and where the tokens belong that come now."""

    keys: Tensor
    """`[R, G, C, K]`: R rows of C places."""
    values: Tensor
    rows: Tensor
    """`int64 [B]`."""
    places: Tensor
    """`int64 [B, T]`."""
    seen: int
    """How many places of each row attention looks at; 0: none but the new tokens, which are the first."""

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keep keys and values `[B, G, T, K]`; return those to look at, `[B, G, seen or T, K]`."""
        self.keys[self.rows[:, None], :, self.places] = k.transpose(1, 2).to(self.keys.dtype)
        self.values[self.rows[:, None], :, self.places] = v.transpose(1, 2).to(self.values.dtype)
        if not self.seen:
            return k, v
        # All rows, in order: nothing has to be copied.
        return self.keys[:, :, : self.seen].to(k.dtype), self.values[:, :, : self.seen].to(v.dtype)


class Cache:
    """The keys and values of all layers."""

    def __init__(
        self, config: ModelConfig, rows: int, capacity: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Memory for `rows` texts of at most `capacity` tokens."""
        shape = (rows, config.key_value_heads, capacity, config.head_size)
        self.lengths = torch.zeros(rows, dtype=torch.int64)
        """Tokens in each row; on the CPU, where the next step is planned."""
        self._capacity, self._device = capacity, device
        self._layers = {
            str(index): (
                torch.zeros(shape, dtype=dtype, device=device),
                torch.zeros(shape, dtype=dtype, device=device),
            )
            for index in range(config.num_hidden_layers)
        }

    def begin(self, rows: Tensor, lengths: Tensor, width: int) -> "Reading":
        """New texts for some rows: `width` tokens with padding at the end, of which `lengths` count."""
        self.lengths[rows] = lengths
        places = torch.arange(width, device=self._device).expand(len(rows), width)
        return Reading(self, rows.to(self._device), places, 0, Scope())

    def go_on(self) -> "Reading":
        """One more token in every row; in rows of length 0, which nobody looks at, too."""
        places = self.lengths.clamp(max=self._capacity - 1)
        # Empty rows stay empty.
        self.lengths = torch.where(self.lengths > 0, places + 1, 0)
        seen = int(places.max()) + 1
        mask = torch.arange(seen) <= places[:, None]
        return Reading(
            self,
            torch.arange(len(places), device=self._device),
            places[:, None].to(self._device),
            seen,
            Scope(mask[:, None, None].to(self._device)),
        )

    def layer(self, name: str, reading: "Reading") -> LayerCache:
        """What the layer of this name has to know."""
        keys, values = self._layers[name]
        return LayerCache(keys, values, reading.rows, reading.positions, reading.seen)


class Reading(NamedTuple):
    """What a decoder is about to read, and where it keeps it."""

    cache: Cache
    rows: Tensor
    """`int64 [B]`."""
    positions: Tensor
    """`int64 [B, T]`."""
    seen: int
    scope: Scope
    """Which keys the new tokens see."""
