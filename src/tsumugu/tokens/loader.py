"""The batches that training reads.

Which tokens make batch k is a pure function of (seed, mixture, packing, sequence length, batch
size, k). Sample n = k * batch_size + row; `mixture.py` says which source it comes from and its
number there; that number is an epoch and a position; a permutation keyed by seed, source and epoch
takes the position to one of the source's sequences; and `sequences.py` finds the tokens in mapped
files. So the state of the loader is one integer, going on after a stop costs nothing, and devices,
workers and layouts change nothing about the order: every process reads its share of the samples.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from tsumugu.tokens.mixture import Mixture, split_samples
from tsumugu.tokens.permutation import derived_keys, hash_key, mixed, permuted
from tsumugu.tokens.sequences import Sequences, Span, each_span

_BLOCK = 4096
"""Samples whose places are computed together: alone, they would take longer than reading the tokens."""


@dataclass(frozen=True)
class Batch:
    """What one optimizer step reads: B rows of T inputs and T targets."""

    tokens: NDArray[np.int64]
    """`int64 [B, T + 1]`: inputs are the first T columns, targets the last T."""
    loss_mask: NDArray[np.bool_] | None = None
    """`bool [B, T]`: whether a target counts in the loss; None when all do."""
    cu_seqlens: NDArray[np.int32] | None = None
    """`int32 [n + 1]`: where documents begin in the B * T flattened inputs, 0 first and B * T last, as
    `flash_attn_varlen_func` takes them. Every row begins one, and padding is one of its own."""
    position_ids: NDArray[np.int64] | None = None
    """`int64 [B, T]`: each input's place in its document's part of the row."""


@dataclass(frozen=True)
class Row:
    """Where one row of a batch comes from."""

    sample: int
    source: int
    """Which of the loader's sources."""
    epoch: int
    """From 0."""
    sequence: int
    """Which of the source's sequences."""
    shift: int
    spans: list[Span]


@dataclass(frozen=True)
class Loader:
    """Batches by number."""

    sources: Sequence[Sequences]
    """As in `mixture.names`."""
    mixture: Mixture
    seed: int
    batch_size: int
    sequence_length: int
    padding_id: int
    """Stands where a sequence of best-fit packing is not full."""
    document_boundaries: bool = False

    def batch(self, index: int) -> Batch:
        """Batch number `index`, from 0: the one of training step `index + 1` if all are equally large."""
        first = index * self.batch_size
        return self.read([range(first, first + self.batch_size)])

    def read(self, samples: Sequence[range]) -> Batch:
        """The batch of these samples, in their order."""
        rows = self.rows(samples)
        width = self.sequence_length + 1
        tokens = np.empty((len(rows), width), dtype=np.int64)
        filled = np.empty(len(rows), dtype=np.int64)
        for place, row in enumerate(rows):
            end = 0
            for start, span in each_span(row.spans):
                end = start + span.length
                tokens[place, start:end] = span.shard.tokens[span.start : span.start + span.length]
            tokens[place, end:] = self.padding_id
            filled[place] = end
        mask = np.arange(1, width) < filled[:, None] if (filled < width).any() else None
        if not self.document_boundaries:
            return Batch(tokens, mask)
        return self._with_boundaries(tokens, mask, rows, filled)

    def rows(self, samples: Sequence[range]) -> list[Row]:
        """Where these samples come from, in their order."""
        return [row for numbers in samples for row in self._rows(numbers.start, len(numbers))]

    def _rows(self, first: int, count: int) -> list[Row]:
        last = first + count
        blocks = [self._block(number) for number in range(first // _BLOCK, (last - 1) // _BLOCK + 1)]
        skipped = first // _BLOCK * _BLOCK
        places = np.concatenate(blocks)[first - skipped : last - skipped]
        return [
            Row(first + place, source, epoch, sequence, shift, self.sources[source].spans(sequence, shift))
            for place, (source, epoch, sequence, shift) in enumerate(places.tolist())
        ]

    @cached_property
    def _block(self) -> Callable[[int], NDArray[np.int64]]:
        """The places of `_BLOCK` samples; those of the last few blocks are kept."""
        return lru_cache(2)(lambda number: self._places(number * _BLOCK, _BLOCK))

    def _places(self, first: int, count: int) -> NDArray[np.int64]:
        """Source, epoch, sequence and shift of samples `first` to `first + count`: `int64 [count, 4]`."""
        places = np.empty((count, 4), dtype=np.int64)
        sources, numbers = split_samples(np.arange(first, first + count), self.mixture.shares)
        for source, (name, size) in enumerate(
            zip(self.mixture.names, self.mixture.sizes.tolist(), strict=True)
        ):
            own = np.flatnonzero(sources == source)
            epochs, positions = np.divmod(numbers[own], size)
            keys = derived_keys(np.array([hash_key("order", self.seed, name)], dtype=np.uint64), epochs)
            places[own, 0] = source
            places[own, 1] = epochs
            places[own, 2] = permuted(positions, size, keys)
            places[own, 3] = mixed(~keys) % np.uint64(self.sequence_length)
        return places

    def _with_boundaries(
        self,
        tokens: NDArray[np.int64],
        mask: NDArray[np.bool_] | None,
        rows: list[Row],
        filled: NDArray[np.int64],
    ) -> Batch:
        length = self.sequence_length
        begins = np.zeros(tokens.shape, dtype=bool)
        for place, row in enumerate(rows):
            begins[place, self.sources[row.source].boundaries(row.sequence, row.shift)] = True
            begins[place, filled[place] : filled[place] + 1] = True
        # Nothing that a position may see tells how another document begins.
        seen = ~begins[:, 1:]
        begins[:, 0] = True
        starts = np.flatnonzero(begins[:, :length])
        cu_seqlens = np.append(starts, len(rows) * length).astype(np.int32)
        lengths = np.diff(cu_seqlens)
        positions = np.arange(len(rows) * length) - np.repeat(starts, lengths)
        return Batch(
            tokens,
            seen if mask is None else mask & seen,
            cu_seqlens,
            positions.reshape(len(rows), length),
        )
