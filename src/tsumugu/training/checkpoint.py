"""Checkpoints: everything that going on needs, for any layout of processes.

`step-N/` holds one safetensors file per process, written by PyTorch's distributed checkpointing
(DCP), with that process's share of the weights and of the optimizer's moments, by their names in
the whole model; and `state.json` with the counters and the checksums of the files. The learning
rate, the data order and the random numbers are functions of these counters. No file can run code
when it is loaded.

A save copies the numbers to memory and returns; they are written behind the training's back into
a folder with another name, which gets its own when all is on the disk. So a checkpoint is whole or
absent, and what is damaged later is noticed before it is loaded.
"""

import os
import threading
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import xxhash
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader, HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_loader import load as load_state
from torch.distributed.checkpoint.state_dict_saver import async_save

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, remove_leftovers, write_json
from tsumugu.model.decoder import Decoder
from tsumugu.training.parallelize import ParallelModel
from tsumugu.training.processes import broadcast_object

_PREFIX = "step-"
_STATE = "state.json"
_OPTIMIZER = "optimizer."
_BLOCK = 2**24


@dataclass
class Progress:
    """How far a run is; all that a checkpoint holds besides numbers of the model's size."""

    step: int = 0
    updates: int = 0
    """Steps that were applied."""
    samples: int = 0
    """Sequences of the data order that were read, or left out for good."""
    tokens: int = 0
    """Targets that were trained on."""
    guard: dict[str, Any] = field(default_factory=dict)
    """The state of the `SpikeGuard`."""


class Checkpoints:
    """The checkpoints of a run. All processes make the same calls in the same order."""

    def __init__(self, folder: Path, *, keep: int) -> None:
        """Take over `folder`: what an earlier process left unfinished there is removed."""
        self._folder = folder
        self._keep = keep
        self._first = not dist.is_initialized() or dist.get_rank() == 0
        # Saves talk to each other while training does.
        self._group = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self._saving: Future[Any] | None = None
        self._finishing: threading.Thread | None = None
        self._failure: BaseException | None = None
        if self._first:
            folder.mkdir(parents=True, exist_ok=True)
            remove_old_checkpoints(folder, keep=keep)
        if self._group is not None:
            dist.barrier(self._group)

    def save(self, model: ParallelModel, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Begin to write `step-N`; an earlier save is waited for.

        Raises:
            TsumuguError: a weight is no number.
            OSError: an earlier save failed.
        """
        self.wait()
        tensors = _tensors(model, optimizer)
        _check_finite(tensors, progress.step)
        name = f"{_PREFIX}{progress.step}"
        if broadcast_object((self._folder / name).exists()):
            return
        # In the form that `remove_leftovers` clears away, and the same on all processes.
        aside = self._folder / f".{name}.{broadcast_object(os.getpid())}.tmp"
        response = async_save(
            tensors,
            storage_writer=HuggingFaceStorageWriter(str(aside), save_distributed=True),
            process_group=self._group,
        )
        assert isinstance(response, Future)
        self._saving = response
        if self._first:
            state = asdict(progress)
            self._finishing = threading.Thread(
                target=self._finish, args=(response, aside, self._folder / name, state), name="checkpoint"
            )
            self._finishing.start()

    def wait(self) -> None:
        """Return when nothing is being written any more.

        Raises:
            OSError: the save failed; the message says why.
        """
        if self._finishing is not None:
            self._finishing.join()
        failure = self._failure
        if self._saving is not None and failure is None:
            failure = self._saving.exception()
        self._saving = self._finishing = self._failure = None
        if failure is not None:
            raise OSError(f"{self._folder}: the checkpoint cannot be written: {_cause(failure)}") from failure

    def check(self) -> None:
        """Raise what went wrong with a save that has ended."""
        if self._saving is not None and self._saving.done():
            ended = self._finishing is None or not self._finishing.is_alive()
            if ended:
                self.wait()

    def restore(self, model: ParallelModel, optimizer: torch.optim.Optimizer) -> Progress | None:
        """Load the newest checkpoint whose files are what was written; None if there is none.

        Raises:
            TsumuguError: there are checkpoints, and all of them are damaged.
        """
        self.wait()
        names = broadcast_object([f"{_PREFIX}{step}" for step in reversed(_steps(self._folder))])
        damages = []
        for name in names:
            damage = self._damage(self._folder / name)
            if damage is None:
                return _load(self._folder / name, model, optimizer)
            damages.append(damage)
        if damages:
            raise TsumuguError(
                f"no checkpoint below {self._folder} can be used: {'; '.join(damages)}. Restore one from a "
                f"copy, or delete them to begin again"
            )
        return None

    def _damage(self, checkpoint: Path) -> str | None:
        """What is wrong with a checkpoint, the same on all processes; every one reads some of the files."""
        try:
            files = sorted(read_json(checkpoint / _STATE)["files"].items())
        except (OSError, ValueError, KeyError) as error:
            found: str | None = f"{checkpoint / _STATE}: {error}"
            files = []
        else:
            found = None
        rank, count = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
        for name, entry in files[rank::count]:
            path = checkpoint / name
            if not path.is_file() or path.stat().st_size != entry["bytes"] or _xxh3(path) != entry["xxh3"]:
                found = f"{path} is not what was written"
        if self._group is None:
            return found
        everyone: list[str | None] = [None] * count
        dist.all_gather_object(everyone, found, group=self._group)
        return next((damage for damage in everyone if damage), None)

    def _finish(self, saving: Future[Any], aside: Path, final: Path, state: dict[str, Any]) -> None:
        try:
            if saving.exception() is not None:
                return
            names = sorted(path.name for path in aside.iterdir())
            files = {
                name: {"bytes": (aside / name).stat().st_size, "xxh3": _xxh3(aside / name)} for name in names
            }
            write_json(aside / _STATE, {**state, "files": files})
            aside.rename(final)
            _flush_folder(self._folder)
            remove_old_checkpoints(self._folder, keep=self._keep)
        except BaseException as error:  # noqa: BLE001 - it is raised again where the training waits
            self._failure = error


def remove_old_checkpoints(folder: Path, *, keep: int) -> None:
    """Leave the newest `keep` checkpoints, and nothing of those that a kill interrupted."""
    for old in _steps(folder)[:-keep]:
        # Renamed first: a kill in the middle must not leave half of a checkpoint under its name.
        path = folder / f"{_PREFIX}{old}"
        path.rename(folder / f".{path.name}.{os.getpid()}.tmp")
    remove_leftovers(folder)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint below `folder`, if there is one."""
    steps = _steps(folder)
    return folder / f"{_PREFIX}{steps[-1]}" if steps else None


def load_weights(checkpoint: Path, model: Decoder) -> None:
    """Copy a checkpoint's weights into a whole model on this process, whatever layout wrote them."""
    tensors: dict[str, Any] = {name: p.detach() for name, p in model.named_parameters()}
    load_state(tensors, storage_reader=HuggingFaceStorageReader(str(checkpoint)), no_dist=True)


def _load(checkpoint: Path, model: ParallelModel, optimizer: torch.optim.Optimizer) -> Progress:
    state = read_json(checkpoint / _STATE)
    del state["files"]
    progress = Progress(**state)
    reader = HuggingFaceStorageReader(str(checkpoint))
    saved = reader.read_metadata().state_dict_metadata
    tensors: list[dict[str, Any]] = []
    for part in model.parts:
        # Part by part: the two copies of a tied embedding have one name.
        found: dict[str, Any] = {}
        for name, parameter in part.named_parameters():
            known = _saved_name(model, name)
            found[known] = parameter.detach()
            prefix = f"{_OPTIMIZER}{known}."
            moments = {
                key.removeprefix(prefix): torch.zeros_like(parameter.detach())
                for key in saved
                if key.startswith(prefix)
            }
            found.update({f"{prefix}{key}": value for key, value in moments.items()})
            if "exp_avg" in moments:
                moments["step"] = torch.tensor(float(progress.updates), device=model.device)
            optimizer.state[parameter] = moments
        tensors.append(found)
    for found in tensors:
        load_state(found, storage_reader=HuggingFaceStorageReader(str(checkpoint)))
    return progress


def _tensors(model: ParallelModel, optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """Weights and moments by name, each once."""
    tensors: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        if model.is_copy(name):
            continue
        tensors[name] = parameter.detach()
        for key, value in optimizer.state[parameter].items():
            # The optimizer's own count of steps is `updates` in the state.
            if key != "step":
                tensors[f"{_OPTIMIZER}{name}.{key}"] = value.detach()
    return tensors


def _saved_name(model: ParallelModel, name: str) -> str:
    return "embedding.weight" if model.is_copy(name) else name


def _check_finite(tensors: dict[str, Any], step: int) -> None:
    """A weight that is no number must not be saved over those that were."""
    locals_ = [t.to_local() if hasattr(t, "to_local") else t for t in tensors.values()]
    # A sum is infinite or no number if one of its terms is.
    sums = torch.stack([t.sum(dtype=torch.float32) for t in locals_ if t.numel()])
    bad = (~sums.isfinite()).sum().to(torch.float32).cpu()
    if dist.is_initialized():
        bad = bad.to(locals_[0].device)
        dist.all_reduce(bad)
    if bad > 0:
        raise TsumuguError(
            f"pretrain: after step {step} {int(bad)} tensors of weights or moments hold numbers that are not "
            f"finite, so no checkpoint is written; the earlier ones are whole. Start again to go on from the "
            f"last of them; lower optimizer.learning_rate if it happens again"
        )


def _cause(error: BaseException) -> str:
    """The innermost reason, without the wrappers of the libraries on the way."""
    failures = getattr(error, "failures", None)
    if failures:
        inner = next(iter(failures.values()))
        error = inner[0] if isinstance(inner, tuple) else inner
    return str(error) or type(error).__name__


def _xxh3(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _steps(folder: Path) -> list[int]:
    return sorted(
        int(path.name.removeprefix(_PREFIX))
        for path in folder.glob(f"{_PREFIX}*")
        if path.name.removeprefix(_PREFIX).isdecimal()
    )
