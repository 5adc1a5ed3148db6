"""The `evaluate` section of a recipe."""

from typing import Annotated

from pydantic import Field, field_validator

from tsumugu.errors import TsumuguError
from tsumugu.section import Section


class EvaluateConfig(Section):
    """What a trained model is asked, and what stands beside it."""

    ngram_order: Annotated[int, Field(ge=2, le=8)] = 5
    """Order of the Kneser-Ney baseline; the unigram and the bigram are always computed."""
    ngram_training_tokens: Annotated[int, Field(ge=1)] = 50_000_000
    """Training tokens that the baselines count, from the first one on."""
    tasks: tuple[str, ...] = ("kotowari",)
    """Tasks and groups of them, run through lm-evaluation-harness: `quick`, `line-2023`, `jp-stable-8`,
    `japanese_leaderboard`, or names of docs/tasks.md. Their data come from the folder that TSUMUGU_DATA
    names, or from the Hugging Face hub."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Sequences in one forward pass."""
    stride: Annotated[int, Field(ge=1)] | None = None
    """Tokens by which windows over long documents move on, at most half of `pretrain.sequence_length`, so
    that every token sees at least half a window; null: half of it."""

    @field_validator("tasks")
    @classmethod
    def _tasks_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return known_tasks(names)


def known_tasks(names: tuple[str, ...]) -> tuple[str, ...]:
    """`names`, for a validator.

    Raises:
        ValueError: one is no task and no group.
    """
    # Reading all task files takes longer than reading a recipe; the default needs none of them.
    if names in ((), ("kotowari",)):
        return names
    from tsumugu.evaluation.tasks.groups import resolve_tasks

    try:
        resolve_tasks(names)
    except TsumuguError as error:
        raise ValueError(str(error)) from error
    return names
