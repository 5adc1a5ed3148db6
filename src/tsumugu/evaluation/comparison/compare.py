"""Several evaluated models in one table, beside published rows, chance and the majority class.

Rows are models, then what others published, then what guessing gives. Columns are tasks (main metric)
and bits per byte of each text. A score whose 95 % interval reaches down to guessing is marked, and so
is a published one that was asked for in another way than ours.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

from tsumugu.evaluation.comparison.details import Contaminated, Spelled, contaminated_tasks, spelled_texts
from tsumugu.evaluation.comparison.pairing import BITS_PER_BYTE, PairedTest, asked_differently, paired_tests
from tsumugu.evaluation.comparison.published import CAVEATS, SOURCES, Published, fit, published
from tsumugu.evaluation.comparison.reading import ModelResults
from tsumugu.evaluation.results import TaskFigures

MODEL, PUBLISHED, BASELINE = "model", "published", "baseline"
LIKE_GUESSING, BELOW_GUESSING, ASKED_DIFFERENTLY = "≈", "↓", "†"
MARKS: Mapping[str, str] = {
    LIKE_GUESSING: "the 95 % interval holds chance or the majority class: not told from guessing",
    BELOW_GUESSING: "below chance or the majority class",
    ASKED_DIFFERENTLY: "asked differently, so not comparable: see the next lines",
}
_NORMAL = 1.959964
"""Standard errors on each side of a value that make a 95 % interval."""


@dataclass(frozen=True)
class Column:
    """A task with its main metric, or a text."""

    name: str
    metric: str
    task: TaskFigures | None
    """As the first model that has it was asked; None of a text."""

    @property
    def is_text(self) -> bool:
        """Whether it shows bits per byte, and less is better."""
        return self.task is None

    @property
    def guessing(self) -> float | None:
        """The better of what needs no model."""
        both = (self.task.chance, self.task.majority) if self.task else ()
        return max((value for value in both if value is not None), default=None)

    def describe(self) -> str:
        """What stands under the name."""
        if self.task is None:
            return "bits per byte, less is better"
        return f"{self.metric} %, {self.task.num_fewshot}-shot"

    def to_json(self) -> dict[str, Any]:
        """What was asked."""
        asked = ("version", "num_fewshot", "few_shot_from", "questions", "chance", "majority")
        facts = {name: getattr(self.task, name) for name in asked} if self.task else {}
        return {"name": self.name, "metric": self.metric, "is_text": self.is_text, **facts}


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
    texts: tuple[Spelled, ...]
    tests: tuple[PairedTest, ...]
    contaminated: tuple[Contaminated, ...]
    elsewhere: tuple[Published, ...]
    """Published numbers that no column of ours can hold."""
    caveats: tuple[str, ...]
    cautions: tuple[str, ...]
    """Of our own scores: what makes one something else than it seems."""

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
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        for name in ("rows", "texts", "tests", "contaminated"):
            found[name] = [asdict(one) for one in found[name]]
        found["columns"] = [column.to_json() for column in self.columns]
        found["elsewhere"] = [one.to_json() for one in self.elsewhere]
        return {"format": 1, **found, "marks": self.marks(), "sources": self.sources()}


def compare(models: Sequence[ModelResults], *, with_published: bool = True) -> Comparison:
    """Build the table; the first model is the one that the others are tested against."""
    names = _names(models)
    columns = _columns(models)
    rows = [
        Row(name, MODEL, model.place, _model_cells(model, columns))
        for name, model in zip(names, models, strict=True)
    ]
    if with_published:
        rows += _published_rows(columns)
    for title in ("chance", "majority"):
        values = [getattr(column.task, title, None) for column in columns]
        if any(value is not None for value in values):
            cells = tuple(None if value is None else Cell(value, None, "", "") for value in values)
            rows.append(Row(title, BASELINE, "", cells))
    return Comparison(
        columns=tuple(columns),
        rows=tuple(rows),
        texts=tuple(spelled_texts(models, names)),
        tests=paired_tests(models, names),
        contaminated=tuple(contaminated_tasks(models, names)),
        elsewhere=tuple(one for one in published() if one.column in ("blog_c4", "blog_aio"))
        if with_published
        else (),
        caveats=CAVEATS if with_published else (),
        cautions=tuple(
            f"{name}, {task}: {caution}"
            for name, model in zip(names, models, strict=True)
            for task, figures in model.tasks.items()
            for caution in figures.cautions()
        ),
    )


def _names(models: Sequence[ModelResults]) -> list[str]:
    """Each model's name; with its folder where two have the same."""
    counts = Counter(model.name for model in models)
    return [model.name if counts[model.name] == 1 else f"{model.name} ({model.folder})" for model in models]


def _columns(models: Sequence[ModelResults]) -> list[Column]:
    """All tasks, then all texts, in the order in which they are met; a task as its first model was asked."""
    found: dict[tuple[bool, str], Column] = {}
    for model in models:
        for name, task in model.tasks.items():
            found.setdefault((False, name), Column(name, task.main_metric, task))
        for name in model.perplexity:
            found.setdefault((True, name), Column(name, BITS_PER_BYTE, None))
    return sorted(found.values(), key=lambda column: column.is_text)


def _model_cells(model: ModelResults, columns: Sequence[Column]) -> tuple[Cell | None, ...]:
    return tuple(
        _task_cell(model, column, column.task) if column.task else _text_cell(model, column)
        for column in columns
    )


def _task_cell(model: ModelResults, column: Column, asked: TaskFigures) -> Cell | None:
    figures = model.tasks.get(column.name)
    score = None if figures is None else figures.metrics.get(column.metric)
    if figures is None or score is None or score.value is None:
        return None
    return _cell(score.value, score.stderr, column, asked_differently(asked, figures))


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


def _text_cell(model: ModelResults, column: Column) -> Cell | None:
    figures = model.perplexity.get(column.name)
    if figures is None:
        return None
    return Cell(figures.total.bits_per_byte, figures.total.bits_per_byte_stderr, "", "")


def _published_rows(columns: Sequence[Column]) -> list[Row]:
    """Every published model that has a number for one of the columns, in the order of the sources."""
    fitting = [
        {}
        if column.task is None
        else fit(
            task=column.name,
            metric=column.metric,
            version=None if column.task.version is None else str(column.task.version),
            num_fewshot=column.task.num_fewshot,
            few_shot_from=column.task.few_shot_from,
            questions=column.task.questions,
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
