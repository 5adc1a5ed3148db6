"""The next token, from the logits of all: greedy, or drawn from a distribution that settings cut.

The definitions are those of transformers (`generation/logits_process.py`), in its order: repetition
penalty, temperature, top-k, top-p, min-p. So a model's `generation_config.json` means the same here.
Draws are made on the CPU, so that a seed means the same on every device that computes the same logits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from tsumugu.errors import TsumuguError


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. The defaults leave the model's own distribution as it is.

    Raises:
        TsumuguError: a value has no meaning.
    """

    temperature: float = 1.0
    """Logits are divided by it; 0: always the likeliest token."""
    top_k: int = 0
    """Only the k likeliest tokens (Fan et al. 2018); 0: all."""
    top_p: float = 1.0
    """Only the likeliest tokens that together have this probability (Holtzman et al. 2019)."""
    min_p: float = 0.0
    """Only tokens with at least this share of the likeliest one's probability (Nguyen et al. 2024)."""
    repetition_penalty: float = 1.0
    """Logits of tokens that the text holds are divided by it, and multiplied where they are negative
    (Keskar et al. 2019). The prompt counts."""

    def __post_init__(self) -> None:
        wrong = [
            f"{name} = {value} is not {what}"
            for name, value, holds, what in (
                ("temperature", self.temperature, 0 <= self.temperature < float("inf"), "0 or more"),
                ("top_k", self.top_k, self.top_k >= 0, "0 (all) or more"),
                ("top_p", self.top_p, 0 < self.top_p <= 1, "above 0 and at most 1"),
                ("min_p", self.min_p, 0 <= self.min_p <= 1, "between 0 and 1"),
                (
                    "repetition_penalty",
                    self.repetition_penalty,
                    0 < self.repetition_penalty < float("inf"),
                    "above 0",
                ),
            )
            if not holds
        ]
        if wrong:
            raise TsumuguError("; ".join(wrong))


def choose(
    logits: Tensor, sampling: Sampling, *, seen: Tensor, generators: Sequence[torch.Generator]
) -> Tensor:
    """The next token of each row.

    Args:
        logits: `float32 [B, V]`.
        sampling: how.
        seen: `bool [B, V]`, the tokens that each row's text holds.
        generators: one for each row, on the CPU; not touched where nothing is drawn.

    Returns:
        `int64 [B]` on the CPU.

    Raises:
        TsumuguError: the logits are no numbers.
    """
    logits = penalise(logits, seen, sampling.repetition_penalty)
    if not bool(torch.isfinite(logits.amax(-1)).all()):
        raise TsumuguError(
            "the model's logits are not numbers (NaN or infinite): its weights are damaged, or overflow"
        )
    if sampling.temperature == 0:
        return logits.argmax(-1).cpu()
    probabilities = warp(logits, sampling).softmax(-1).cpu()
    drawn = [
        torch.multinomial(row, 1, generator=generator)
        for row, generator in zip(probabilities, generators, strict=True)
    ]
    return torch.cat(drawn)


def penalise(logits: Tensor, seen: Tensor, penalty: float) -> Tensor:
    """Logits `[B, V]` after the repetition penalty."""
    if penalty == 1:
        return logits
    return torch.where(seen, torch.where(logits < 0, logits * penalty, logits / penalty), logits)


def warp(logits: Tensor, sampling: Sampling) -> Tensor:
    """Logits `[B, V]` after temperature (above 0), top-k, top-p and min-p: -inf is never drawn."""
    if sampling.temperature != 1:
        logits = logits / sampling.temperature
    if sampling.top_k:
        kept = logits.topk(min(sampling.top_k, logits.shape[-1])).values
        logits = logits.masked_fill(logits < kept[:, -1:], -torch.inf)
    if sampling.top_p < 1:
        ordered, places = logits.sort(dim=-1)
        out = ordered.softmax(-1).cumsum(-1) <= 1 - sampling.top_p
        out[:, -1] = False
        logits = logits.masked_fill(out.scatter(1, places, out), -torch.inf)
    if sampling.min_p:
        probabilities = logits.softmax(-1)
        out = probabilities < sampling.min_p * probabilities.amax(-1, keepdim=True)
        out.scatter_(-1, probabilities.argmax(-1, keepdim=True), False)
        logits = logits.masked_fill(out, -torch.inf)
    return logits
