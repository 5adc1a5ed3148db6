"""The trials of a study: recipes, and folders to train them in."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsumugu.corpus.inputs import listed_once
from tsumugu.errors import TsumuguError
from tsumugu.recipe import Recipe, load_recipe
from tsumugu.stages import stages_of
from tsumugu.study.config import JudgeConfig, Keys, StudyConfig

TOKENIZER, CORPUS = "tokenizer", "corpus"


@dataclass(frozen=True)
class Common:
    """A run of which all trials use something."""

    recipe: Recipe
    folder: Path
    last: str
    """The stage up to which it goes."""


@dataclass(frozen=True)
class Judge:
    """What trials are measured on when they are trained."""

    config: JudgeConfig
    corpus: Common
    """Its documents are the text."""


@dataclass(frozen=True)
class Trial:
    """One training."""

    setting: dict[str, str]
    """Labels by axis."""
    seed: int
    recipe: Recipe
    folder: Path
    """A run folder of its own."""
    shared: Path
    """The run folder whose earlier stages it reads."""
    stage: str
    """Its last one."""
    tokenizer: Common | None
    """The run whose tokenizer it has, if not one of its own text."""
    judge: Judge | None

    @property
    def labels(self) -> tuple[str, ...]:
        """Of its setting: the same for all of its seeds, and for no other setting."""
        return tuple(self.setting.values())

    @property
    def name(self) -> str:
        """For people; labels with commas may give two settings one name."""
        return ", ".join(f"{axis.rpartition('.')[2]} {label}" for axis, label in self.setting.items())

    @property
    def earlier(self) -> tuple[str, ...]:
        """The stages before its own, which trials with the same settings for them have in common."""
        return _before(self.recipe, self.stage)


@listed_once()
def trials_of(study: StudyConfig, path: Path, run_folder: Path) -> list[Trial]:
    """All trials, setting by setting.

    Args:
        study: what varies.
        path: its file, beside which the base recipe is looked for.
        run_folder: of the study.

    Raises:
        TsumuguError: the base recipe cannot be read, a combination of keys does not describe a possible
            run, or the judge's text would be trained on.
    """
    tokenizer = None
    if study.tokenizer_from is not None:
        tokenizer = _common(
            study, path, run_folder, study.tokenizer_from, name="tokenizer_from", last=TOKENIZER
        )
    judge = None
    if study.judge is not None:
        judge = Judge(
            study.judge, _common(study, path, run_folder, study.judge.keys, name="judge", last=CORPUS)
        )
    trials = []
    for setting in study.settings():
        for seed in study.seeds:
            keys = {**study.keys, **study.keys_of(setting), study.seed_key: seed}
            blame = f"{path} ({_words(setting)})"
            recipe = planned = load_recipe(path.parent / study.base, keys=keys, keys_from=blame)
            # The tokenizer may not be there yet: what it will be made of names the folders.
            made_of = [] if tokenizer is None else [tokenizer.folder.name]
            if tokenizer is not None:
                given = {"path": str(tokenizer.folder / TOKENIZER)}
                recipe = load_recipe(
                    path.parent / study.base, keys={**keys, TOKENIZER: given}, keys_from=blame
                )
            if judge is not None:
                _check_judge(judge, recipe, blame)
            earlier = _before(planned, study.stage)
            # Another text, model or training under the same labels is another trial.
            settings = _settings(planned, (*earlier, study.stage)) + made_of
            trials.append(
                Trial(
                    setting=setting,
                    seed=seed,
                    recipe=recipe,
                    folder=run_folder / "trials" / _folder_name(setting, seed, settings),
                    shared=run_folder / "shared" / _hash(_settings(planned, earlier) + made_of),
                    stage=study.stage,
                    tokenizer=tokenizer,
                    judge=judge,
                )
            )
    return trials


def _common(study: StudyConfig, path: Path, run_folder: Path, keys: Keys, *, name: str, last: str) -> Common:
    recipe = load_recipe(path.parent / study.base, keys={**study.keys, **keys}, keys_from=f"{path} ({name})")
    settings = _settings(recipe, (*_before(recipe, last), last))
    return Common(recipe, run_folder / "shared" / f"{name}-{_hash(settings)}", last)


def _before(recipe: Recipe, name: str) -> tuple[str, ...]:
    names = [stage.name for stage in stages_of(recipe)]
    return tuple(names[: names.index(name)])


def _check_judge(judge: Judge, recipe: Recipe, blame: str) -> None:
    """Refuse a trial that reads what it will be judged on, as far as paths tell."""
    size, longest = judge.config, recipe.pretrain.sequence_length
    if 1 + size.prompt_tokens + size.new_tokens > longest:
        raise TsumuguError(
            f"{blame}: judge.prompt_tokens and judge.new_tokens, with one token before them, are more than "
            f"pretrain.sequence_length ({longest})"
        )
    for ours in recipe.corpus.inputs:
        for theirs in judge.corpus.recipe.corpus.inputs:
            one, other = Path(ours.path).resolve(), Path(theirs.path).resolve()
            if one == other or one in other.parents or other in one.parents:
                raise TsumuguError(
                    f"{blame}: corpus.inputs has {ours.path}, and the judge's text comes from {theirs.path}: "
                    f"a model would be judged on what it was trained on"
                )


def _words(setting: dict[str, str]) -> str:
    return ", ".join(f"{axis} {label}" for axis, label in setting.items())


def _settings(recipe: Recipe, names: Sequence[str]) -> list[Any]:
    return [stage.settings(recipe) for stage in stages_of(recipe) if stage.name in names]


def _folder_name(setting: dict[str, str], seed: int, settings: list[Any]) -> str:
    """Readable, and of its own for every training: what cannot stand in a file's name is in the hash."""
    words = "_".join(f"{axis.rpartition('.')[2]}-{label}" for axis, label in setting.items())
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", words)[:60].strip("-.")
    return f"{plain}_{_hash([setting, settings])}_seed-{seed}"


def _hash(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:8]
