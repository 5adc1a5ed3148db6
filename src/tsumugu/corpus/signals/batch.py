"""A batch of texts as one array of code points, which is what the kernels walk over."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_AT_ONCE = 2**16
"""Characters: their code points and hashes stay in the cache, and no fresh memory is asked for."""


@dataclass(frozen=True)
class Batch:
    """Texts, their code points in a row, and where each text begins and ends.

    `codes` is `uint32 [characters]`, `offsets` is `int64 [texts + 1]`.
    """

    texts: Sequence[str]
    codes: NDArray[np.uint32]
    offsets: NDArray[np.int64]


def make_batch(texts: Sequence[str]) -> Batch:
    """Join `texts` and view them as code points."""
    return Batch(texts, *code_points(texts))


def portions(texts: Sequence[str]) -> Iterator[tuple[int, int]]:
    """Begin and end of neighbours that are walked over together, whatever the size of the batch; at
    least one portion, which may be empty."""
    start = characters = 0
    for index, text in enumerate(texts):
        characters += len(text)
        if characters >= _AT_ONCE:
            yield start, index + 1
            start, characters = index + 1, 0
    if start < len(texts) or not texts:
        yield start, len(texts)


def code_points(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """All texts as one array of code points, and the offsets at which each begins and ends.

    Returns:
        `uint32 [characters]` and `int64 [texts + 1]`.
    """
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    # Half of a surrogate pair is a code point like any other here.
    joined = "".join(texts).encode("utf-32-le", "surrogatepass")
    return np.frombuffer(joined, dtype=np.uint32), offsets


Column = NDArray[np.float64]
"""One value for every text of a batch; NaN where a signal has no value."""
