"""The trials of a study: recipes, and folders to train them in."""

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsumugu.recipe import Recipe, load_recipe
from tsumugu.stages import stages_of
from tsumugu.study.config import StudyConfig

SHARED = ("corpus", "tokenizer", "tokens")
"""Stages that trials with the same settings for them have in common."""


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
    """The run folder whose corpus, tokenizer and tokens it reads."""

    @property
    def name(self) -> str:
        """For people."""
        return ", ".join(f"{axis.rpartition('.')[2]} {label}" for axis, label in self.setting.items())


def trials_of(study: StudyConfig, path: Path, run_folder: Path) -> list[Trial]:
    """All trials, setting by setting.

    Args:
        study: what varies.
        path: its file, beside which the base recipe is looked for.
        run_folder: of the study.

    Raises:
        TsumuguError: the base recipe cannot be read, or a combination of keys does not describe a possible
            run.
    """
    base = path.parent / study.base
    trials = []
    for setting in study.settings():
        for seed in study.seeds:
            keys = {**study.keys, **study.keys_of(setting), "pretrain.seed": seed}
            recipe = load_recipe(base, keys=keys, keys_from=f"{path} ({_words(setting)})")
            # Another text, model or training under the same labels is another trial.
            folder = (
                run_folder / "trials" / _folder_name(setting, seed, _settings(recipe, (*SHARED, "pretrain")))
            )
            shared = run_folder / "shared" / _hash(_settings(recipe, SHARED))
            trials.append(Trial(setting, seed, recipe, folder, shared))
    return trials


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
