"""Memory-mapped token shards, and the batches that training reads from them.

Which tokens make batch k is a pure function of (seed, k): the stream of all tokens is cut into
windows, and a keyed permutation says which window is the n-th of an epoch. So the loader's whole
state is one integer, going on after a stop costs nothing, and the number of devices or workers
changes nothing about the order of the data.
"""

import numpy as np
import xxhash
from numpy.typing import NDArray

from tsumugu.errors import TsumuguError
from tsumugu.tokens.shards import TokenStream

_ROUNDS = 4


def batch(
    stream: TokenStream, index: int, *, batch_size: int, sequence_length: int, seed: int
) -> NDArray[np.int64]:
    """Batch number `index`, as `int64 [batch_size, sequence_length + 1]`.

    Inputs are the first `sequence_length` columns and targets the last. Within an epoch every
    window is read once; every epoch cuts the stream at another place.

    Raises:
        TsumuguError: the stream is shorter than two sequences.
    """
    windows = (stream.tokens - sequence_length) // sequence_length
    if windows < 1:
        raise TsumuguError(
            f"{stream.tokens} training tokens are too few for sequences of {sequence_length}; "
            f"choose a smaller pretrain.sequence_length, or add documents"
        )
    rows = []
    for sample in range(index * batch_size, (index + 1) * batch_size):
        epoch, position = divmod(sample, windows)
        shift = _hash("shift", seed, epoch) % sequence_length
        start = permuted(position, windows, key=_hash("order", seed, epoch)) * sequence_length + shift
        rows.append(stream.read(start, sequence_length + 1))
    return np.stack(rows)


def permuted(position: int, size: int, *, key: int) -> int:
    """Where a keyed permutation of `range(size)` takes `position`, in constant memory.

    A Feistel network on the next power of four, walked until it lands inside `range(size)`
    (Black & Rogaway 2002, "Ciphers with arbitrary finite domains").
    """
    half_bits = max(1, ((size - 1).bit_length() + 1) // 2)
    mask = (1 << half_bits) - 1
    while True:
        left, right = position >> half_bits, position & mask
        for number in range(_ROUNDS):
            left, right = right, left ^ (_hash(right, number, key) & mask)
        position = left << half_bits | right
        if position < size:
            return position


def _hash(*parts: str | int) -> int:
    return xxhash.xxh3_64_intdigest("\0".join(map(str, parts)).encode())
