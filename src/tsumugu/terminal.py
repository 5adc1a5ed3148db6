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


def side_by_side(header: Sequence[str], rows: Sequence[Sequence[str]], *, width: int) -> str:
    """Long cells in equal columns that fill `width` columns of a terminal, with a blank line between rows."""
    column = max(1, (width + 2) // len(header) - 2)
    lines = []
    for row in (header, *rows):
        wrapped = [_wrap(visible(cell), column) for cell in row]
        height = max(map(len, wrapped))
        for place in range(height):
            cells = [cell[place] if place < len(cell) else "" for cell in wrapped]
            lines.append("  ".join(cell + " " * (column - _width(cell)) for cell in cells).rstrip())
        lines.append("")
    return "\n".join(lines).rstrip("\n")


def _wrap(text: str, width: int) -> list[str]:
    lines, line, used = [], "", 0
    for character in text:
        wide = _width(character)
        if used + wide > width and line:
            lines.append(line)
            line, used = "", 0
        line, used = line + character, used + wide
    return [*lines, line]


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
    """Columns on a terminal: kanji, kana and full-width forms take two, marks on them none."""
    return sum(
        0
        if unicodedata.category(character) in ("Mn", "Me")
        else 2
        if unicodedata.east_asian_width(character) in "WF"
        else 1
        for character in text
    )
