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

    path: str
    """HTML (.html, .htm, .xhtml) and JSON Lines (.jsonl, .ndjson; also .gz, .bz2, .xz, .zst)."""
    source: Annotated[str, Field(min_length=1)]
    """A name for where these pages come from; it stands beside every document."""
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


RESERVED_REASONS = (
    "exact_duplicate",
    "url_duplicate",
    "near_duplicate",
    "contained",
    "only_repeats",
    "contaminated",
    "quarantined",
)
"""Reasons that come from deduplication and from reading, not from a rule."""


class RepeatedLines(Section):
    """Lines or paragraphs that many documents share: navigation, notices, sidebars.

    One that stands in more than `max_documents` of the documents that stay is cut from all of
    them but the first in input order. Only those of at least ten characters count.
    """

    unit: Literal["line", "paragraph"] = "line"
    """A paragraph is what stands between empty lines."""
    max_documents: Annotated[int, Field(ge=1)] = 100
    """uzushio, the corpus tool of Works Applications, drops paragraphs from 100 occurrences on."""


class RepeatedSubstrings(Section):
    """Passages that stood before, wherever they begin; the first copy in input order stays."""

    min_characters: Annotated[int, Field(ge=10)] = 100
    """Code points, white space included. Shorter repeats are left alone."""
    group_characters: Annotated[int, Field(ge=1)] = 2**25
    """Shards are compared in groups of about so many characters, at 40 bytes of memory for each.
    Copies in different groups are not seen."""


class DedupConfig(Section):
    """How alike two documents may be, and which one stays."""

    ngram: Annotated[int, Field(ge=1, le=64)] = 5
    """Characters in a shingle, as in Swallow's corpus and HojiChar."""
    bands: Annotated[int, Field(ge=1, le=256)] = 20
    rows: Annotated[int, Field(ge=1, le=64)] = 10
    """MinHash values in a band. 20 bands of 10 find pairs from a Jaccard similarity of about
    (1 / 20) ** (1 / 10) = 0.74 (Lee et al. 2022, and llm-jp-corpus v4)."""
    method: Literal["fast", "classic"] = "fast"
    """Fast Similarity Sketching, or one hash function for every value: several times slower."""
    keep: Literal["first", "longest", "newest"] = "first"
    """Which of a group stays: the first in input order, or the longest or newest and of several
    such the first. A document without a date is older than any."""
    date_key: str = "date"
    """Where `newest` finds an ISO 8601 date in a document's metadata."""
    urls: bool = True
    """Whether two documents with the same http(s) address are duplicates, whatever they say."""
    max_documents_per_url: Annotated[int, Field(ge=2)] = 20
    """An address of more different documents than this is that of a collection, not of a page, and
    is ignored."""
    verify_jaccard: Annotated[float, Field(gt=0, le=1)] | None = None
    """Join near-duplicates only if their exact Jaccard similarity is at least this."""
    contained_share: Annotated[float, Field(gt=0, le=1)] | None = 0.6
    """A document is dropped as `contained` when at least this share of its characters stands in
    lines of other, shorter documents that stay: a manual on one page beside the split one."""
    repeated_lines: RepeatedLines | None = RepeatedLines()
    repeated_substrings: RepeatedSubstrings | None = None


class EvaluationSet(Section):
    """A file of questions that the corpus must not give away."""

    path: str
    """JSON Lines, JSON (objects at any depth, as in SQuAD), or any other name: a text with one item
    a line. Also .gz, .bz2, .zst."""
    keys: tuple[str, ...] = ()
    """The fields that hold text, in whichever object they stand; without keys all fields."""


class DecontaminationConfig(Section):
    """Documents that hold parts of evaluation sets are dropped as `contaminated`.

    Compared are windows of `ngram` characters, NFKC, case-folded, without white space. One of the
    thresholds is enough; `null` switches one off.
    """

    evaluation: tuple[EvaluationSet, ...] = ()
    ngram: Annotated[int, Field(ge=1, le=64)] = 13
    item_share: Annotated[float, Field(gt=0, le=1)] | None = 0.5
    """At least this share of the windows of one item stands in the document."""
    min_item_windows: Annotated[int, Field(ge=1)] = 5
    """Items with fewer windows are too short for `item_share`: any text may hold them."""
    document_share: Annotated[float, Field(gt=0, le=1)] | None = 0.2
    """At least this share of the document's own windows stands in evaluation sets."""
    hits: Annotated[int, Field(ge=1)] | None = None
    """At least so many different windows of the document stand in evaluation sets."""


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
    decontamination: DecontaminationConfig = DecontaminationConfig()

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
