"""The `tokens` section of a recipe."""

from typing import Annotated, Literal

from pydantic import Field

from tsumugu.section import Section


class PretokenizedInput(Section):
    """Documents that are token ids already, of the run's own tokenizer.

    The tokenizer's begin, end and padding tokens separate documents and may stand anywhere: what
    is between them is a document, and gets the run's own begin and end. Documents are held out for
    validation like the corpus's.
    """

    path: Annotated[str, Field(min_length=1)]
    """`megatron`: a pair, with or without its suffix, a folder of pairs, or a glob. `dataset`: a
    Parquet, Arrow or JSON Lines file, a folder of them (such as one that `save_to_disk` wrote), a
    glob, or `hf://datasets/OWNER/NAME` (extra `datasets`), best with `@COMMIT` behind it."""
    format: Literal["megatron", "dataset"]
    source: Annotated[str, Field(min_length=1)]
    """A name for where these documents come from, beside those of `corpus.inputs`."""
    license: Annotated[str, Field(min_length=1)]
    """Best as an SPDX expression."""
    ids_key: Annotated[str, Field(min_length=1)] = "input_ids"
    """Datasets: the key or column that holds a list of ids."""
    subset: str | None = None
    """Datasets of the Hugging Face Hub: the configuration to read."""
    split: Annotated[str, Field(min_length=1)] = "train"
    """Datasets of the Hugging Face Hub."""


class TokensConfig(Section):
    """Documents to token shards."""

    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Share of the documents that are held out: the tokenizer, the model and the n-gram
    baselines never train on them."""
    pretokenized: tuple[PretokenizedInput, ...] = ()
    """Further sources, after those of the corpus."""
