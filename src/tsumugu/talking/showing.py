"""A model's text on a terminal, while it is written.

Text of a model is text from strangers: what would command the terminal, or hide, is written out.
"""

import sys
from collections.abc import Iterable

from tsumugu.talking.writing import Piece, Reason
from tsumugu.visible import visible


def show(text: str) -> None:
    """Print text at once, without ending the line."""
    sys.stdout.write(visible(text))
    sys.stdout.flush()


def note(text: str) -> None:
    """Tell the person something beside the text."""
    sys.stdout.flush()
    print(f"({text})", file=sys.stderr, flush=True)


def note_end(reason: Reason | None, max_length: int) -> None:
    """Tell where a text was cut because the model can see no further."""
    if reason == "context":
        note(f"the model's context is full: it sees {max_length:,} tokens at once")


def show_samples(pieces: Iterable[Piece], *, prompt: str, samples: int, max_length: int) -> None:
    """Show samples one below the other: the first while it is written, then what the others have."""
    waiting: dict[int, list[Piece]] = {number: [] for number in range(samples)}
    current = 0
    show(_heading(current, samples) + prompt)
    for piece in pieces:
        waiting[piece.sample].append(piece)
        while waiting.get(current):
            first = waiting[current].pop(0)
            show(first.text)
            if first.ended is None:
                continue
            show("\n")
            note_end(first.ended, max_length)
            current += 1
            if current < samples:
                show(_heading(current, samples) + prompt)


def _heading(number: int, samples: int) -> str:
    if samples == 1:
        return ""
    return f"{chr(10) if number else ''}--- {number + 1} of {samples}\n"
