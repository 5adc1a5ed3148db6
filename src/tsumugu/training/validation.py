"""The validation loss along the way: always of the same held-out sequences, on all processes together."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsumugu.tokens.loader import Batch
from tsumugu.tokens.shards import TokenStream
from tsumugu.training.parallelize import ParallelModel
from tsumugu.training.step import mean_loss, micro_batches

_TOGETHER = 8
"""Micro-batches between two looks at who was asked to stop."""


@dataclass(frozen=True)
class Validation:
    """What this process reads of the held-out sequences."""

    batch: Batch
    micro_batch_size: int
    bytes: int
    """UTF-8 bytes that all the targets of all processes stand for; 0 if unknown."""


def held_out(
    stream: TokenStream,
    *,
    sequence_length: int,
    sequences: int,
    micro_batch_size: int,
    part: tuple[int, int] = (0, 1),
    byte_lengths: NDArray[np.int64] | None = None,
) -> Validation:
    """The first `sequences` sequences of the held-out tokens, or as many as there are.

    Args:
        stream: the validation split.
        sequence_length: tokens that the model sees at once; of a shorter split, all.
        sequences: at most so many.
        micro_batch_size: sequences in one forward pass.
        part: (this process's number, the number of parts) when processes share the sequences. All parts
            have equally many; rows that do not count fill them up.
        byte_lengths: `int64 [V]`, bytes that each token stands for.
    """
    length = min(sequence_length, stream.tokens - 1)
    count = max(1, min(sequences, (stream.tokens - 1) // length))
    number, parts = part
    share = math.ceil(count / parts / micro_batch_size) * micro_batch_size
    tokens = np.zeros((share, sequence_length + 1), dtype=np.int64)
    mask = np.zeros((share, sequence_length), dtype=bool)
    for row, index in enumerate(range(number * share, min(count, (number + 1) * share))):
        tokens[row, : length + 1] = stream.read(index * length, length + 1)
        mask[row, :length] = True
    size = 0
    if byte_lengths is not None:
        size = int(byte_lengths[stream.read(1, count * length)].sum())
    return Validation(Batch(tokens, mask), micro_batch_size, size)


def validation_loss(
    model: ParallelModel, validation: Validation, *, asked_to_stop: Callable[[], bool] = lambda: False
) -> dict[str, float] | None:
    """The mean loss per token in nats, and the bits per byte of the text.

    Args:
        model: on all processes.
        validation: what this one reads.
        asked_to_stop: whether this process was; looked at now and then.

    Returns:
        None, on all processes, if any was asked to stop before the end.
    """
    model.eval()
    batches = micro_batches(validation.batch, validation.micro_batch_size, model)
    total, targets = 0.0, 0
    for start in range(0, len(batches), _TOGETHER):
        result = mean_loss(model, batches[start : start + _TOGETHER], stop=asked_to_stop)
        if result.signals:
            return None
        total += result.loss * result.targets
        targets += result.targets
    found = {"validation_loss": total / targets}
    if validation.bytes:
        found["validation_bits_per_byte"] = total / math.log(2) / validation.bytes
    return found
