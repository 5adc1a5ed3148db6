"""Several evaluated models in one table, beside published rows, chance and the majority class.

Rows are models, then what others published, then what guessing gives. Columns are tasks (main metric)
and bits per byte of each text. A score whose 95 % interval reaches down to guessing is marked, and so
is a published one that was asked for in another way than ours.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from tsumugu.evaluation.compared_results import ModelResults
from tsumugu.evaluation.comparison_details import (
    Contaminated,
    TextFigures,
    all_sources,
    contaminated_tasks,
    text_figures,
)
from tsumugu.evaluation.pairing import PairedTest, asked_differently, is_number, paired_tests
from tsumugu.evaluation.published import CAVEATS, SOURCES, Published, fit, published

MODEL, PUBLISHED, BASELINE = "model", "published", "baseline"
LIKE_GUESSING, BELOW_GUESSING, ASKED_DIFFERENTLY = "≈", "↓", "†"
MARKS: Mapping[str, str] = {
    LIKE_GUESSING: "the 95 % interval holds chance or the majority class: not told from guessing",
    BELOW_GUESSING: "below chance or the majority class",
    ASKED_DIFFERENTLY: "asked differently (examples, version or prompt), so not comparable; see below",
}
_NORMAL = 1.959964
"""Standard errors on each side of a value that make a 95 % interval."""


@dataclass(frozen=True)
class Column:
    """A task with its main metric, or a text."""

    name: str
    metric: str
    is_text: bool
    num_fewshot: int | None = None
    few_shot_from: str | None = None
    version: str | None = None
    questions: int | None = None
    chance: float | None = None
    majority: float | None = None

    @property
    def guessing(self) -> float | None:
        """The better of what needs no model."""
        return max((value for value in (self.chance, self.majority) if value is not None), default=None)

    def describe(self) -> str:
        """What stands under the name."""
        if self.is_text:
            return "bits per byte, less is better"
        shots = "" if self.num_fewshot is None else f", {self.num_fewshot}-shot"
        return f"{self.metric} %{shots}"


@dataclass(frozen=True)
class Cell:
    """One score."""

    value: float
    stderr: float | None
    marks: str
    note: str
    """In what it was asked differently."""


@dataclass(frozen=True)
class Row:
    """A model, a published model, or a way of guessing."""

    name: str
    kind: str
    source: str
    """A key of `published.SOURCES`, the place of a model, or nothing."""
    cells: tuple[Cell | None, ...]


@dataclass(frozen=True)
class Comparison:
    """The whole answer."""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    texts: tuple[TextFigures, ...]
    tests: tuple[PairedTest, ...]
    contaminated: tuple[Contaminated, ...]
    elsewhere: tuple[Published, ...]
    """Published numbers that no column of ours can hold."""
    caveats: tuple[str, ...]

    def marks(self) -> dict[str, str]:
        """Those that are used, and what they mean."""
        used = {mark for row in self.rows for cell in row.cells if cell for mark in cell.marks}
        return {mark: text for mark, text in MARKS.items() if mark in used}

    def sources(self) -> dict[str, str]:
        """Of the published numbers that are shown."""
        used = {row.source for row in self.rows if row.kind == PUBLISHED}
        used |= {one.source for one in self.elsewhere}
        return {name: text for name, text in SOURCES.items() if name in used}

    def to_json(self) -> dict[str, Any]:
        """All of it, the meaning of the marks and the sources too."""
        found = asdict(self)
        found["elsewhere"] = [one.to_json() for one in self.elsewhere]
        return {"format": 1, **found, "marks": self.marks(), "sources": self.sources()}


def compare(models: Sequence[ModelResults], *, with_published: bool = True) -> Comparison:
    """Build the table; the first model is the one that the others are tested against."""
    names = _names(models)
    columns = _columns(models)
    rows = [
        Row(name, MODEL, str(model.facts.get("place", model.folder)), _model_cells(model, columns))
        for name, model in zip(names, models, strict=True)
    ]
    if with_published:
        rows += _published_rows(columns)
    for title, values in (
        ("chance", [column.chance for column in columns]),
        ("majority", [column.majority for column in columns]),
    ):
        if any(value is not None for value in values):
            cells = tuple(None if value is None else Cell(value, None, "", "") for value in values)
            rows.append(Row(title, BASELINE, "", cells))
    return Comparison(
        columns=tuple(columns),
        rows=tuple(rows),
        texts=tuple(text_figures(models, names)),
        tests=paired_tests(models, names),
        contaminated=tuple(contaminated_tasks(models, names)),
        elsewhere=tuple(one for one in published() if one.column in ("blog_c4", "blog_aio"))
        if with_published
        else (),
        caveats=CAVEATS if with_published else (),
    )


def _names(models: Sequence[ModelResults]) -> list[str]:
    """Each model's name; with its folder where two have the same."""
    counts = Counter(model.name for model in models)
    return [model.name if counts[model.name] == 1 else f"{model.name} ({model.folder})" for model in models]


def _columns(models: Sequence[ModelResults]) -> list[Column]:
    """All tasks, then all texts, in the order in which they are met; a task as its first model was asked."""
    found: dict[tuple[bool, str], Column] = {}
    for model in models:
        for task, result in model.tasks.items():
            found.setdefault(
                (False, task),
                Column(
                    name=task,
                    metric=str(result["main_metric"]),
                    is_text=False,
                    num_fewshot=result.get("num_fewshot"),
                    few_shot_from=result.get("few_shot_from"),
                    version=None if result.get("version") is None else str(result["version"]),
                    questions=result.get("questions"),
                    chance=result.get("chance"),
                    majority=result.get("majority"),
                ),
            )
        for text in model.perplexity:
            found.setdefault((True, text), Column(text, "bits_per_byte", is_text=True))
    return sorted(found.values(), key=lambda column: column.is_text)


def _model_cells(model: ModelResults, columns: Sequence[Column]) -> tuple[Cell | None, ...]:
    return tuple(
        _text_cell(model.perplexity.get(column.name)) if column.is_text else _task_cell(model, column)
        for column in columns
    )


def _task_cell(model: ModelResults, column: Column) -> Cell | None:
    result = model.tasks.get(column.name)
    found = None if result is None else result["metrics"].get(column.metric)
    if result is None or found is None or not is_number(found.get("value")):
        return None
    version = None if result.get("version") is None else str(result["version"])
    note = asked_differently(
        {
            "num_fewshot": column.num_fewshot,
            "few_shot_from": column.few_shot_from,
            "version": column.version,
        },
        {
            "num_fewshot": result.get("num_fewshot"),
            "few_shot_from": result.get("few_shot_from"),
            "version": version,
        },
    )
    return _cell(float(found["value"]), found.get("stderr"), column, note)


def _cell(value: float, stderr: float | None, column: Column, note: str) -> Cell:
    marks = ASKED_DIFFERENTLY if note else ""
    guessing = column.guessing
    if guessing is not None:
        reach = _NORMAL * (stderr or 0.0)
        if value + reach < guessing:
            marks = BELOW_GUESSING + marks
        elif value - reach <= guessing:
            marks = LIKE_GUESSING + marks
    return Cell(value, stderr, marks, note)


def _text_cell(text: Mapping[str, Any] | None) -> Cell | None:
    figures = all_sources(text)
    if not is_number(figures.get("bits_per_byte")):
        return None
    stderr = figures.get("bits_per_byte_stderr")
    interval = figures.get("bits_per_byte_interval")
    if stderr is None and interval:
        stderr = (interval[1] - interval[0]) / (2 * _NORMAL)
    return Cell(float(figures["bits_per_byte"]), stderr, "", "")


def _published_rows(columns: Sequence[Column]) -> list[Row]:
    """Every published model that has a number for one of the columns, in the order of the sources."""
    fitting = [
        {}
        if column.is_text
        else fit(
            task=column.name, metric=column.metric, version=column.version, num_fewshot=column.num_fewshot
        )
        for column in columns
    ]
    rows = []
    for source, model in dict.fromkeys((one.source, one.model) for one in published()):
        cells: list[Cell | None] = []
        for column, fits in zip(columns, fitting, strict=True):
            one = fits.get((source, model))
            if one is None:
                cells.append(None)
            else:
                cells.append(_cell(one.published.value, one.published.stderr, column, ", ".join(one.differs)))
        if any(cells):
            rows.append(Row(model, PUBLISHED, source, tuple(cells)))
    return rows
