"""A study: one YAML file that says which recipe, what varies, and how much it may take."""

import json
from itertools import product
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, model_validator

from tsumugu.errors import TsumuguError
from tsumugu.recipe import parse_yaml
from tsumugu.section import Section

Keys = dict[str, Any]
"""Keys of a recipe with their values: `pretrain.optimizer.beta2: 0.95`."""


class HalvingConfig(Section):
    """Successive halving (Jamieson & Talwalkar 2016; asynchronous: Li et al. 2020), by Optuna (extra
    `study`): trainings that are behind the others at the same step are stopped. Whether one is depends on
    which others have got there, so with several at a time two runs of a study may stop different ones."""

    factor: Annotated[int, Field(ge=2)] = 3
    """One in so many goes on."""
    first_share: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Share of the steps after which they are compared for the first time."""


class JudgeConfig(Section):
    """Text that no trial trains on, and that all are measured on when they are trained."""

    keys: Annotated[Keys, Field(min_length=1)]
    """Keys of the recipe that are other than there and in `keys`: those of a corpus, all of whose documents
    are the text. Its inputs are none of a trial's."""
    prompts: Annotated[int, Field(ge=1)] = 32
    """Documents that every model continues, spread evenly over those that are long enough."""
    prompt_tokens: Annotated[int, Field(ge=1)] = 64
    """From the beginning of each."""
    new_tokens: Annotated[int, Field(ge=1)] = 128
    """That are drawn from the model's own distribution (temperature 1)."""


class StudyConfig(Section):
    """What is trained, and how often."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")]
    """Its folder is `runs/NAME` unless `--run` says otherwise."""
    question: Annotated[str, Field(min_length=1)]
    """What the study is to answer, for the page."""
    base: Annotated[str, Field(min_length=1)]
    """The recipe, relative to the study's file."""
    keys: Keys = Field(default_factory=dict)
    """Keys of the recipe that are other than there, in every trial."""
    axes: Annotated[dict[str, list[Any] | dict[str, Keys]], Field(min_length=1)]
    """What varies: a key of the recipe with a list of values, or any name with settings by label, each of
    which gives several keys."""
    stage: Literal["pretrain", "tune"] = "pretrain"
    """The last stage of a trial. Those before it are shared by trials with the same settings for them."""
    tokenizer_from: Keys | None = None
    """Keys of the recipe that are other than there and in `keys`, for a corpus and the tokenizer trained on
    it, which all trials have; unless given, each trains one on its own corpus."""
    judge: JudgeConfig | None = None
    """For trials that differ in their text, whose own held-out documents differ too."""
    seeds: Annotated[tuple[Annotated[int, Field(ge=0, lt=2**32)], ...], Field(min_length=1)] = (0,)
    """Of first weights and order of the data (`pretrain.seed`; `tune.seed` for `stage: tune`); text,
    tokenizer and what is held out stay."""
    budget_hours: Annotated[float, Field(gt=0)] | None = None
    """After so many hours of the command, shared stages included, no further trial begins; those that are
    missing are named on the page."""
    threads: Annotated[int, Field(ge=1)] = 1
    """Of one trial. Part of the study, because sums over threads decide the last bits of a loss."""
    search: Literal["grid", "halving"] = "grid"
    """All trials to their end, or most of them stopped early."""
    halving: HalvingConfig = HalvingConfig()
    """For `search: halving`."""

    @model_validator(mode="after")
    def _axes_vary(self) -> "StudyConfig":
        for name, values in self.axes.items():
            if len(values) < 1:
                raise ValueError(f"axes.{name} has no values")
            if isinstance(values, list) and len(set(map(_label, values))) < len(values):
                raise ValueError(f"axes.{name} names a value twice")
        taken = [(name, self._keys_set_by(name)) for name in self.axes]
        for place, (name, keys) in enumerate(taken):
            if _overlap(keys, {self.seed_key}):
                raise ValueError(f"axes.{name} sets {self.seed_key}; seeds is the key for that")
            if self.tokenizer_from is not None and _overlap(keys, {"tokenizer"}):
                raise ValueError(f"axes.{name} sets the tokenizer; with tokenizer_from all trials have one")
            for other, others in taken[:place]:
                if _overlap(keys, others):
                    raise ValueError(f"axes.{other} and axes.{name} set the same key of the recipe")
        if _overlap(set(self.keys), {self.seed_key}):
            raise ValueError(f"keys sets {self.seed_key}; seeds is the key for that")
        if len(set(self.seeds)) < len(self.seeds):
            raise ValueError("seeds names one twice")
        if self.stage == "tune" and (self.search == "halving" or self.judge is not None):
            raise ValueError("search: halving and judge are for stage: pretrain")
        return self

    @property
    def seed_key(self) -> str:
        """The key of the recipe that `seeds` are for."""
        return f"{self.stage}.seed"

    @property
    def judged_by(self) -> str:
        """The measure whose smallest mean wins: a name of `outcomes.MEASURES`."""
        if self.judge is not None:
            return "judge_bits_per_byte"
        return "answer_loss" if self.stage == "tune" else "bits_per_byte"

    def _keys_set_by(self, axis: str) -> set[str]:
        values = self.axes[axis]
        return {axis} if isinstance(values, list) else {key for keys in values.values() for key in keys}

    def settings(self) -> list[dict[str, str]]:
        """All combinations of the axes: labels by axis, the last axis changing fastest."""
        labels = [
            list(values) if isinstance(values, dict) else [_label(value) for value in values]
            for values in self.axes.values()
        ]
        return [dict(zip(self.axes, chosen, strict=True)) for chosen in product(*labels)]

    def keys_of(self, setting: dict[str, str]) -> Keys:
        """The keys of the recipe that a combination sets."""
        found: Keys = {}
        for name, label in setting.items():
            values = self.axes[name]
            if isinstance(values, dict):
                found |= values[label]
            else:
                found[name] = next(value for value in values if _label(value) == label)
        return found


def load_study(path: Path) -> StudyConfig:
    """Read the study at `path`.

    Raises:
        TsumuguError: it cannot be read, or has a mistake.
    """
    try:
        data = parse_yaml(path.read_text(encoding="utf-8"), where=str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise TsumuguError(f"{path}: the study cannot be read: {error}") from error
    try:
        return StudyConfig.model_validate_json(json.dumps(data))
    except (TypeError, ValueError) as error:
        if not isinstance(error, ValidationError):
            raise TsumuguError(f"{path}: a study holds text, numbers, lists and mappings: {error}") from error
        lines = "\n".join(
            f"  - {'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise TsumuguError(f"{path}: the study has mistakes:\n{lines}") from None


def _overlap(keys: set[str], others: set[str]) -> bool:
    """Whether a key of one is a key of the other, or a section around it."""
    return any(
        f"{key}.".startswith(f"{other}.") or f"{other}.".startswith(f"{key}.")
        for key in keys
        for other in others
    )


def _label(value: Any) -> str:
    """As a value stands on the page and in the name of a folder."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
