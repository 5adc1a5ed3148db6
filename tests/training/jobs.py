"""Small training runs, without recipes and stages."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from conftest import memory_shard
from tsumugu.model.config import ModelConfig
from tsumugu.tokens.loader import Loader
from tsumugu.tokens.mixture import Mixture
from tsumugu.tokens.sequences import Concatenated, Sequences
from tsumugu.tokens.shards import TokenStream
from tsumugu.training.checkpoint import Checkpoints, Progress
from tsumugu.training.config import OptimizerConfig, PretrainConfig, ScheduleConfig, StabilityConfig
from tsumugu.training.job import Job
from tsumugu.training.layout import Layout
from tsumugu.training.metrics import read_metrics
from tsumugu.training.parallelize import ParallelModel, Settings, build_model
from tsumugu.training.processes import Process, broadcast_object, build_mesh
from tsumugu.training.tracking import Trackers
from tsumugu.training.validation import held_out

VOCABULARY, LENGTH, BATCH = 64, 16, 8
CPU = torch.device("cpu")


def shape(architecture: str = "gpt-neox", *, layers: int = 1, **more: Any) -> ModelConfig:
    given = {"num_hidden_layers": layers, "hidden_size": 16, "num_attention_heads": 4}
    return ModelConfig.model_validate({"architecture": architecture, **given, **more})


MODEL = shape()


def config(**changes: Any) -> PretrainConfig:
    """Twelve steps with dropout, a checkpoint after every fourth."""
    return PretrainConfig(
        steps=12,
        global_batch_size=BATCH,
        sequence_length=LENGTH,
        dropout=0.2,
        optimizer=OptimizerConfig(learning_rate=0.01),
        schedule=ScheduleConfig(warmup_steps=3),
        stability=StabilityConfig(window=4, skips_before_rewind=2, spike_sigmas=None),
        validation_every=6,
        validation_sequences=12,
        checkpoint_every=4,
    ).model_copy(update=changes)


def text() -> TokenStream:
    """Tokens in an order that can be learned, no two sequences the same."""
    noise = np.random.default_rng(0).integers(0, 5, 4000)
    tokens = ((np.arange(4000) * 7 + noise) % VOCABULARY).astype(np.uint16)
    return TokenStream((memory_shard(tokens, np.array([0, len(tokens)])),))


def loader(source: Sequences | None = None) -> Loader:
    source = source or Concatenated(text(), LENGTH)
    return Loader(
        sources=(source,),
        mixture=Mixture(("",), np.array([source.count]), np.array([1])),
        seed=1,
        batch_size=BATCH,
        sequence_length=LENGTH,
        padding_id=2,
    )


def build(
    model: ModelConfig, layout: Layout, settings: PretrainConfig, *, micro: int, seed: int = 0
) -> ParallelModel:
    """This process's part of a model."""
    return build_model(
        model,
        VOCABULARY,
        layout=layout,
        mesh=build_mesh(layout, CPU) if layout.processes > 1 else None,
        device=CPU,
        settings=Settings(seed=seed, dropout=settings.dropout, z_loss=settings.z_loss),
        micro_batch=(micro, LENGTH // layout.context),
    )


def job(
    folder: Path,
    settings: PretrainConfig | None = None,
    *,
    rank: int = 0,
    layout: Layout = Layout(),  # noqa: B008 - it is frozen
    model: ModelConfig = MODEL,
    read: Loader | None = None,
    byte_lengths: Any = None,
) -> Job:
    """What one process of `layout` does; the validation text is what is trained on."""
    settings = settings or config()
    share = BATCH // layout.data
    micro = settings.micro_batch_size or max(1, share // layout.stages)
    built = build(model, layout, settings, micro=micro)
    folder.mkdir(parents=True, exist_ok=True)
    return Job(
        model=built,
        config=settings,
        loader=read or loader(),
        validation=held_out(
            text(),
            sequence_length=LENGTH,
            sequences=settings.validation_sequences,
            micro_batch_size=micro,
            part=(built.data_rank, layout.data),
            byte_lengths=byte_lengths,
        ),
        process=Process(rank, layout.processes, rank, layout.processes, CPU),
        seed=1,
        folder=folder,
        side_folder=folder / "side",
        micro_batch_size=micro,
        flops_per_token=1000,
        peak_flops=None,
        trackers=Trackers([]),
    )


def whole(tensor: Tensor) -> Tensor:
    """A copy of the whole of a tensor that processes may share."""
    found = tensor.detach()
    return (found.full_tensor() if hasattr(found, "full_tensor") else found).clone()


def weights(model: ParallelModel) -> dict[str, Tensor]:
    """Copies of this process's parameters, whole."""
    return {name: whole(parameter) for name, parameter in model.named_parameters()}


def assert_same(one: dict[str, Tensor], other: dict[str, Tensor]) -> None:
    """To the bit."""
    assert one.keys() == other.keys()
    for name, tensor in one.items():
        assert torch.equal(tensor, other[name]), name


def at_forward_pass(made: Job, number: int, act: Callable[[], None]) -> None:
    """Call `act` when the model begins its forward pass number `number` (from 1) on this process."""
    passes = 0

    def count(module: nn.Module, inputs: object) -> None:
        nonlocal passes
        passes += 1
        if passes == number:
            act()

    made.model.parts[0].register_forward_pre_hook(count)


@contextmanager
def full_disk(*, step: int, rank: int = 0) -> Iterator[None]:
    """The share of `rank` in the checkpoint of `step` is written to a device that is always full."""
    save = Checkpoints.save

    def trapped(self: Checkpoints, model: Any, optimizer: Any, progress: Progress) -> None:
        self.wait()
        aside = self._folder / f".step-{step}.{broadcast_object(os.getpid())}.tmp"
        if progress.step == step and self._first:
            aside.mkdir()
            (aside / f"shard-{rank:05d}.safetensors").symlink_to("/dev/full")
        save(self, model, optimizer, progress)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Checkpoints, "save", trapped)
        yield


def figures(folder: Path) -> list[tuple[Any, ...]]:
    """What `metrics.jsonl` says, without times."""
    names = ("step", "tokens", "samples", "read", "loss", "grad_norm", "learning_rate", "validation_loss")
    return [tuple(row.get(name) for name in names) for row in read_metrics(folder / "metrics.jsonl")]


def files(folder: Path) -> dict[str, bytes]:
    """Everything below a folder of checkpoints."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }
