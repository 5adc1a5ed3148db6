"""How often each id stands in the training tokens: `frequencies.npy`, `int64 [vocab_size]`.

Counted where a shard is written, so that its tokens are not read again, and summed by the stage.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsumugu.files import write_aside

FREQUENCIES = "frequencies.npy"


def count_ids(ids: NDArray[np.integer], vocab_size: int) -> NDArray[np.int64]:
    """How often each id occurs: `int64 [vocab_size]`."""
    return np.bincount(ids, minlength=vocab_size).astype(np.int64, copy=False)


def frequencies_of(output: Path) -> Path:
    """The file beside the facts of one unit of work."""
    return output.with_suffix(".npy")


def write_frequencies(path: Path, frequencies: NDArray[np.int64]) -> None:
    """Write `int64 [vocab_size]`, atomically."""
    with write_aside(path) as aside, aside.open("wb") as stream:
        np.save(stream, frequencies)


def sum_frequencies(paths: Sequence[Path], vocab_size: int) -> NDArray[np.int64]:
    """The sum of files that `write_frequencies` wrote, `int64 [vocab_size]`."""
    total = np.zeros(vocab_size, dtype=np.int64)
    for path in paths:
        total += np.load(path)
    return total


def read_frequencies(folder: Path) -> NDArray[np.int64]:
    """How often each id stands in the training tokens of a `tokens` folder: `int64 [vocab_size]`."""
    frequencies: NDArray[np.int64] = np.load(folder / FREQUENCIES)
    return frequencies
