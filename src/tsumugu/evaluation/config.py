"""The `evaluate` section of a recipe."""

from typing import Annotated, Literal, get_args

from pydantic import Field

from tsumugu.section import Section

TaskName = Literal["kotowari"]
"""Task files that ship with Tsumugu, in `evaluation/tasks`."""

TASKS: tuple[str, ...] = get_args(TaskName)


class EvaluateConfig(Section):
    """What a trained model is asked, and what stands beside it."""

    ngram_order: Annotated[int, Field(ge=2, le=8)] = 5
    """Order of the Kneser-Ney baseline; the unigram and the bigram are always computed."""
    ngram_training_tokens: Annotated[int, Field(ge=1)] = 50_000_000
    """Training tokens that the baselines count, from the first one on."""
    tasks: tuple[TaskName, ...] = ("kotowari",)
    """Multiple-choice tasks, run through lm-evaluation-harness."""
    batch_size: Annotated[int, Field(ge=1)] = 16
    """Sequences in one forward pass."""
    stride: Annotated[int, Field(ge=1)] | None = None
    """Tokens by which windows over long documents move on, at most half of `pretrain.sequence_length`, so
    that every token sees at least half a window; null: half of it."""
