"""Keys and values of tokens that a decoder has read, so that the next token costs one token.

A cache has rows for several texts, each as long as it is: rows are filled, and filled again with
another text, one by one, while the others go on. What lies behind a row's end is never looked at.
A text that many texts begin with is read once, and they go on from there. Rows that are shortened
(`lengths`) go on from their new end.
"""

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from tsumugu.model.attention import Scope
from tsumugu.model.config import ModelConfig


class LayerPast(Protocol):
    """What one layer knows of earlier tokens."""

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Take the keys and values `[B, G, T, K]` of new tokens; all those that attention looks at."""


class Past(Protocol):
    """Tokens that a decoder has read, and where those belong that it reads now."""

    @property
    def positions(self) -> Tensor:
        """`int64 [B or 1, T]`, of the new tokens."""

    @property
    def scope(self) -> Scope:
        """Which keys the new tokens see."""

    def layer(self, name: str) -> LayerPast:
        """The part of the layer of this name."""


def scope_after(first: int, width: int, device: torch.device) -> Scope:
    """What `width` tokens see that follow `first` others: those, themselves, and what stands between."""
    mask = torch.ones(width, first + width, dtype=torch.bool, device=device).tril(first)
    return Scope(mask[None, None])


class Cache:
    """The keys and values of all layers, for R texts of at most C tokens."""

    def __init__(
        self, config: ModelConfig, rows: int, capacity: int, *, dtype: torch.dtype, device: torch.device
    ) -> None:
        """Memory for `rows` texts of at most `capacity` tokens."""
        shape = (rows, config.key_value_heads, capacity, config.head_size)
        self.lengths = torch.zeros(rows, dtype=torch.int64)
        """Tokens in each row; on the CPU, where the next step is planned."""
        self.capacity = capacity
        self._config, self._device = config, device
        self.layers = {
            str(index): (
                torch.zeros(shape, dtype=dtype, device=device),
                torch.zeros(shape, dtype=dtype, device=device),
            )
            for index in range(config.num_hidden_layers)
        }
        """Keys and values `[R, G, C, K]` by the layer's name."""

    def begin(self, rows: Tensor, lengths: Tensor, width: int, *, prefix: "Cache | None" = None) -> "Reading":
        """New texts for some rows.

        Args:
            rows: `int64 [B]`.
            lengths: `int64 [B]`, tokens of each text.
            width: of the tokens that are read, with padding at the end.
            prefix: the first row of another cache; the texts begin with its tokens, which are counted in
                `lengths` and not in `width`.
        """
        self.lengths[rows] = lengths
        first = 0 if prefix is None else int(prefix.lengths[0])
        rows = rows.to(self._device)
        places = torch.arange(first, first + width, device=self._device).expand(len(rows), width)
        if prefix is None:
            return Reading(self, rows, places, 0, Scope())
        for name, (keys, values) in self.layers.items():
            prefix_keys, prefix_values = prefix.layers[name]
            keys[rows, :, :first] = prefix_keys[:1, :, :first]
            values[rows, :, :first] = prefix_values[:1, :, :first]
        return Reading(self, rows, places, first + width, scope_after(first, width, self._device))

    def read_more(self, width: int) -> "Reading":
        """`width` more tokens in every row, all of which are equally long."""
        first, rows = int(self.lengths[0]), len(self.lengths)
        self.lengths += width
        places = torch.arange(first, first + width, device=self._device).expand(rows, width)
        if not first:
            return Reading(self, None, places, 0, Scope())
        return Reading(self, None, places, first + width, scope_after(first, width, self._device))

    def copies(self, rows: int, capacity: int) -> "Cache":
        """Another cache, all rows of which begin with the tokens of the first one here."""
        keys, _ = self.layers["0"]
        other = Cache(self._config, rows, capacity, dtype=keys.dtype, device=self._device)
        length = int(self.lengths[0])
        other.lengths[:] = length
        for name, (keys, values) in self.layers.items():
            for mine, theirs in zip((keys, values), other.layers[name], strict=True):
                theirs[:, :, :length] = mine[:1, :, :length]
        return other

    def go_on(self) -> "Reading":
        """One more token in every row; in rows of length 0, which nobody looks at, too."""
        places = self.lengths.clamp(max=self.capacity - 1)
        # Empty rows stay empty.
        self.lengths = torch.where(self.lengths > 0, places + 1, 0)
        seen = int(places.max()) + 1
        mask = torch.arange(seen) <= places[:, None]
        return Reading(
            self,
            None,
            places[:, None].to(self._device),
            seen,
            Scope(mask[:, None, None].to(self._device)),
        )


class Reading(NamedTuple):
    """Tokens that a decoder reads into rows of a cache; a `Past`."""

    cache: Cache
    rows: Tensor | None
    """`int64 [B]`; None: all, in order."""
    positions: Tensor
    seen: int
    """How many places of each row attention looks at; 0: none but the new tokens, which are the first."""
    scope: Scope

    def layer(self, name: str) -> "LayerRows":
        """See `Past.layer`."""
        keys, values = self.cache.layers[name]
        return LayerRows(keys, values, self)


class LayerRows(NamedTuple):
    """One layer's part of a `Reading`."""

    keys: Tensor
    """`[R, G, C, K]`."""
    values: Tensor
    reading: Reading

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """See `LayerPast.extend`."""
        _, rows, places, seen, _ = self.reading
        at = torch.arange(len(places), device=places.device) if rows is None else rows
        self.keys[at[:, None], :, places] = k.transpose(1, 2).to(self.keys.dtype)
        self.values[at[:, None], :, places] = v.transpose(1, 2).to(self.values.dtype)
        if not seen:
            return k, v
        # Where all rows are read nothing has to be copied.
        keys, values = (self.keys, self.values) if rows is None else (self.keys[rows], self.values[rows])
        return keys[:, :, :seen].to(k.dtype), values[:, :, :seen].to(v.dtype)


class After(NamedTuple):
    """Tokens that follow the first row of a cache, and are not kept; a `Past`."""

    prefix: Cache
    positions: Tensor
    scope: Scope
    """With keys of the prefix first."""

    def layer(self, name: str) -> "LayerAfter":
        """See `Past.layer`."""
        keys, values = self.prefix.layers[name]
        length = int(self.prefix.lengths[0])
        return LayerAfter(keys[:1, :, :length], values[:1, :, :length])


class LayerAfter(NamedTuple):
    """One layer's part of an `After`."""

    keys: Tensor
    """`[1, G, P, K]`."""
    values: Tensor

    def extend(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """See `LayerPast.extend`."""
        shape = (len(k), -1, -1, -1)
        return (
            torch.cat([self.keys.to(k.dtype).expand(shape), k], dim=2),
            torch.cat([self.values.to(v.dtype).expand(shape), v], dim=2),
        )
