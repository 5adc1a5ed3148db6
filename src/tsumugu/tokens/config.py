"""The `tokens` section of a recipe."""

from typing import Annotated

from pydantic import Field

from tsumugu.section import Section


class TokensConfig(Section):
    """Documents to token shards."""

    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Share of the documents that are held out: the tokenizer, the model and the n-gram
    baselines never train on them."""
