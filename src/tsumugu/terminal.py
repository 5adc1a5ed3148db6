"""What the command line prints for people: tables with aligned columns, numbers, JSON.

Everything goes through `visible`, so no document can command the terminal it is shown on.
"""

import json
import unicodedata
from collections.abc import Sequence
from typing import Any

from tsumugu.visible import visible


def table(header: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """Lines of aligned cells, two spaces apart; the columns named in `right` end together."""
    cells = [[visible(cell) for cell in row] for row in (header, *rows)]
    widths = [max(_width(row[column]) for row in cells) for column in range(len(header))]
    lines = []
    for row in cells:
        padded = []
        for column, cell in enumerate(row):
            space = " " * (widths[column] - _width(cell))
            padded.append(space + cell if column in right else cell + space)
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def number(value: float) -> str:
    """A count or a measurement, short enough for a table and exact where it is a whole number."""
    return f"{value:,.0f}" if value == int(value) and abs(value) < 1e15 else f"{value:.4g}"


def signed(value: float) -> str:
    """A difference: +12, -3, or 0."""
    return f"{value:+,.0f}" if value else "0"


def to_json(value: Any) -> str:
    """Indented JSON in which every character that `visible` would write out is a \\u escape."""
    text = json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False)
    # Outside of strings JSON has none of these, and line breaks inside strings are escaped already.
    return "".join(
        json.dumps(character)[1:-1] if character != "\n" and visible(character) != character else character
        for character in text
    )


def _width(text: str) -> int:
    """Columns on a terminal: kanji, kana and full-width forms take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
