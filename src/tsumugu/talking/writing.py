"""What a model writes after a prompt, piece by piece, in one or several samples at once.

The prompt is read once. Each sample has a generator of its own, seeded by the seed and its number, so
that the first sample is the same however many are asked for. Samples end by themselves, at a stop
text, after enough tokens, or where the model can see no further.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from tsumugu.errors import TsumuguError
from tsumugu.talking.memory import Memory
from tsumugu.talking.sampling import Sampling, choose
from tsumugu.talking.spelling import Spelling, Text

Reason = Literal["end", "stop", "length", "context"]
"""A token that ends texts; a stop text; enough tokens; the model's last position."""


@dataclass(frozen=True)
class Settings:
    """How it is written."""

    sampling: Sampling = field(default_factory=Sampling)
    max_new_tokens: int = 256
    stops: tuple[str, ...] = ()
    """Texts that end a sample and are no part of it."""
    seed: int = 0


@dataclass(frozen=True)
class Voice:
    """What is needed to write, beside a memory."""

    spelling: Spelling
    ends: frozenset[int]
    """Tokens that end a text."""
    max_length: int
    """Tokens that the model sees at once."""


@dataclass(frozen=True)
class Piece:
    """Some more text of a sample."""

    sample: int
    text: str
    """Whole characters; may be empty in the last piece."""
    ended: Reason | None = None
    """In a sample's last piece: why."""
    tokens: tuple[int, ...] = ()
    """In a sample's last piece: all its tokens, the one that ended it included."""


def stream(
    memory: Memory, prompt: Sequence[int], settings: Settings, *, voice: Voice, samples: int = 1
) -> Iterator[Piece]:
    """Write after a prompt.

    Args:
        memory: of the model; what it knows of the prompt's beginning is not read again.
        prompt: at least one token.
        settings: how.
        voice: what tokens stand for, and which end a text.
        samples: how many.

    Yields:
        Pieces of all samples, as they come.

    Raises:
        TsumuguError: the prompt leaves no room.
    """
    room = voice.max_length - len(prompt)
    if room < 1:
        raise TsumuguError(
            f"the prompt has {len(prompt):,} tokens, and the model sees only {voice.max_length:,} at once. "
            f"Shorten it"
        )
    wanted = min(settings.max_new_tokens, room)
    last: Reason = "length" if wanted == settings.max_new_tokens else "context"
    logits = memory.read(prompt, room=wanted).expand(samples, -1)
    memory.spread(samples)
    seen = torch.zeros(logits.shape, dtype=torch.bool, device=logits.device)
    seen[:, list(prompt)] = True
    rows = torch.arange(samples, device=seen.device)
    # A negative seed is as good as any other to users; generators want none.
    generators = [
        torch.Generator().manual_seed((settings.seed + number) % 2**63) for number in range(samples)
    ]
    before = voice.spelling.last_text(prompt)
    texts = {number: Text(voice.spelling, before=before, stops=settings.stops) for number in range(samples)}
    for count in range(1, wanted + 1):
        tokens = choose(logits, settings.sampling, seen=seen, generators=generators)
        for number, text in list(texts.items()):
            piece = _add(number, text, int(tokens[number]), voice.ends, last if count == wanted else None)
            if piece.ended:
                del texts[number]
            if piece.ended or piece.text:
                yield piece
        if not texts:
            return
        seen[rows, tokens.to(seen.device)] = True
        logits = memory.step(tokens)


def _add(number: int, text: Text, token: int, ends: frozenset[int], last: Reason | None) -> Piece:
    if token in ends:
        return Piece(number, text.end(), "end", (*text.tokens, token))
    found, stopped = text.add(token)
    if stopped:
        return Piece(number, found, "stop", tuple(text.tokens))
    if last:
        return Piece(number, found + text.end(), last, tuple(text.tokens))
    return Piece(number, found)
