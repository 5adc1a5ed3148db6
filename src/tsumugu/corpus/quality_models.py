"""What models that the user brings say of a document's quality.

- quality_score: a fastText classifier's probability of one label; or, when the recipe names none,
  the mean of labels that are numbers (`__label__0`, `__label__1`, ...), weighted by their
  probabilities, as in the Swallow corpus, version 2. It reads the whole text as one line.
- quality_perplexity: of a KenLM model; kenlm_models.py defines it.

No value for a blank text, and none without a model; a score of 0 for a text of which the classifier
knows no word. A worker loads a model once.
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from tsumugu.corpus.config import FastTextModel, KenLMModel, QualityConfig
from tsumugu.corpus.fasttext_models import label_probabilities, read_labels
from tsumugu.corpus.kenlm_models import LanguageModel, open_model, perplexity
from tsumugu.corpus.signals.batch import Column
from tsumugu.errors import TsumuguError

_PREFIX = "__label__"


def check(config: QualityConfig) -> None:
    """Find out before any work is done whether the models can be used.

    Raises:
        TsumuguError: a file is missing or damaged, has no such label, or KenLM is not installed.
    """
    if config.fasttext:
        _label_values(config.fasttext)
    if config.kenlm:
        open_model(config.kenlm)


def measure(texts: Sequence[str], config: QualityConfig) -> dict[str, Column]:
    """The columns of the models that `config` names."""
    columns: dict[str, Column] = {}
    if config.fasttext:
        columns["quality_score"] = np.array([_score(text, config.fasttext) for text in texts], dtype=float)
    if config.kenlm:
        model = _kenlm(config.kenlm)
        columns["quality_perplexity"] = np.array([perplexity(model, text) for text in texts], dtype=float)
    return columns


def _score(text: str, config: FastTextModel) -> float:
    if not text.strip():
        return float("nan")
    model, values = _fasttext(config)
    found = label_probabilities(model, text)
    return sum(value * found.get(label, 0.0) for label, value in values.items())


@cache
def _fasttext(config: FastTextModel) -> tuple[Any, dict[str, float]]:
    import fasttext

    values = _label_values(config)
    return fasttext.load_model(config.path), values


@cache
def _kenlm(config: KenLMModel) -> LanguageModel:
    return open_model(config)


def _label_values(config: FastTextModel) -> dict[str, float]:
    """What each label counts for in the score.

    Raises:
        TsumuguError: the file is missing or damaged, or has no such label.
    """
    try:
        labels = read_labels(Path(config.path))
    except (OSError, ValueError) as error:
        raise TsumuguError(f"corpus.quality.fasttext.path: {config.path} cannot be used: {error}") from error
    some = ", ".join(labels[:10]) + (", ..." if len(labels) > 10 else "")
    if config.label is not None:
        if config.label not in labels:
            raise TsumuguError(
                f"corpus.quality.fasttext.label: {config.path} has no label {config.label!r}; it has {some}"
            )
        return {config.label: 1.0}
    try:
        return {label: float(label.removeprefix(_PREFIX)) for label in labels}
    except ValueError:
        raise TsumuguError(
            f"corpus.quality.fasttext.label: name the label whose probability is the score; "
            f"{config.path} has {some}"
        ) from None
