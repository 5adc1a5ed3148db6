"""Which run and which checkpoint a path means."""

from pathlib import Path

from tsumugu.errors import TsumuguError
from tsumugu.training.checkpoint import latest_checkpoint
from tsumugu.training.checkpoint_files import STATE


def run_of(path: Path) -> tuple[Path, Path | None] | None:
    """The run folder that a path means, and the checkpoint if it means one; None if it means neither."""
    if (path / STATE).is_file() and path.parent.name == "checkpoints":
        return path.parent.parent.parent, path
    return (path, None) if (path / "recipe.yaml").is_file() else None


def newest_checkpoint(run: Path) -> Path:
    """The newest checkpoint of a run, of a training that is not done too.

    Raises:
        TsumuguError: it has none.
    """
    found = [latest_checkpoint(run / stage / "checkpoints") for stage in ("pretrain", "pretrain.partial")]
    checkpoint = next((each for each in found if each is not None), None)
    if checkpoint is None:
        raise TsumuguError(f"{run}: this run has no checkpoint yet. Train it: tsumugu pretrain RECIPE")
    return checkpoint
