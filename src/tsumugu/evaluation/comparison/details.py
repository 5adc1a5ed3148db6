"""What a comparison says beside its scores: how texts are predicted, and what training gave away."""

from collections.abc import Sequence
from dataclasses import dataclass

from tsumugu.evaluation.comparison.reading import ModelResults
from tsumugu.evaluation.contamination import (
    CONTAMINATION,
    ContaminationResult,
    Example,
    clean_scores,
    read_contamination,
)

"""Beside the other figures of a task, where the corpus was searched for it: a `ContaminationResult`."""


@dataclass(frozen=True)
class Spelled:
    """A text as one model spells and predicts it."""

    model: str
    text: str
    documents: int
    unfaithful: int
    """Documents that the tokenizer cannot give back as they were."""
    per_token: float
    per_character: float
    per_byte: float


@dataclass(frozen=True)
class Contaminated:
    """How much of a task stands in the training corpus of a model."""

    model: str
    task: str
    items: int
    share: float | None
    clean: float | None
    """The main metric of the other items; None where single items were not kept, or others."""
    clean_stderr: float | None
    examples: tuple[Example, ...]


def spelled_texts(models: Sequence[ModelResults], names: Sequence[str]) -> list[Spelled]:
    """Every text of every model."""
    return [
        Spelled(
            model=name,
            text=text,
            documents=figures.documents,
            unfaithful=figures.unfaithful_documents,
            per_token=figures.total.perplexity_per_token,
            per_character=figures.total.perplexity_per_character,
            per_byte=figures.total.perplexity_per_byte,
        )
        for name, model in zip(names, models, strict=True)
        for text, figures in model.perplexity.items()
    ]


def contaminated_tasks(models: Sequence[ModelResults], names: Sequence[str]) -> list[Contaminated]:
    """Every task of every model for which its corpus was searched.

    Raises:
        TsumuguError: what the search left is damaged.
    """
    return [
        _contaminated(model, name, task, read_contamination(figures.model_extra[CONTAMINATION]))
        for name, model in zip(names, models, strict=True)
        for task, figures in model.tasks.items()
        if figures.model_extra and figures.model_extra.get(CONTAMINATION) is not None
    ]


def _contaminated(model: ModelResults, name: str, task: str, searched: ContaminationResult) -> Contaminated:
    items = list(model.items(task).values())
    # Of another number of items nobody knows which ones were searched.
    clean = clean_scores(items, searched.contaminated) if len(items) == searched.items else {}
    main = clean.get(model.tasks[task].main_metric, {})
    return Contaminated(
        model=name,
        task=task,
        items=searched.items,
        share=searched.share,
        clean=main.get("value"),
        clean_stderr=main.get("stderr"),
        examples=searched.examples,
    )
