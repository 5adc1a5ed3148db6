"""Log-probabilities of token sequences under a decoder: what every score here is made of."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from tqdm import tqdm

from tsumugu.model.decoder import Decoder
from tsumugu.training.device import autocast

Ids = NDArray[np.int64]


@dataclass(frozen=True)
class Window:
    """Tokens that go through the model at once; those from `first` on are scored."""

    owner: int
    """Which sequence the tokens are from."""
    tokens: Ids
    first: int


@dataclass(frozen=True)
class Scored:
    """What a model thinks of a sequence."""

    log_probability: float
    """Sum over the scored tokens, in nats."""
    greedy: bool
    """Whether each scored token was the most probable one."""


def windows(owner: int, tokens: Ids, *, first: int, length: int) -> Iterator[Window]:
    """Cut `tokens` so that every token from `first` on is scored once.

    A window holds at most `length + 1` tokens (inputs and the last target); after the first one,
    half of a window is context, so no token is judged without what stood before it.
    """
    end = min(len(tokens), max(length, first) + 1)
    yield Window(owner, tokens[max(0, end - length - 1) : end], first - max(0, end - length - 1))
    while end < len(tokens):
        scored_from, end = end, min(len(tokens), end + length // 2)
        start = max(0, end - length - 1)
        yield Window(owner, tokens[start:end], scored_from - start)


@torch.no_grad()
def score(
    model: Decoder,
    sequences: Sequence[tuple[Ids, int]],
    *,
    length: int,
    batch_size: int,
    description: str,
) -> list[Scored]:
    """Score each `(tokens, first)`: the tokens from position `first >= 1` on, given those before.

    Args:
        model: in evaluation mode.
        sequences: `int64 [n]` each, `<s>` first.
        length: tokens that the model sees at once.
        batch_size: windows in one forward pass; windows of like length share one.
        description: for the progress bar.
    """
    device = next(model.parameters()).device
    every = [
        w
        for i, (tokens, first) in enumerate(sequences)
        for w in windows(i, tokens, first=first, length=length)
    ]
    every.sort(key=lambda window: -len(window.tokens))
    totals = np.zeros(len(sequences))
    greedy = np.ones(len(sequences), dtype=bool)
    for begin in tqdm(range(0, len(every), batch_size), desc=description, unit="batch"):
        group = every[begin : begin + batch_size]
        padded = torch.zeros(len(group), len(group[0].tokens), dtype=torch.long)
        for row, window in enumerate(group):
            padded[row, : len(window.tokens)] = torch.from_numpy(window.tokens)
        padded = padded.to(device)
        # Attention is causal and the padding stands at the end, so it reaches no scored token.
        with autocast(device):
            logits = model(padded[:, :-1])
        targets = padded[:, 1:]
        # Two dimensions: the deterministic kernels of a GPU know no others.
        losses = F.cross_entropy(logits.float().flatten(0, 1), targets.flatten(), reduction="none")
        nats = -losses.view(targets.shape).double().cpu()
        best = (logits.argmax(-1) == targets).cpu()
        for row, window in enumerate(group):
            scored = slice(window.first - 1, len(window.tokens) - 1)
            totals[window.owner] += float(nats[row, scored].sum())
            greedy[window.owner] &= bool(best[row, scored].all())
    return [Scored(float(total), bool(is_greedy)) for total, is_greedy in zip(totals, greedy, strict=True)]
