"""The `corpus` section of a recipe: what comes in, and the rules that decide what stays."""

from typing import Annotated, Literal, get_args

from pydantic import Field, model_validator

from tsumugu.section import Section

SignalName = Literal[
    "characters",
    "japanese_share",
    "hiragana_share",
    "katakana_share",
    "source_code_share",
    "sentence_end_share",
    "short_line_share",
    "duplicate_line_share",
    "repeated_5gram_share",
    "foreign_paragraphs",
    "masked_emails",
    "masked_phone_numbers",
]
"""Everything that is measured on a document; `signals.py` says how."""

SIGNALS: tuple[str, ...] = get_args(SignalName)


class Input(Section):
    """A file, or a folder that is read with all its subfolders.

    A folder inside the folder of another input belongs to the inner one alone.
    """

    path: Annotated[str, Field(min_length=1)]
    """HTML (.html, .htm, .xhtml) and JSON Lines (.jsonl, .ndjson; also .gz, .bz2, .xz, .zst)."""
    source: Annotated[str, Field(min_length=1)]
    """A name for where these pages come from; it stands beside every document."""
    optional: bool = False
    """Go on without this input when it does not exist or holds no file that can be read."""
    license: Annotated[str, Field(min_length=1)]
    """The license of these pages, best as an SPDX expression; it stands beside every document."""


class Rule(Section):
    """A threshold on a signal: a document that fails it is dropped for `reason`."""

    reason: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    signal: SignalName
    at_least: float | None = None
    """Documents with a smaller signal are dropped."""
    at_most: float | None = None
    """Documents with a larger signal are dropped."""

    @model_validator(mode="after")
    def _has_a_threshold(self) -> "Rule":
        if self.at_least is None and self.at_most is None:
            raise ValueError("a rule needs at_least, at_most, or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least} is above at_most {self.at_most}: nothing passes")
        if self.reason in RESERVED_REASONS:
            raise ValueError(f"{self.reason!r} is the name of a reason that the corpus stage itself gives")
        return self


RESERVED_REASONS = ("exact_duplicate", "near_duplicate", "contained", "quarantined")
"""Reasons that come from deduplication and from reading, not from a rule."""


class DedupConfig(Section):
    """How alike two documents may be. Whatever repeats, the first in input order stays."""

    ngram: Annotated[int, Field(ge=1, le=64)] = 5
    """Characters in a shingle, as in Swallow's corpus and HojiChar."""
    bands: Annotated[int, Field(ge=1, le=256)] = 20
    rows: Annotated[int, Field(ge=1, le=64)] = 10
    """MinHash values in a band. 20 bands of 10 find pairs from a Jaccard similarity of about
    (1 / 20) ** (1 / 10) = 0.74 (Lee et al. 2022, and llm-jp-corpus v4)."""
    contained_share: Annotated[float, Field(gt=0, le=1)] = 0.6
    """A document is dropped as `contained` when at least this share of its characters stands in
    lines of other, shorter documents that stay: a manual on one page beside the split one."""


class CorpusConfig(Section):
    """Pages to documents."""

    inputs: Annotated[tuple[Input, ...], Field(min_length=1)]
    max_page_bytes: Annotated[int, Field(ge=1)] = 32 * 2**20
    """A larger page or JSON line is quarantined instead of read."""
    shard_bytes: Annotated[int, Field(ge=1)] = 16 * 2**20
    """Input bytes that form one unit of work."""
    rules: tuple[Rule, ...] = ()
    """Asked in order; the first that fails is the reason."""
    dedup: DedupConfig = DedupConfig()

    @model_validator(mode="after")
    def _names_are_unique(self) -> "CorpusConfig":
        reasons = [rule.reason for rule in self.rules]
        if len(set(reasons)) < len(reasons):
            raise ValueError("two rules have the same reason; the funnel could not tell them apart")
        sources = [entry.source for entry in self.inputs]
        if len(set(sources)) < len(sources):
            raise ValueError("two inputs have the same source; documents could not be told apart")
        paths = [entry.path for entry in self.inputs]
        if len(set(paths)) < len(paths):
            raise ValueError("two inputs have the same path; every document would come in twice")
        return self
