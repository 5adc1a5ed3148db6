"""The tables of a comparison and the notes below them, as words and numbers without any markup.

A terminal, Markdown and HTML show the same; `comparison_views` writes them down.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from tsumugu.evaluation.comparison.compare import (
    ASKED_DIFFERENTLY,
    MODEL,
    PUBLISHED,
    Cell,
    Column,
    Comparison,
    Row,
)
from tsumugu.evaluation.comparison.pairing import BITS_PER_BYTE, PairedTest
from tsumugu.evaluation.comparison.published import BLOG, COLUMNS
from tsumugu.terminal import number

NOTHING = "–"
_TEST_COLUMNS = ("task or text", "items", "difference (95 % interval)", "p", "corrected", "test")
_NAMED = 3
"""Rows that a note names; of others it gives the number."""


@dataclass(frozen=True)
class Shown:
    """One table, ready to be written down."""

    title: str
    text: str
    header: tuple[tuple[str, str], ...]
    """Of each column its name, and what stands under it."""
    rows: tuple[tuple[str, ...], ...]
    kinds: tuple[str, ...]
    """Of each row: `model`, `published` or `baseline`."""
    numbers: range
    """Which columns are numbers; those before them name the row."""


def tables(comparison: Comparison) -> list[Shown]:
    """Everything that is shown in rows, in order; tables without rows are left out."""
    found = [
        _scores(comparison),
        *_tests(comparison),
        _texts(comparison),
        _contaminated(comparison),
        _elsewhere(comparison),
    ]
    return [shown for shown in found if shown.rows]


def _scores(comparison: Comparison) -> Shown:
    columns = comparison.columns
    return Shown(
        title="Scores",
        text="Value ± standard error.",
        header=(("model", ""), *((column.name, column.describe()) for column in columns)),
        rows=tuple(
            (
                _row_name(row),
                *(_cell(cell, column) for cell, column in zip(row.cells, columns, strict=True)),
            )
            for row in comparison.rows
        ),
        kinds=tuple(row.kind for row in comparison.rows),
        numbers=range(1, len(columns) + 1),
    )


def _row_name(row: Row) -> str:
    """Of what was published the source, and not the maker, whom the model's name tells."""
    return _published_name(row.name, row.source) if row.kind == PUBLISHED else row.name


def _published_name(model: str, source: str) -> str:
    return f"{model.split('/')[-1]} [{source}]"


def _cell(cell: Cell | None, column: Column) -> str:
    if cell is None:
        return NOTHING
    scale, digits = (1, 4) if column.is_text else (100, 2)
    error = "" if cell.stderr is None else f" ± {scale * cell.stderr:.{digits}f}"
    return f"{scale * cell.value:.{digits}f}{error}{' ' if cell.marks else ''}{cell.marks}"


def _tests(comparison: Comparison) -> Iterator[Shown]:
    """A table for every model after the first."""
    for model, against in dict.fromkeys((test.model, test.against) for test in comparison.tests):
        tests = [test for test in comparison.tests if test.model == model]
        yield Shown(
            title=f"{model} against {against}",
            text="The same items, paired: difference of the scores (percentage points; bits per byte, where "
            "less is better) and p, also corrected for the number of all tests of this comparison (Holm).",
            header=tuple((name, "") for name in _TEST_COLUMNS),
            rows=tuple(map(_test, tests)),
            kinds=(MODEL,) * len(tests),
            numbers=range(1, 5),
        )


def _test(test: PairedTest) -> tuple[str, ...]:
    found = test.found
    if found is None or test.corrected is None:
        return (test.column, *([NOTHING] * 4), test.note)
    scale, digits = (1, 4) if test.metric == BITS_PER_BYTE else (100, 2)
    difference, low, high = (
        f"{scale * value:+.{digits}f}" for value in (found.difference, found.low, found.high)
    )
    return (
        test.column,
        f"{found.items:,}",
        f"{difference} ({low} to {high})",
        _p(found.p),
        _p(test.corrected),
        f"{found.test}; {test.note}" if test.note else found.test,
    )


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 0.0001 else "< 0.0001"


def _texts(comparison: Comparison) -> Shown:
    return Shown(
        title="Perplexity",
        text="Per token it depends on the tokenizer and does not compare between models with different ones; "
        "per character and per byte it does. Unfaithful: documents that a tokenizer cannot give back.",
        header=tuple(
            (name, "")
            for name in ("text", "model", "documents", "unfaithful", "per token", "per character", "per byte")
        ),
        rows=tuple(
            (
                one.text,
                one.model,
                number(one.documents),
                number(one.unfaithful),
                f"{one.per_token:.2f}",
                f"{one.per_character:.3f}",
                f"{one.per_byte:.4f}",
            )
            for one in sorted(comparison.texts, key=lambda one: one.text)
        ),
        kinds=(MODEL,) * len(comparison.texts),
        numbers=range(2, 7),
    )


def _contaminated(comparison: Comparison) -> Shown:
    def percent(value: float | None, error: float | None = None) -> str:
        if value is None:
            return NOTHING
        return f"{100 * value:.2f}" + ("" if error is None else f" ± {100 * error:.2f}")

    rows = []
    for one in comparison.contaminated:
        example = one.examples[0] if one.examples else None
        rows.append(
            (
                one.task,
                one.model,
                f"{one.items:,}",
                percent(one.share),
                percent(one.clean, one.clean_stderr),
                f"{example.text} ({example.url or example.document})" if example else NOTHING,
            )
        )
    return Shown(
        title="Test items in the training corpus",
        text="Items of which a window stands in a training document, in percent of those that are long "
        "enough, and the score of the others.",
        header=tuple(
            (name, "")
            for name in ("task", "model", "items", "found %", "score without them %", "for example")
        ),
        rows=tuple(rows),
        kinds=(MODEL,) * len(rows),
        numbers=range(2, 5),
    )


def _elsewhere(comparison: Comparison) -> Shown:
    names = tuple(dict.fromkeys(one.column for one in comparison.elsewhere))
    values = {(one.model, one.column): one.value for one in comparison.elsewhere}
    models = tuple(dict.fromkeys(one.model for one in comparison.elsewhere))

    def value(model: str, name: str) -> str:
        found = values[model, name]
        return f"{found:.2f}" if COLUMNS[name].metric == "perplexity" else f"{100 * found:.1f} %"

    return Shown(
        title="Published, and not to be compared with ours",
        text="Neither the texts nor the prompts are known.",
        header=(("model", ""), *((COLUMNS[name].title, "") for name in names)),
        rows=tuple(
            (_published_name(model, BLOG), *(value(model, name) for name in names)) for model in models
        ),
        kinds=(PUBLISHED,) * len(models),
        numbers=range(1, len(names) + 1),
    )


def notes(comparison: Comparison) -> Iterator[tuple[str, list[str]]]:
    """What stands below the tables: a title, and its lines."""
    marks = [f"{mark}  {text}" for mark, text in comparison.marks().items()]
    # Not a note for each cell: those that were asked in the same other way share one.
    differently: dict[str, tuple[dict[str, None], dict[str, None]]] = {}
    for row in comparison.rows:
        for cell, column in zip(row.cells, comparison.columns, strict=True):
            if cell is not None and cell.note:
                tasks, who = differently.setdefault(cell.note, ({}, {}))
                tasks[column.name] = who[_row_name(row)] = None
    for note, (tasks, who) in differently.items():
        named = ", ".join(list(who)[:_NAMED])
        more = f" and {len(who) - _NAMED} more" if len(who) > _NAMED else ""
        marks.append(f"{ASKED_DIFFERENTLY}  {note}: {named}{more} (in {', '.join(tasks)})")
    if marks:
        yield "Marks", marks
    if comparison.cautions:
        yield "About our scores", list(comparison.cautions)
    if comparison.caveats:
        yield "About the published numbers", list(comparison.caveats)
    if comparison.sources():
        yield "Sources", [f"[{name}] {text}" for name, text in comparison.sources().items()]
