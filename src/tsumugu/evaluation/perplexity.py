"""Perplexity of held-out documents, in units that can be compared.

Perplexity per token depends on the tokenizer: longer tokens, larger perplexity. Per character and
per byte it does not, so only those two (and bits per byte, the logarithm of the last) compare
models with different vocabularies. A document's probability includes the end of the document.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_RESAMPLES = 1000


@dataclass(frozen=True)
class HeldOut:
    """The lengths of the held-out documents, each counted as a document's log-probability is."""

    tokens: tuple[int, ...]
    """Predicted tokens: all but `<s>`."""
    characters: tuple[int, ...]
    bytes: tuple[int, ...]
    """UTF-8 bytes of the text."""


def summarize(log_probabilities: Sequence[float], held_out: HeldOut) -> dict[str, Any]:
    """Perplexities and bits per byte of documents with these log-probabilities (nats).

    `bits_per_byte_interval` is a 95 % bootstrap interval over documents.
    """
    nats = -np.array(log_probabilities)
    lengths = np.array(held_out.bytes)
    generator = np.random.default_rng(0)
    drawn = generator.integers(0, len(nats), size=(_RESAMPLES, len(nats)))
    resampled = nats[drawn].sum(1) / lengths[drawn].sum(1) / math.log(2)
    total = float(nats.sum())
    return {
        "nats_per_token": total / sum(held_out.tokens),
        "perplexity_per_token": math.exp(total / sum(held_out.tokens)),
        "perplexity_per_character": math.exp(total / sum(held_out.characters)),
        "perplexity_per_byte": math.exp(total / sum(held_out.bytes)),
        "bits_per_byte": total / sum(held_out.bytes) / math.log(2),
        "bits_per_byte_interval": [float(value) for value in np.percentile(resampled, [2.5, 97.5])],
    }
