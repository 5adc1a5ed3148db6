"""The `corpus` section of a recipe: what comes in, and the rules that decide what stays."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tsumugu.corpus.profile import ProfileName, Rule, load_profile
from tsumugu.corpus.signal_names import ON_DEMAND, SIGNALS, SignalName
from tsumugu.corpus.transforms.names import COUNTERS, TransformName
from tsumugu.section import Section

__all__ = ["SIGNALS", "CorpusConfig", "DedupConfig", "Input", "Rule", "SignalName", "load_profile"]


class Input(Section):
    """Files of one origin: a folder with all its subfolders, one file, a glob, or any of these
    elsewhere (`s3://bucket/folder`, `https://host/file.jsonl.gz`), or a dataset of the Hugging Face
    Hub (`hf://datasets/OWNER/NAME`, best with `@COMMIT` behind it).

    A file below two inputs belongs to the innermost one alone.
    """

    path: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    """A name for where these pages come from; it stands beside every document."""
    optional: bool = False
    """Go on without this input when it does not exist or holds no file that can be read."""
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
    """`resiliparse` is fast; `trafilatura` (an extra) is about seventeen times slower and leaves less
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


class FastTextModel(Section):
    """A fastText classifier of your own, such as Swallow's of educational value."""

    path: Annotated[str, Field(min_length=1)]
    """A `.bin` or `.ftz` file of a supervised model. Every worker holds a copy in memory."""
    label: str | None = None
    """The label whose probability is `quality_score`, such as `__label__pos`. Without it the labels
    are numbers (`__label__0`, `__label__1`, ...), and the score is their mean by probability."""


class KenLMModel(Section):
    """A KenLM language model of your own (extra `kenlm`), such as CC-Net's of Wikipedia."""

    path: Annotated[str, Field(min_length=1)]
    """An ARPA or binary file; workers share the memory of a binary one (KenLM's `build_binary`)."""
    sentencepiece: str | None = None
    """The SentencePiece model that cut the text the model was trained on; characters without it."""
    normalization: Literal["cc_net"] | None = None
    """What was done to that text before: `cc_net` for the models published with CC-Net."""


class QualityConfig(Section):
    """Models that say how good a document is, as signals for rules."""

    fasttext: FastTextModel | None = None
    """Gives `quality_score`."""
    kenlm: KenLMModel | None = None
    """Gives `quality_perplexity`."""


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
    group_characters: Annotated[int, Field(ge=1)] = 2**24
    """Neighbouring documents are compared in groups of so many characters, at 30 bytes of memory for
    each. Copies in different groups are not seen."""


class DedupConfig(Section):
    """How alike two documents may be, and which one stays."""

    documents: bool = True
    """Whether copies of documents go at all: exact, by address, near. Without it `contained_share`,
    `repeated_lines` and `repeated_substrings` still do what they say."""
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
    """Input bytes that form one unit of work, and bytes of text after which a new one is begun when
    more comes out of an input: a compressed file is read in one piece, whatever its size."""
    extraction: ExtractionConfig = ExtractionConfig()
    profile: ProfileName | None = "web-ja"
    """The transforms and rules to begin with; null begins with none."""
    transforms: tuple[TransformName, ...] | None = None
    """Changes to the text, in this order, in the place of the profile's."""
    hojichar: str | None = None
    """A HojiChar Compose of your own, which runs after the transforms: `profile.py`, `profile.py:NAME`
    or `module:NAME`."""
    rules: tuple[Rule, ...] = ()
    """Rules beside the profile's; one with the same reason takes the place of the profile's."""
    without: tuple[str, ...] = ()
    """Reasons whose rules are left out of the profile."""
    quality: QualityConfig = QualityConfig()
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
        paths = [(entry.path, entry.subset, entry.split) for entry in self.inputs]
        if len(set(paths)) < len(paths):
            raise ValueError("two inputs have the same path; every document would come in twice")
        return self

    @model_validator(mode="after")
    def _rules_can_decide(self) -> "CorpusConfig":
        inherited = [rule.reason for rule in load_profile(self.profile).rules] if self.profile else []
        for reason in self.without:
            if reason not in inherited:
                raise ValueError(
                    f"without: profile {self.profile!r} has no rule {reason!r}; it has {', '.join(inherited)}"
                )
        counted = {name for transform in self.effective_transforms for name in COUNTERS[transform]}
        for rule in self.effective_rules:
            transforms = [name for name, counters in COUNTERS.items() if rule.signal in counters]
            if transforms and rule.signal not in counted:
                raise ValueError(
                    f"the rule {rule.reason!r} asks for {rule.signal}, which only the transform "
                    f"{' or '.join(transforms)} counts, and that does not run"
                )
            kind = {"quality_score": "fasttext", "quality_perplexity": "kenlm"}.get(rule.signal)
            if kind and getattr(self.quality, kind) is None:
                raise ValueError(
                    f"the rule {rule.reason!r} asks for {rule.signal}; name its model in quality.{kind}"
                )
        return self

    def result_settings(self) -> dict[str, object]:
        """What the documents depend on."""
        # A switch that nobody has moved is no other setting.
        unsaid = {"dedup": {"documents"}} if self.dedup.documents else None
        return self.model_dump(mode="json", exclude=unsaid)

    @property
    def other_files(self) -> tuple[str, ...]:
        """Files beside the inputs on which the result depends."""
        evaluation = [one.path for one in self.decontamination.evaluation]
        profile = (self.hojichar or "").partition(":")[0]
        profiles = [profile] if profile.endswith(".py") else []
        fasttext, kenlm = self.quality.fasttext, self.quality.kenlm
        models = [fasttext and fasttext.path, kenlm and kenlm.path, kenlm and kenlm.sentencepiece]
        return (*evaluation, *profiles, *(path for path in models if path))

    @property
    def effective_rules(self) -> tuple[Rule, ...]:
        """The profile's rules and the recipe's, in the order in which they are asked."""
        own = {rule.reason: rule for rule in self.rules}
        inherited = load_profile(self.profile).rules if self.profile else ()
        kept = [own.pop(rule.reason, rule) for rule in inherited if rule.reason not in self.without]
        return (*kept, *own.values())

    @property
    def effective_transforms(self) -> tuple[TransformName, ...]:
        """The transforms that run."""
        if self.transforms is not None:
            return self.transforms
        return load_profile(self.profile).transforms if self.profile else ()

    @property
    def measured_signals(self) -> set[SignalName]:
        """All signals but those that are slow and that no rule asks for."""
        return set(SIGNALS) - set(ON_DEMAND) | {rule.signal for rule in self.effective_rules}
