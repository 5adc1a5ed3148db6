"""Checkpoints: everything that going on needs, in safetensors and JSON.

`step-N/` holds the weights, the optimizer's moments, and the step. The data order, the learning
rate and the random numbers are functions of the step, so there is nothing else to save. A
checkpoint appears whole or not at all, and no file in it can run code when it is loaded.
"""

import os
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from tsumugu.files import read_json, remove_leftovers, write_aside, write_json

_PREFIX = "step-"
_WEIGHTS = "model.safetensors"
_OPTIMIZER = "optimizer.safetensors"
_STATE = "state.json"


def save_checkpoint(
    folder: Path, model: nn.Module, optimizer: torch.optim.Optimizer, *, step: int, keep: int
) -> None:
    """Write `folder/step-N` and remove all but the newest `keep`."""
    final = folder / f"{_PREFIX}{step}"
    if not final.exists():
        with write_aside(final) as aside:
            aside.mkdir()
            weights = {name: p.detach().contiguous() for name, p in model.named_parameters()}
            _save(weights, aside / _WEIGHTS)
            _save(_optimizer_tensors(model, optimizer), aside / _OPTIMIZER)
            write_json(aside / _STATE, {"step": step})
    remove_old_checkpoints(folder, keep=keep)


def remove_old_checkpoints(folder: Path, *, keep: int) -> None:
    """Leave the newest `keep` checkpoints, and nothing of those that a kill interrupted."""
    for old in _steps(folder)[:-keep]:
        # Renamed first: a kill in the middle must not leave half of a checkpoint under its name.
        path = folder / f"{_PREFIX}{old}"
        path.rename(folder / f".{path.name}.{os.getpid()}.tmp")
    remove_leftovers(folder)


def _save(tensors: dict[str, Tensor], path: Path) -> None:
    try:
        save_file(tensors, path)
    except SafetensorError as error:
        # A full disk, most of the time; the library's own error has lost the system's number.
        raise OSError(f"{path}: the checkpoint cannot be written: {error}") from error


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint below `folder`, if there is one."""
    steps = _steps(folder)
    return folder / f"{_PREFIX}{steps[-1]}" if steps else None


def load_weights(checkpoint: Path, model: nn.Module) -> None:
    """Copy a checkpoint's weights into `model`."""
    # A tied output embedding is saved once, as the input's.
    model.load_state_dict(load_file(checkpoint / _WEIGHTS), strict=False)


def load_checkpoint(checkpoint: Path, model: nn.Module, optimizer: torch.optim.Optimizer) -> int:
    """Restore `model` and `optimizer`; return the number of steps that were done."""
    load_weights(checkpoint, model)
    tensors = load_file(checkpoint / _OPTIMIZER)
    for name, parameter in model.named_parameters():
        prefix = f"{name}/"
        optimizer.state[parameter] = {
            key.removeprefix(prefix): value.to(parameter.device)
            for key, value in tensors.items()
            if key.startswith(prefix)
        }
    step: int = read_json(checkpoint / _STATE)["step"]
    return step


def _optimizer_tensors(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """The moments by the name of their parameter, which outlives any order of parameters."""
    return {
        f"{name}/{key}": value.detach().contiguous()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def _steps(folder: Path) -> list[int]:
    return sorted(
        int(path.name.removeprefix(_PREFIX))
        for path in folder.glob(f"{_PREFIX}*")
        if path.name.removeprefix(_PREFIX).isdecimal()
    )
