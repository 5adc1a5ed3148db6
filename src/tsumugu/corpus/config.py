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
    """Files of one origin: a folder with all its subfolders, one file, a glob, or any of these
    elsewhere (`s3://bucket/folder`, `https://host/file.jsonl.gz`), or a dataset of the Hugging Face
    Hub (`hf://datasets/OWNER/NAME`, best with `@COMMIT` behind it).

    A file below two inputs belongs to the innermost one alone.
    """

    path: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    """A name for where these pages come from; it stands beside every document."""
    license: Annotated[str, Field(min_length=1)]
    """The license of these pages, best as an SPDX expression; it stands beside every document."""
    format: Literal["auto", "html", "jsonl", "parquet", "text", "warc", "wet"] = "auto"
    """`auto` goes by the names of files and passes over those it does not know; any other value
    reads every file as that format, whatever its name."""
    text_key: Annotated[str, Field(min_length=1)] = "text"
    """JSON Lines, Parquet and datasets: the key or column that holds the text."""
    url_key: Annotated[str, Field(min_length=1)] = "url"
    """The same for the address, which may be absent."""
    metadata_keys: tuple[str, ...] = ()
    """More keys or columns that travel with the document."""
    subset: str | None = None
    """Hugging Face datasets only: the configuration to read, such as `ja` or `20231101.ja`."""
    split: Annotated[str, Field(min_length=1)] = "train"
    """Hugging Face datasets only."""
    options: dict[str, str | int | bool] = Field(default_factory=dict)
    """Remote paths only: arguments for fsspec, such as `{anon: true}` for a public S3 bucket. They
    are written into the run's folder: leave secrets to the environment."""


class ExtractionConfig(Section):
    """How the main text is found in HTML."""

    extractor: Literal["resiliparse", "trafilatura"] = "resiliparse"
    """`resiliparse` is fast; `trafilatura` (an extra) is about twenty times slower and leaves less
    boilerplate on news and blog pages."""
    seconds: Annotated[float, Field(gt=0)] = 5.0
    """Processor time that trafilatura may take for one page; then resiliparse's text is taken."""
    language_gate: Annotated[float, Field(ge=0, le=1)] = 0.02
    """Pages whose visible text has a smaller share of kana do not go to trafilatura: they come out
    with resiliparse's text, so that the rules decide. 0 sends every page there."""
    pages_per_process: Annotated[int, Field(ge=1)] = 5000
    """The trafilatura process is replaced after this many pages, because it leaks."""
    megabytes_per_process: Annotated[int, Field(ge=512)] = 2048
    """It cannot allocate more address space than this, and is replaced when it holds half of it."""


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
    extraction: ExtractionConfig = ExtractionConfig()
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
        paths = [(entry.path, entry.subset, entry.split) for entry in self.inputs]
        if len(set(paths)) < len(paths):
            raise ValueError("two inputs have the same path; every document would come in twice")
        return self
