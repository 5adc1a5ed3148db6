"""The comparison as text for a terminal, as Markdown, and as an HTML page that stands alone.

All three show the same tables. Names come from files of strangers: each view makes them harmless in
its own way.
"""

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from importlib import resources
from pathlib import Path

import jinja2
from markupsafe import Markup

from tsumugu.evaluation.comparison.compare import MODEL, Comparison
from tsumugu.evaluation.comparison.tables import NOTHING, Shown, notes, tables
from tsumugu.files import write_json, write_text
from tsumugu.terminal import table
from tsumugu.visible import visible

_LEAST_WIDTH = 110


def write_comparison(folder: Path, comparison: Comparison) -> None:
    """Write `comparison.md`, `comparison.json` and `comparison.html`."""
    write_text(folder / "comparison.md", to_markdown(comparison))
    write_json(folder / "comparison.json", comparison.to_json())
    write_text(folder / "comparison.html", to_html(comparison))


def render(comparison: Comparison) -> str:
    """The answer for a terminal, in tables that are no wider than it."""
    width = max(_LEAST_WIDTH, shutil.get_terminal_size((_LEAST_WIDTH, 24)).columns)
    lines = []
    for shown in tables(comparison):
        lines += [visible(shown.title), *([visible(shown.text)] if shown.text else []), ""]
        for part in _in_width(shown, width):
            header = [name for name, _ in part.header]
            under = [text for _, text in part.header]
            rows = [under, *part.rows] if any(under) else list(part.rows)
            cells = [[" ".join(cell.split()) for cell in row] for row in (header, *rows)]
            lines += [table(cells[0], cells[1:], right=part.numbers), ""]
    for title, found in notes(comparison):
        lines += [title, *(f"  {visible(note)}" for note in found), ""]
    return "\n".join(lines).rstrip("\n")


def to_markdown(comparison: Comparison) -> str:
    """The answer as GitHub's Markdown."""
    lines = ["# Comparison of models", ""]
    for shown in tables(comparison):
        lines += [f"## {_markdown(shown.title)}", ""]
        lines += [_markdown(shown.text), ""] if shown.text else []
        header = [
            f"{_markdown(name)}<br>{_markdown(text)}" if text else _markdown(name)
            for name, text in shown.header
        ]
        lines += [
            f"| {' | '.join(header)} |",
            f"|{'|'.join('---:' if place in shown.numbers else '---' for place in range(len(header)))}|",
            *(f"| {' | '.join(map(_markdown, row))} |" for row in shown.rows),
            "",
        ]
    for title, found in notes(comparison):
        lines += [f"## {title}", "", *(f"- {_markdown(note)}" for note in found), ""]
    return "\n".join(lines)


def to_html(comparison: Comparison) -> str:
    """A page that needs nothing else."""
    style = (resources.files("tsumugu.report") / "comparison.css").read_text(encoding="utf-8")
    template = _environment().get_template("comparison.html.j2")
    return template.render(section=html_section(comparison), style=Markup(style))


def html_section(comparison: Comparison) -> Markup:
    """The tables alone, for a page with the style of `report/page.html.j2` and `report/comparison.css`."""
    template = _environment().get_template("comparison_section.html.j2")
    return Markup(template.render(tables=tables(comparison), notes=list(notes(comparison))))


def _in_width(shown: Shown, width: int) -> Iterator[Shown]:
    """The table, or several with the same first columns where it is wider than the terminal."""
    names = list(range(shown.numbers.start))
    sizes = [max(map(len, column)) for column in zip(*_spread(shown), strict=True)]
    parts: list[list[int]] = [[]]
    for place in range(shown.numbers.start, len(sizes)):
        if parts[-1] and sum(sizes[each] + 2 for each in (*names, *parts[-1], place)) > width + 2:
            parts.append([])
        parts[-1].append(place)
    for part in parts:
        rows = [
            (kind, row)
            for kind, row in zip(shown.kinds, shown.rows, strict=True)
            if kind == MODEL or any(row[place] != NOTHING for place in part)
        ]
        chosen = [*names, *part]
        last = sum(place in shown.numbers for place in part)
        yield replace(
            shown,
            header=tuple(shown.header[place] for place in chosen),
            rows=tuple(tuple(row[place] for place in chosen) for _, row in rows),
            kinds=tuple(kind for kind, _ in rows),
            numbers=range(len(names), len(names) + last),
        )


def _spread(shown: Shown) -> list[tuple[str, ...]]:
    """All lines of the table, of the header too."""
    return [*zip(*shown.header, strict=True), *shown.rows]


def _markdown(text: str) -> str:
    """Text of strangers as text in a cell: no markup, no HTML, no line breaks."""
    plain = " ".join(visible(text).split())
    plain = plain.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return re.sub(r"([\\`*\[\]|])", r"\\\1", plain)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tsumugu", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["visible"] = visible
    return environment
