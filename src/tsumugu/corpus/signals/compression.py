"""compression_ratio: how far DEFLATE shrinks a document, as a measure of repetition.

Bytes after `zlib` level 9, of UTF-8 bytes before (llm-jp-corpus v1, has_good_compression_ratio:
0.30 to 0.70 is natural text). No value for an empty text.
"""

import zlib
from typing import get_args

import numpy as np

from tsumugu.corpus.signal_names import CompressionSignal
from tsumugu.corpus.signals.batch import Batch, Column

NAMES: tuple[str, ...] = get_args(CompressionSignal)


def measure(batch: Batch) -> dict[str, Column]:
    """The column `compression_ratio`."""
    return {"compression_ratio": np.array([_ratio(text.encode()) for text in batch.texts], dtype=np.float64)}


def _ratio(raw: bytes) -> float:
    return len(zlib.compress(raw, level=9)) / len(raw) if raw else float("nan")
