"""What `tsumugu evaluate model` prints: models in rows, differences in words, and warnings."""

from collections.abc import Iterator

from tsumugu.evaluation.assess import Assessed, Assessment
from tsumugu.evaluation.perplexity import ALL, Difference
from tsumugu.evaluation.results import Metric
from tsumugu.terminal import number, table
from tsumugu.visible import visible

_SOURCES = 20
"""A table of more is looked for in results.json."""
_REASONS = 3
_FEW = 20
"""Percentiles of resamples of fewer documents cover less than they promise."""


def render(assessment: Assessment) -> str:
    """The whole answer for a terminal."""
    blocks = []
    for text in assessment.texts:
        blocks += list(_text_blocks(assessment, text))
    if assessment.tasks:
        blocks.append(_tasks_table(assessment))
    noted = [line for one in assessment.models for line in warnings(one, assessment.texts, assessment.tasks)]
    if noted:
        blocks.append("\n".join(f"warning: {visible(line)}" for line in noted))
    folders = [visible(f"{one.name}: {one.folder}") for one in assessment.models]
    blocks.append("results\n" + "\n".join(f"  {line}" for line in folders))
    return "\n\n".join(blocks)


def warnings(assessed: Assessed, texts: tuple[str, ...], tasks: tuple[str, ...]) -> Iterator[str]:
    """What makes figures of a model on texts and tasks something else than they seem."""
    for text in texts:
        figures = assessed.results.perplexity[text]
        about = f"{assessed.name}, {text}:"
        if figures.unfaithful_documents:
            unknown = f"; {number(figures.unknown_tokens)} tokens are <unk>" if figures.unknown_tokens else ""
            yield (
                f"{about} {number(figures.unfaithful_documents)} of {number(figures.documents)} documents do "
                f"not come back from the tokenizer as they were{unknown}. It predicts another text than the "
                f"one whose bytes are counted: its figures are not those of a model that spells everything"
            )
        elif figures.unknown_tokens:
            yield (
                f"{about} {number(figures.unknown_tokens)} of {number(figures.tokens)} tokens are <unk>, "
                f"which stands for many characters and is cheap to predict"
            )
        if figures.unreadable:
            reasons = "; ".join(assessed.unreadable.get(text, ())[:_REASONS])
            yield f"{about} {number(figures.unreadable)} documents could not be read, among them {reasons}"
        if figures.total.bits_per_byte_stderr is None:
            yield f"{about} one document alone has no standard error"
    for task in tasks:
        for caution in assessed.results.tasks[task].cautions():
            yield f"{assessed.name}, {task}: {caution}"


def _text_blocks(assessment: Assessment, text: str) -> Iterator[str]:
    figures = assessment.models[0].results.perplexity[text]
    yield visible(
        f"{text}: {number(figures.documents)} documents, {number(figures.characters)} characters, "
        f"{number(figures.bytes)} bytes"
    )
    yield _models_table(assessment, text)
    if len(figures.sources) > 2:
        yield _sources_table(assessment, text)
    if len(assessment.models) > 1:
        first = assessment.models[0].name
        lines = [_in_words(name, first, found) for name, found in assessment.differences(text)]
        if 1 < figures.documents < _FEW:
            lines.append(f"{figures.documents} documents are few: intervals from them are too narrow")
        yield "\n".join(visible(line) for line in lines)


def _models_table(assessment: Assessment, text: str) -> str:
    rows = []
    for one in assessment.models:
        figures = one.results.perplexity[text]
        total = figures.total
        rows.append(
            [
                one.name,
                f"{total.bits_per_byte:.4f} ± {_error(total.bits_per_byte_stderr)}",
                f"{total.perplexity_per_byte:.4f}",
                f"{total.perplexity_per_character:.3f}",
                f"{total.perplexity_per_token:.2f}",
                number(figures.tokens),
                f"{figures.context_tokens} by {figures.stride}",
            ]
        )
    header = ["model", "bits per byte", "perplexity per byte", "character", "token", "tokens", "windows"]
    return table(header, rows, right=range(1, len(header)))


def _sources_table(assessment: Assessment, text: str) -> str:
    names = [name for name in assessment.models[0].results.perplexity[text].sources if name != ALL]
    rows = []
    for name in names[:_SOURCES]:
        row = [name]
        for one in assessment.models:
            # What one tokenizer finds nothing in, another may read.
            found = one.results.perplexity[text].sources.get(name)
            row.append(
                f"{found.bits_per_byte:.4f} ± {_error(found.bits_per_byte_stderr)}"
                if found
                else "nothing to read"
            )
        rows.append(row)
    header = ["bits per byte by source", *(one.name for one in assessment.models)]
    shown = table(header, rows, right=range(1, len(header)))
    left = len(names) - _SOURCES
    return f"{shown}\n{left} more sources are in results.json" if left > 0 else shown


def _tasks_table(assessment: Assessment) -> str:
    rows = []
    for task in assessment.tasks:
        found = [one.results.tasks[task] for one in assessment.models]
        first = found[0]
        chance = "" if first.chance is None else f"{first.chance:.3f}"
        scores = [_score(each.metrics.get(each.main_metric)) for each in found]
        rows.append(
            [task, first.main_metric, str(first.num_fewshot), number(first.questions), chance, *scores]
        )
    header = ["task", "metric", "shots", "questions", "chance", *(one.name for one in assessment.models)]
    return table(header, rows, right=range(2, len(header)))


def _score(metric: Metric | None) -> str:
    if metric is None or metric.value is None:
        return "none"
    return f"{metric.value:.3f} ± {_error(metric.stderr, places=3)}"


def _error(value: float | None, *, places: int = 4) -> str:
    return "?" if value is None else f"{value:.{places}f}"


def _in_words(name: str, first: str, found: Difference) -> str:
    change = f"{name} - {first}: {found.bits_per_byte:+.4f} bits per byte"
    if found.low is None or found.high is None:
        return f"{change}; one document tells nothing about others"
    interval = f"(95 % of resampled documents: {found.low:+.4f} to {found.high:+.4f})"
    if not found.excludes_zero:
        return f"{change} {interval}; which one is better is open"
    return f"{change} {interval}; {name if found.bits_per_byte < 0 else first} is better"
