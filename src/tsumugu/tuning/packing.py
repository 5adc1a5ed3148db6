"""Conversations to rows, and rows to batches in which no conversation sees another.

TRL packs too, but leaves it to the attention kernel to keep conversations apart: it hands over
`position_ids` that begin again, and only FlashAttention's kernels are sure to look at them. Here every
batch carries the mask itself, `[rows, 1, length, length]`, which transformers passes on as it is to
PyTorch's attention on any device. Rows of one conversation go the same way.

Packing is best-fit decreasing (Ding et al. 2024), by the tokens room's own function.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import torch
import xxhash

from tsumugu.tokens.packing import pack
from tsumugu.tuning.template import Encoded

IGNORED = -100
"""The label of a token that is not learned."""


@dataclass(frozen=True)
class Row:
    """One or several conversations, one after the other."""

    input_ids: tuple[int, ...]
    labels: tuple[int, ...]
    lengths: tuple[int, ...]
    """Of the conversations."""


def make_rows(conversations: Sequence[Encoded], *, max_length: int, packing: bool) -> list[Row]:
    """Rows of at most `max_length` tokens; the conversations may not be longer."""
    if not packing:
        return [_row([one]) for one in conversations]
    lengths = [len(one.ids) for one in conversations]
    assert max(lengths, default=0) <= max_length
    offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
    pieces, sequences = pack(offsets, max_length)
    # No conversation is longer than a row, so a piece is one of them, known by where it begins.
    places = np.searchsorted(offsets[:-1], pieces[:, 0])
    return [_row([conversations[place] for place in places[start:end]]) for start, end in pairwise(sequences)]


def unlearned(row: Row) -> Row:
    """The same row, with nothing in it to learn."""
    return replace(row, labels=(IGNORED,) * len(row.labels))


def epochs_of(rows: int, *, epochs: int, seed: int) -> list[int]:
    """The order in which rows are read: each once in every epoch, a pure function of the seed."""
    order: list[int] = []
    for epoch in range(epochs):
        drawn = [xxhash.xxh3_128_digest(f"tune\0{seed}\0{epoch}\0{row}".encode()) for row in range(rows)]
        order += sorted(range(rows), key=drawn.__getitem__)
    return order


def collate(rows: Sequence[dict[str, Any]], *, pad_id: int) -> dict[str, torch.Tensor]:
    """Rows (`input_ids`, `labels`, `lengths`) as one batch.

    Returns:
        `input_ids`, `labels`, `position_ids` int64 `[rows, length]`, and `attention_mask` bool
        `[rows, 1, length, length]`: whether the token of the third index sees that of the fourth.
    """
    length = max(len(row["input_ids"]) for row in rows)
    shape = (len(rows), length)
    ids = torch.full(shape, pad_id)
    labels = torch.full(shape, IGNORED)
    positions = torch.zeros(shape, dtype=torch.int64)
    # Padding belongs to no conversation, and must see something: itself and padding before it.
    owners = torch.full(shape, -1)
    for index, row in enumerate(rows):
        end = len(row["input_ids"])
        ids[index, :end] = torch.tensor(row["input_ids"])
        labels[index, :end] = torch.tensor(row["labels"])
        lengths = torch.tensor(row["lengths"])
        owners[index, :end] = torch.repeat_interleave(torch.arange(len(lengths)), lengths)
        positions[index, :end] = torch.cat([torch.arange(each) for each in row["lengths"]])
    same = owners[:, :, None] == owners[:, None, :]
    mask = same & torch.ones(length, length, dtype=torch.bool).tril()
    return {"input_ids": ids, "labels": labels, "position_ids": positions, "attention_mask": mask[:, None]}


def _row(conversations: Sequence[Encoded]) -> Row:
    return Row(
        input_ids=tuple(id_ for one in conversations for id_ in one.ids),
        labels=tuple(label for one in conversations for label in one.labels),
        lengths=tuple(len(one.ids) for one in conversations),
    )
