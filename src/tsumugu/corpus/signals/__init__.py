"""Numbers measured on documents, a batch at a time; nothing here decides anything.

Each module measures a group of signals in one walk over the batch's code points, and its
docstring defines them. `measure` runs the groups that are wanted.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np

from tsumugu.corpus.signals import (
    bulletins,
    characters,
    compression,
    language,
    lines,
    morphology,
    ngrams,
    sentences,
    words,
)
from tsumugu.corpus.signals.batch import Batch, Column, make_batch, portions

__all__ = ["GROUPS", "Batch", "Column", "Group", "make_batch", "measure"]


@dataclass(frozen=True)
class Group:
    """Signals that are measured together."""

    names: tuple[str, ...]
    measure: Callable[[Batch], dict[str, Column]]


GROUPS = (
    Group(characters.NAMES, characters.measure),
    Group(lines.NAMES, lines.measure),
    Group(sentences.NAMES, sentences.measure),
    Group(ngrams.NAMES, ngrams.measure),
    # The group before measures these, too, but takes longer.
    Group(ngrams.REPETITION_NAMES, ngrams.measure_repetition),
    Group(words.NAMES, words.measure),
    Group(words.ENGLISH_NAMES, words.measure_english),
    Group(bulletins.NAMES, bulletins.measure),
    Group(compression.NAMES, compression.measure),
    Group(language.NAMES, language.measure),
    Group(morphology.NAMES, morphology.measure),
)


def measure(texts: Sequence[str], wanted: Collection[str]) -> dict[str, Column]:
    """The groups that hold any of the `wanted` signals, one column `float64 [texts]` for each name."""
    parts = [_measure(make_batch(texts[start:end]), wanted) for start, end in portions(texts)]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _measure(batch: Batch, wanted: Collection[str]) -> dict[str, Column]:
    columns: dict[str, Column] = {}
    for group in GROUPS:
        if not set(group.names).isdisjoint(set(wanted) - columns.keys()):
            columns |= group.measure(batch)
    return columns
