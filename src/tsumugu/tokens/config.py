"""The `tokens` section of a recipe."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

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


class SourceShare(Section):
    """How much of the training a source makes up: so many passes over it, or a share of the rest."""

    epochs: Annotated[float, Field(gt=0)] | None = None
    """Passes over this source in the whole run, 0.5 or 4 for example."""
    weight: Annotated[float, Field(gt=0)] | None = None
    """Share of what the sources with `epochs` leave, in proportion to the other weights."""
    max_epochs: Annotated[float, Field(gt=0)] | None = None
    """A source with a weight gets no more than so many passes; the other weights share the rest."""

    @model_validator(mode="after")
    def _one_of_two(self) -> "SourceShare":
        if (self.epochs is None) == (self.weight is None):
            raise ValueError("give a source either epochs or a weight")
        if self.epochs is not None and self.max_epochs is not None:
            raise ValueError("max_epochs goes with a weight; epochs say exactly how often a source is read")
        return self


class DataConfig(Section):
    """Token shards to batches: what pre-training reads, in which order."""

    mixture: Annotated[dict[str, SourceShare], Field(min_length=1)] | None = None
    """Shares by source; a source that is not named is not read. Without it all sources are one
    stream, in which every token has the same weight."""
    packing: Literal["concatenate", "best_fit"] = "concatenate"
    """`concatenate` joins all documents and cuts them anywhere, at another place in each epoch.
    `best_fit` cuts only documents that are longer than a sequence, and fills the rest with padding
    that carries no loss (Ding et al. 2024, "Fewer Truncations Improve Language Modeling")."""
    document_boundaries: bool = False
    """Batches say where documents begin (`cu_seqlens`, `position_ids`), and no token counts in the
    loss that would be predicted from another document."""
