"""`tsumugu release export`: any checkpoint as a release, of a training that is not done too."""

from pathlib import Path
from typing import Any

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, write_aside
from tsumugu.pipeline import MANIFEST
from tsumugu.recipe import Recipe, load_recipe
from tsumugu.release.config import ReleaseConfig
from tsumugu.release.folder import write_model, write_papers
from tsumugu.training.checkpoint import latest_checkpoint
from tsumugu.training.runs import newest_checkpoint, run_of

_BEFORE = ("corpus", "tokenizer", "tokens")


def export(place: Path, folder: Path, *, dtype: str | None = None, max_shard_size: str | None = None) -> Path:
    """Write a release; it appears whole or not at all. No model is held in memory.

    Args:
        place: a run folder, whose newest checkpoint is taken, or a checkpoint.
        folder: the release; it must not exist, or be empty.
        dtype: of the weights; default: the recipe's.
        max_shard_size: such as `5GB`; default: the recipe's.

    Returns:
        The checkpoint.

    Raises:
        TsumuguError: there is no checkpoint here, it is damaged, or the folder is in use.
    """
    found = run_of(place)
    if found is None:
        raise TsumuguError(
            f"{place}: neither a run folder (with recipe.yaml) nor a checkpoint of one "
            f"(RUN/pretrain/checkpoints/step-N)"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise TsumuguError(f"{folder} is there already. Remove it, or choose another folder")
    run, checkpoint = found
    checkpoint = checkpoint or newest_checkpoint(run)
    for name in _BEFORE:
        if not (run / name / MANIFEST).is_file():
            raise TsumuguError(f"{run}: the stage {name} is not done here; a release is made of it too")
    recipe = _with(load_recipe(run / "recipe.yaml"), dtype, max_shard_size)
    stages = {name: run / name for name in _BEFORE} | {"pretrain": checkpoint.parent.parent}
    with write_aside(folder) as aside:
        aside.mkdir()
        write_model(recipe, run / "tokenizer", checkpoint, aside)
        write_papers(recipe, stages, checkpoint, aside, scores=_scores(run, checkpoint))
    return checkpoint


def _with(recipe: Recipe, dtype: str | None, max_shard_size: str | None) -> Recipe:
    given = {"dtype": dtype, "max_shard_size": max_shard_size}
    values = {
        **recipe.release.model_dump(),
        **{key: value for key, value in given.items() if value is not None},
    }
    return recipe.model_copy(update={"release": ReleaseConfig.model_validate(values)})


def _scores(run: Path, checkpoint: Path) -> Any:
    """Of these very weights; None if the run has none."""
    scores, results = run / "evaluate" / "scores.json", run / "evaluate" / "results.json"
    manifest = run / "pretrain" / MANIFEST
    if not (scores.is_file() and results.is_file() and manifest.is_file()):
        return None
    if checkpoint.resolve() != (latest_checkpoint(run / "pretrain" / "checkpoints") or run).resolve():
        return None
    # The evaluate stage notes which training it asked.
    evaluated = read_json(results)["model"].get("fingerprint")
    return read_json(scores) if evaluated == read_json(manifest)["fingerprint"][:16] else None
