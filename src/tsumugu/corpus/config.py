"""The `corpus` section of a recipe: what comes in, and the rules that decide what stays."""

import json
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, get_args

import yaml
from pydantic import Field, model_validator

from tsumugu.corpus.signal_names import ON_DEMAND, SIGNALS, SignalName
from tsumugu.corpus.transforms.names import TransformName
from tsumugu.section import Section

__all__ = ["SIGNALS", "CorpusConfig", "DedupConfig", "Input", "Profile", "Rule", "SignalName"]

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
    """A threshold on a signal: a document that fails it is dropped for `reason`.

    A signal without a value (the share of an empty text, a signal that was not measured) passes.
    """

    reason: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    signal: SignalName
    at_least: float | None = None
    """Documents with a smaller signal are dropped."""
    at_most: float | None = None
    """Documents with a larger signal are dropped."""
    above: float | None = None
    """Documents with this signal or a smaller one are dropped."""
    below: float | None = None
    """Documents with this signal or a larger one are dropped."""

    @model_validator(mode="after")
    def _has_a_threshold(self) -> "Rule":
        lows = [bound for bound in (self.at_least, self.above) if bound is not None]
        highs = [bound for bound in (self.at_most, self.below) if bound is not None]
        if not lows and not highs:
            raise ValueError("a rule needs a threshold: at_least, at_most, above or below")
        if lows and highs and max(lows) > min(highs):
            raise ValueError(f"nothing passes: the signal would have to be {max(lows)} and {min(highs)} at once")
        if self.reason in RESERVED_REASONS:
            raise ValueError(f"{self.reason!r} is the name of a reason that the corpus stage itself gives")
        return self


class Profile(Section):
    """A named set of transforms and rules, in `corpus/profiles/NAME.yaml`."""

    source: Annotated[str, Field(min_length=1)]
    """Where the thresholds come from."""
    transforms: tuple[TransformName, ...]
    rules: tuple[Rule, ...]


ProfileName = Literal["web-ja", "hojichar", "llm-jp-v1", "swallow-v1"]
PROFILES: tuple[ProfileName, ...] = get_args(ProfileName)


@cache
def load_profile(name: ProfileName) -> Profile:
    """A profile that ships with Tsumugu."""
    text = files("tsumugu.corpus").joinpath("profiles", f"{name}.yaml").read_text(encoding="utf-8")
    return Profile.model_validate_json(json.dumps(yaml.safe_load(text)))


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
