"""What a comparison says beside its scores: how texts are predicted, and what training gave away."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tsumugu.evaluation.compared_results import ModelResults
from tsumugu.evaluation.contamination import clean_scores

ALL_SOURCES = "all"


@dataclass(frozen=True)
class Contaminated:
    """How much of a task stands in the training corpus of a model."""

    model: str
    task: str
    items: int
    share: float | None
    clean: float | None
    """The main metric of the other items; None where single items were not kept."""
    clean_stderr: float | None
    examples: tuple[Mapping[str, Any], ...]


@dataclass(frozen=True)
class TextFigures:
    """A text as one model spells and predicts it."""

    model: str
    text: str
    documents: int | None
    unfaithful: int | None
    """Documents that the tokenizer cannot give back as they were."""
    per_token: float | None
    per_character: float | None
    per_byte: float | None


def all_sources(text: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """The figures of a whole text, whatever its documents' sources."""
    sources = (text or {}).get("sources") or {}
    # A text of one source may do without a sum.
    return sources.get(ALL_SOURCES) or (next(iter(sources.values())) if len(sources) == 1 else {})


def text_figures(models: Sequence[ModelResults], names: Sequence[str]) -> list[TextFigures]:
    """Every text of every model."""
    found = []
    for name, model in zip(names, models, strict=True):
        for text, result in model.perplexity.items():
            figures = all_sources(result)
            found.append(
                TextFigures(
                    model=name,
                    text=text,
                    documents=result.get("documents", figures.get("documents")),
                    unfaithful=result.get("unfaithful_documents"),
                    per_token=figures.get("perplexity_per_token"),
                    per_character=figures.get("perplexity_per_character"),
                    per_byte=figures.get("perplexity_per_byte"),
                )
            )
    return found


def contaminated_tasks(models: Sequence[ModelResults], names: Sequence[str]) -> list[Contaminated]:
    """Every task of every model for which its corpus was searched."""
    found = []
    for name, model in zip(names, models, strict=True):
        for task, result in model.tasks.items():
            searched = result.get("contamination")
            if not searched:
                continue
            items = list(model.items(task).values())
            places = searched.get("contaminated_items")
            clean = (
                clean_scores(items, places) if places is not None and len(items) == searched["items"] else {}
            )
            main = clean.get(str(result["main_metric"]), {})
            found.append(
                Contaminated(
                    model=name,
                    task=task,
                    items=int(searched["items"]),
                    share=searched.get("share"),
                    clean=main.get("value"),
                    clean_stderr=main.get("stderr"),
                    examples=tuple(searched.get("examples", ())),
                )
            )
    return found
