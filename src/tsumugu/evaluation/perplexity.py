"""Perplexity of documents, in units that can be compared, with standard errors.

Perplexity per token depends on the tokenizer: longer tokens, larger perplexity. Per character and
per byte it does not, so only those two (and bits per byte, the logarithm of the last) compare
models with different vocabularies.

What counts are the tokens of the text itself, each predicted once. What stands before the first one
is given, and the end of the document is not counted: not every model was trained to end there, and
lm-evaluation-harness does not count it either.
"""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.statistics import bootstrap_interval

ALL = "all"
"""Under which the figures of all sources together stand."""
_LARGEST = math.log(sys.float_info.max)
Reals = NDArray[np.float64]


@dataclass(frozen=True)
class Predicted:
    """A document, and what it cost a model to predict it."""

    id: str
    """The same for the same text: models are compared on documents with the same ids."""
    source: str
    nats: float
    """Minus the log-probability of its text."""
    tokens: int
    """That were predicted: those of the text, without what begins or ends a document."""
    characters: int
    bytes: int
    """Of the text as it was given, in UTF-8, whatever the tokenizer made of it."""


@dataclass(frozen=True)
class Difference:
    """How many bits per byte one model needs more than another on the same documents."""

    bits_per_byte: float
    """Below 0: fewer."""
    low: float | None
    high: float | None
    """The 95 % interval; None for a single document."""

    @property
    def excludes_zero(self) -> bool:
        """Whether one model is the better one beyond what other documents of the kind might change."""
        return self.low is not None and self.high is not None and (self.low > 0 or self.high < 0)


def summarize(documents: Sequence[Predicted]) -> dict[str, Any]:
    """Perplexities and bits per byte of documents taken together, with the errors of the latter.

    Bits per byte is a ratio of two sums over documents, R = sum(y) / sum(x), of bits y and bytes x.
    `bits_per_byte_stderr` is that of the linearised ratio of n documents drawn independently from many,

        sqrt(n / (n - 1) * sum((y - R x)^2)) / sum(x)

    (Cochran 1977, Sampling Techniques, 3rd edition, section 6.4, without the finite population
    correction), None for a single document. `bits_per_byte_interval` is a 95 % bootstrap interval
    over documents (Efron & Tibshirani 1993, chapter 13: percentiles, 2000 resamples); for a single
    document it has no width, which means nothing.

    Raises:
        TsumuguError: no document has a token.
    """
    tokens = sum(one.tokens for one in documents)
    characters = sum(one.characters for one in documents)
    total = math.fsum(one.nats for one in documents)
    if not tokens:
        raise TsumuguError("there is no token to predict: all texts are empty to this tokenizer")
    bits, lengths = _bits(documents), _lengths(documents)
    size = int(lengths.sum())
    ratio = total / size / math.log(2)
    return {
        "documents": len(documents),
        "tokens": tokens,
        "characters": characters,
        "bytes": size,
        "nats_per_token": total / tokens,
        "perplexity_per_token": _perplexity(total / tokens),
        "perplexity_per_character": _perplexity(total / characters),
        "perplexity_per_byte": _perplexity(total / size),
        "bits_per_byte": ratio,
        "bits_per_byte_stderr": _ratio_stderr(bits, lengths),
        "bits_per_byte_interval": list(bootstrap_interval(bits, lengths)),
    }


def summarize_sources(documents: Sequence[Predicted]) -> dict[str, dict[str, Any]]:
    """`summarize` of all documents, under "all", and of those of each source, in order of first sight.

    A source whose tokenizer finds nothing in it is left out, and so counts in "all" alone.
    """
    by_source: dict[str, list[Predicted]] = {}
    for one in documents:
        # A source may be called anything.
        name = f"{ALL} (source)" if one.source == ALL else one.source
        by_source.setdefault(name, []).append(one)
    found = {ALL: summarize(documents)}
    for name, several in by_source.items():
        if any(one.tokens for one in several):
            found[name] = summarize(several)
    return found


def paired_difference(a: Sequence[Predicted], b: Sequence[Predicted], *, seed: int = 0) -> Difference:
    """How many bits per byte `b` needs more than `a`, two models on the same documents.

    The interval is a paired bootstrap over documents: a resample takes both models' results on the
    documents that it draws, so that what is hard for both does not blur the difference.

    Raises:
        TsumuguError: they are not the same documents.
    """
    mine = {one.id: one for one in a}
    theirs = {one.id: one for one in b}
    alone = [*(mine.keys() - theirs.keys()), *(theirs.keys() - mine.keys())]
    if alone or len(a) != len(b) or len(mine) != len(a):
        raise TsumuguError(
            f"two models can be compared on the same documents only, and these are not ({len(a)} and "
            f"{len(b)}, {len(alone)} of them on one side alone). Evaluate both on the same texts, with one "
            f"--limit"
        )
    pairs = [(one, theirs[one.id]) for one in a]
    for one, other in pairs:
        if one.bytes != other.bytes:
            raise TsumuguError(
                f"document {one.id} has {one.bytes} bytes on one side and {other.bytes} on the other. "
                f"Evaluate both models on the same texts again"
            )
    lengths = _lengths(a)
    bits = _bits([other for _, other in pairs]) - _bits(a)
    value = float(bits.sum() / lengths.sum())
    if len(pairs) == 1:
        return Difference(value, None, None)
    return Difference(value, *bootstrap_interval(bits, lengths, seed=seed))


def _perplexity(nats: float) -> float:
    """A diverged model's may be larger than any number here, and JSON has no infinity."""
    return math.exp(nats) if nats < _LARGEST else sys.float_info.max


def _bits(documents: Sequence[Predicted]) -> Reals:
    return np.array([one.nats for one in documents], dtype=np.float64) / math.log(2)


def _lengths(documents: Sequence[Predicted]) -> Reals:
    return np.array([one.bytes for one in documents], dtype=np.float64)


def _ratio_stderr(bits: Reals, lengths: Reals) -> float | None:
    count = len(bits)
    if count < 2:
        return None
    residuals = bits - bits.sum() / lengths.sum() * lengths
    return float(np.sqrt(count / (count - 1) * np.sum(residuals**2)) / lengths.sum())
