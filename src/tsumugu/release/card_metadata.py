"""The head of a model card, which the Hugging Face hub reads: licence, language, tags, data sets, scores."""

from collections.abc import Mapping
from typing import Any

from tsumugu.recipe import Recipe
from tsumugu.release.families import family_of

_HUB = "hf://datasets/"
_TASK = "text-generation"
_HELD_OUT = "held-out"


def card_head(recipe: Recipe, scores: Mapping[str, Any] | None) -> str:
    """The YAML between the lines of dashes, as huggingface_hub writes it.

    Args:
        recipe: of the run.
        scores: of the evaluate stage, if these weights were evaluated.
    """
    from huggingface_hub import ModelCardData

    release = recipe.release
    data = ModelCardData(
        language="ja",
        license=release.license,
        license_name=release.license_name,
        license_link=None if release.license_name is None else "LICENSE",
        library_name="transformers",
        pipeline_tag=_TASK,
        tags=["japanese", family_of(recipe.model).model_type, "tsumugu"],
        datasets=hub_datasets(recipe) or None,
        base_model=release.base_model,
        model_name=recipe.name,
        eval_results=_eval_results(scores) if scores else None,
    )
    return str(data.to_yaml(line_break="\n")).strip()


def hub_datasets(recipe: Recipe) -> list[str]:
    """The data sets of the Hugging Face hub that the model was made from: OWNER/NAME, each once."""
    paths = [entry.path for entry in recipe.corpus.inputs]
    paths += [entry.path for entry in recipe.tokens.pretokenized]
    names = [path.removeprefix(_HUB).partition("@")[0] for path in paths if path.startswith(_HUB)]
    return list(dict.fromkeys("/".join(name.split("/")[:2]) for name in names))


def _eval_results(scores: Mapping[str, Any]) -> list[Any]:
    from huggingface_hub import EvalResult

    found = scores["perplexity"]["models"]["model"]
    results = [
        EvalResult(
            task_type=_TASK,
            dataset_type=_HELD_OUT,
            dataset_name="held-out documents of the training sources",
            dataset_split="validation",
            metric_type=metric,
            metric_name=name,
            metric_value=found[key],
        )
        for metric, name, key in (
            ("bits_per_byte", "bits per byte", "bits_per_byte"),
            ("perplexity", "perplexity per token", "perplexity_per_token"),
        )
    ]
    for name, task in scores["tasks"].items():
        results += [
            EvalResult(
                task_type=_TASK,
                dataset_type=name,
                dataset_name=name,
                dataset_args={"num_fewshot": task["num_fewshot"]},
                metric_type=metric,
                metric_name=f"{metric}, {task['num_fewshot']} examples in the prompt",
                metric_value=score["value"],
            )
            for metric, score in task["metrics"].items()
            if score["value"] is not None
        ]
    return results
