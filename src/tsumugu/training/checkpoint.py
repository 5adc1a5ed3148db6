"""Checkpoints: everything that going on needs, for any layout of processes.

`step-N/` holds the weights and the optimizer's moments, by their names in the whole model, in one file
per process, written by PyTorch's distributed checkpointing (DCP); and `state.json` with the counters and
the checksums of the files. The learning rate, the data order and the random numbers are functions of
these counters. No file can run code when it is loaded.

A save copies the numbers to memory and returns; they are written behind the training's back into a
folder with another name, which gets its own when all is on the disk. So a checkpoint is whole or absent,
and what is damaged later is noticed before it is loaded.
"""

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.state_dict_loader import load as load_state
from torch.distributed.checkpoint.state_dict_saver import async_save

from tsumugu.errors import TsumuguError
from tsumugu.files import remove_leftovers
from tsumugu.model.decoder import Decoder
from tsumugu.training.checkpoint_files import (
    Files,
    ShardWriter,
    find_damage,
    flush_folder,
    one_process_is_meant,
    read_state,
    reader,
    write_state,
)
from tsumugu.training.local import local_part
from tsumugu.training.parallelize import ParallelModel
from tsumugu.training.processes import broadcast_object

_PREFIX = "step-"
_OPTIMIZER = "optimizer."


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
        self._aside: Path | None = None
        self._newest: int | None = None
        self.damages: list[str] = []
        """What `restore` found wrong with checkpoints that it passed over."""
        if self._first:
            folder.mkdir(parents=True, exist_ok=True)
            remove_leftovers(folder)
        if self._group is not None:
            dist.barrier(self._group)

    def save(self, model: ParallelModel, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
        """Begin to write `step-N`; an earlier save is waited for.

        Checkpoints of later steps go when it is done: they were damaged, and passed over.

        Raises:
            TsumuguError: a weight is no number, or the earlier save failed.
        """
        self.wait()
        if progress.step == self._newest:
            return
        tensors = _tensors(model, optimizer, trained=progress.updates > 0)
        _check_finite(tensors, progress.step)
        # In the form that `remove_leftovers` clears away, and the same on all processes.
        self._aside = self._folder / f".{_PREFIX}{progress.step}.{broadcast_object(os.getpid())}.tmp"
        aside, state = self._aside, asdict(progress)

        def publish(files: Files) -> None:
            write_state(aside, state, files)
            _put_in_place(aside, self._folder / f"{_PREFIX}{state['step']}")
            remove_checkpoints(self._folder, newest=state["step"], keep=self._keep, later=True)

        one_process_is_meant()
        response = async_save(tensors, storage_writer=ShardWriter(aside, publish), process_group=self._group)
        assert isinstance(response, Future)
        self._saving = response
        self._newest = progress.step

    def wait(self) -> None:
        """Return when nothing is being written any more.

        Raises:
            TsumuguError: the save failed; the message says why. It is raised on all processes.
        """
        if self._saving is None:
            return
        error = self._saving.exception()
        self._saving = None
        if error is None:
            return
        self._newest = None
        if self._first and self._aside is not None:
            # All processes have stopped writing before any of them hears of an error.
            shutil.rmtree(self._aside, ignore_errors=True)
        cause = _cause(error)
        if not isinstance(cause, OSError):
            raise error
        raise TsumuguError(
            f"pretrain: no checkpoint can be written below {self._folder}: {cause}. The earlier ones are "
            f"whole; when that is put right, the same command goes on from the last of them"
        ) from error

    @contextmanager
    def at_rest_in_the_end(self) -> Iterator[None]:
        """However the block ends, a save that has begun is brought to its end."""
        try:
            yield
        finally:
            # What went wrong in the block is what must be told.
            with suppress(Exception):
                self.wait()

    @property
    def has_failed(self) -> bool:
        """Whether a save went wrong, as far as this process knows; `wait` says how."""
        saving = self._saving
        return saving is not None and saving.done() and saving.exception() is not None

    def restore(self, model: ParallelModel, optimizer: torch.optim.Optimizer) -> Progress | None:
        """Load the newest checkpoint whose files are what was written; None if there is none.

        Raises:
            TsumuguError: there are checkpoints, and all of them are damaged.
        """
        self.wait()
        self.damages = []
        steps: list[int] = broadcast_object(_steps(self._folder))
        for step in reversed(steps):
            checkpoint = self._folder / f"{_PREFIX}{step}"
            damage = self._damage(checkpoint)
            if damage is not None:
                self.damages.append(damage)
                continue
            progress = _load(checkpoint, model, optimizer, self._group)
            self._newest = step
            if self._first:
                # What a kill between two removals left. The damaged ones stay until there is a better one.
                remove_checkpoints(self._folder, newest=step, keep=self._keep, later=False)
            return progress
        if self.damages:
            raise TsumuguError(
                f"pretrain: no checkpoint below {self._folder} can be used: {'; '.join(self.damages)}. "
                f"Restore one from a copy, or delete them to begin again"
            )
        return None

    def _damage(self, checkpoint: Path) -> str | None:
        """What is wrong with a checkpoint, the same on all processes; every one reads some of the files."""
        if self._group is None:
            return find_damage(checkpoint)
        count = dist.get_world_size(self._group)
        everyone: list[str | None] = [None] * count
        found = find_damage(checkpoint, part=(dist.get_rank(self._group), count))
        dist.all_gather_object(everyone, found, group=self._group)
        return next((damage for damage in everyone if damage), None)


def remove_checkpoints(folder: Path, *, newest: int, keep: int, later: bool) -> None:
    """Leave `keep` checkpoints up to that of step `newest`, and nothing that a kill interrupted.

    Args:
        folder: all of them.
        newest: a step that has one.
        keep: how many stay.
        later: whether those of later steps go, too.
    """
    steps = _steps(folder)
    old = [step for step in steps if step <= newest][:-keep]
    for step in old + [step for step in steps if later and step > newest]:
        # Renamed first: a kill in the middle must not leave half of a checkpoint under its name.
        path = folder / f"{_PREFIX}{step}"
        path.rename(_leftover(path))
    remove_leftovers(folder)


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest checkpoint below `folder`, if there is one."""
    steps = _steps(folder)
    return folder / f"{_PREFIX}{steps[-1]}" if steps else None


def load_weights(checkpoint: Path, model: Decoder) -> None:
    """Copy a checkpoint's weights into a whole model on this process, whatever layout wrote them.

    Raises:
        TsumuguError: the checkpoint is damaged.
    """
    if damage := find_damage(checkpoint):
        raise TsumuguError(
            f"{damage}. Restore it from a copy, or delete {checkpoint.parent.parent} to train again"
        )
    tensors: dict[str, Any] = {name: p.detach() for name, p in model.named_parameters()}
    one_process_is_meant()
    load_state(tensors, storage_reader=reader(checkpoint), no_dist=True)


def _load(
    checkpoint: Path,
    model: ParallelModel,
    optimizer: torch.optim.Optimizer,
    group: dist.ProcessGroup | None,
) -> Progress:
    state, _ = read_state(checkpoint)
    progress = Progress(**state)
    saved = reader(checkpoint).read_metadata().state_dict_metadata
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
    one_process_is_meant()
    for found in tensors:
        load_state(found, storage_reader=reader(checkpoint), process_group=group)
    return progress


def _tensors(model: ParallelModel, optimizer: torch.optim.Optimizer, *, trained: bool) -> dict[str, Any]:
    """Weights and moments by name, each once, in an order that says who writes what others have, too."""
    tensors: dict[str, Any] = {}
    for name, parameter in model.named_parameters():
        if model.is_copy(name):
            continue
        tensors[name] = parameter.detach()
        state = optimizer.state.get(parameter, {})
        # FSDP may put other tensors into the place of the optimizer's parameters for a while.
        assert state or not trained, f"the optimizer does not know {name}"
        for key, value in state.items():
            # The optimizer's own count of steps is `updates` in the state.
            if key != "step":
                tensors[f"{_OPTIMIZER}{name}.{key}"] = value.detach()
    return dict(sorted(tensors.items()))


def _saved_name(model: ParallelModel, name: str) -> str:
    return "embedding.weight" if model.is_copy(name) else name


def _check_finite(tensors: dict[str, Any], step: int) -> None:
    """A weight that is no number must not be saved over those that were."""
    parts = [local_part(tensor) for tensor in tensors.values()]
    # A sum is infinite or no number if one of its terms is.
    sums = torch.stack([t.sum(dtype=torch.float32) for t in parts if t.numel()])
    bad = (~sums.isfinite()).sum().to(torch.float32)
    if dist.is_initialized():
        dist.all_reduce(bad)
    if bad > 0:
        raise TsumuguError(
            f"pretrain: after step {step} {int(bad)} tensors of weights or moments hold numbers that are not "
            f"finite, so no checkpoint is written; the earlier ones are whole. Start again to go on from the "
            f"last of them; lower optimizer.learning_rate if it happens again"
        )


def _put_in_place(aside: Path, final: Path) -> None:
    if final.exists():
        # One that was passed over.
        final.rename(_leftover(final))
    aside.rename(final)
    flush_folder(final.parent)


def _leftover(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.old.tmp")


def _cause(error: BaseException) -> BaseException:
    """What went wrong on the first of the processes where something did."""
    failures = list(error.failures.values()) if isinstance(error, CheckpointException) else []
    return failures[0][0] if failures else error


def _steps(folder: Path) -> list[int]:
    return sorted(
        int(path.name.removeprefix(_PREFIX))
        for path in folder.glob(f"{_PREFIX}*")
        if path.name.removeprefix(_PREFIX).isdecimal()
    )
