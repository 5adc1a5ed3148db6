"""What finished pre-trainings say about the loss: one point of each."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json
from tsumugu.pipeline import MANIFEST
from tsumugu.training.metrics import read_metrics


@dataclass(frozen=True)
class Run:
    """A model, and what it came to."""

    folder: Path
    parameters: int
    tokens: int
    """That it was trained on, repeated ones too."""
    loss: float
    """Of held-out text after the last step, in nats per token of its tokenizer."""
    judged_by: str = ""
    """A checksum of the tokenizer and of the held-out tokens: losses of runs that differ in it cannot be
    compared."""


def read_runs(folders: Sequence[Path]) -> list[Run]:
    """The points of finished runs.

    Raises:
        TsumuguError: a folder is no run whose pre-training is done, or their losses cannot be compared.
    """
    runs = [_read(folder) for folder in folders]
    for run in runs[1:]:
        if run.judged_by != runs[0].judged_by:
            raise TsumuguError(
                f"{run.folder} has another tokenizer or other held-out text than {runs[0].folder}, so that "
                f"their losses cannot be compared. Train all runs on one corpus, tokenizer and tokens stage"
            )
    return runs


def _read(folder: Path) -> Run:
    # What a run's own pre-training has written is in its folder under that name when it is done, not before.
    path = folder / "pretrain" / MANIFEST
    rows = [row for row in read_metrics(folder / "pretrain" / "metrics.jsonl") if "validation_loss" in row]
    try:
        parameters = read_json(path)["counts"]["parameters"]
        return Run(folder, parameters, rows[-1]["tokens"], rows[-1]["validation_loss"], _judged_by(folder))
    except FileNotFoundError as error:
        raise TsumuguError(
            f"{folder} is no run whose pre-training is done: there is no {error.filename}. Give folders that "
            f"tsumugu run or tsumugu pretrain has finished"
        ) from error
    except (json.JSONDecodeError, KeyError, IndexError) as error:
        raise TsumuguError(
            f"{folder}: its pre-training's manifest or metrics are damaged ({error!r})"
        ) from error


def _judged_by(folder: Path) -> str:
    tokenizer = _checksums(folder / "tokenizer" / MANIFEST, "tokenizer.json")
    held_out = _checksums(folder / "tokens" / MANIFEST, "validation/")
    return hashlib.sha256(json.dumps([tokenizer, held_out]).encode()).hexdigest()


def _checksums(manifest: Path, prefix: str) -> list[Any]:
    files = read_json(manifest)["files"]
    return [[name, entry["sha256"]] for name, entry in sorted(files.items()) if name.startswith(prefix)]
