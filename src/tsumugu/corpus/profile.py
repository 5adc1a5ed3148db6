"""Rules, and the profiles that hold them: data, not code."""

import json
from functools import cache
from importlib.resources import files
from typing import Annotated, Literal, get_args

import yaml
from pydantic import Field, model_validator

from tsumugu.corpus.signal_names import SignalName
from tsumugu.corpus.transforms.names import TransformName
from tsumugu.section import Section

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

    @model_validator(mode="after")
    def _has_a_threshold(self) -> "Rule":
        if self.at_least is None and self.at_most is None:
            raise ValueError("a rule needs at_least, at_most, or both")
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError(f"at_least {self.at_least} is above at_most {self.at_most}: nothing passes")
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
