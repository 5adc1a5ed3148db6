"""Models and data for the benchmarks of training, and a training run that is watched step by step."""

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

import tsumugu.training.trainer as trainer
from tsumugu.engine import Resources
from tsumugu.model.config import ModelConfig
from tsumugu.model.counts import flops_per_token
from tsumugu.tokens.config import DataConfig
from tsumugu.tokens.loader import Batch, Loader
from tsumugu.tokens.opening import RunLength, open_loader
from tsumugu.tokens.shards import PARTS, Index, ShardFacts, Source, npy_header, write_index
from tsumugu.training.blocks import prepare_blocks
from tsumugu.training.checkpoint import Checkpoints
from tsumugu.training.config import PretrainConfig
from tsumugu.training.job import Job
from tsumugu.training.layout import Layout
from tsumugu.training.parallelize import ParallelModel, Settings, build_model
from tsumugu.training.processes import this_process
from tsumugu.training.tracking import Trackers, _Sink
from tsumugu.training.validation import Validation

CPU = torch.device("cpu")


@dataclass(frozen=True)
class Shape:
    """A model and what it reads in a step."""

    layers: int
    hidden: int
    heads: int
    vocabulary: int
    batch: int
    length: int
    architecture: str = "gpt-neox"

    @property
    def model(self) -> ModelConfig:
        """The `model` section of a recipe."""
        return ModelConfig.model_validate(
            {
                "architecture": self.architecture,
                "num_hidden_layers": self.layers,
                "hidden_size": self.hidden,
                "num_attention_heads": self.heads,
                "max_position_embeddings": self.length,
            }
        )

    @property
    def tokens(self) -> int:
        """Targets in a step."""
        return self.batch * self.length

    @property
    def flops(self) -> float:
        """Floating-point operations of a step."""
        return float(self.tokens * flops_per_token(self.model, self.vocabulary, self.length))

    def of(self, architecture: str) -> "Shape":
        """The same sizes of another family."""
        return replace(self, architecture=architecture)


SHAPES = {
    # recipes/demo.yaml
    "demo": Shape(layers=3, hidden=192, heads=4, vocabulary=4096, batch=8, length=256),
    "10M": Shape(layers=10, hidden=256, heads=4, vocabulary=8192, batch=2, length=512),
    "50M": Shape(layers=8, hidden=512, heads=8, vocabulary=51_200, batch=2, length=512),
    "100M": Shape(layers=12, hidden=768, heads=12, vocabulary=20_480, batch=1, length=256),
}


def pretrain_config(shape: Shape, steps: int, **more: Any) -> PretrainConfig:
    """A recipe's `pretrain` section that does the same in every framework."""
    return PretrainConfig.model_validate(
        {
            "steps": steps,
            "global_batch_size": shape.batch,
            "sequence_length": shape.length,
            # Frameworks differ in what decays; without it all compute the same.
            "optimizer": {"learning_rate": 1e-3, "weight_decay": 0.0},
            "schedule": {"name": "constant"},
            "precision": "float32",
            "tracking": (),
            **more,
        }
    )


def build(shape: Shape, config: PretrainConfig) -> ParallelModel:
    """The model on this process alone, its weights a function of the shape."""
    settings = Settings(
        seed=0, dropout=config.dropout, prepare_blocks=lambda part: prepare_blocks(part, config)
    )
    layout = Layout()
    return build_model(shape.model, shape.vocabulary, layout=layout, mesh=None, device=CPU, settings=settings)


def batches(shape: Shape, count: int) -> list[Batch]:
    """What the first `count` steps of a watched run read."""
    with tempfile.TemporaryDirectory() as name:
        loader = _loader(Path(name), shape, count)
        return [loader.batch(index) for index in range(count)]


@dataclass
class Watched:
    """What was seen at the end of every step."""

    cpu: list[float] = field(default_factory=list)
    """CPU seconds of this process."""
    wall: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)

    def step(self, loss: float) -> None:
        """A step has ended."""
        self.cpu.append(time.process_time())
        self.wall.append(time.perf_counter())
        self.losses.append(loss)

    def steps(self, warm_up: int) -> dict[str, list[float]]:
        """CPU and wall seconds of every step after the first `warm_up`, and all losses."""
        return {
            "cpu": np.diff(self.cpu)[warm_up - 1 :].tolist(),
            "wall": np.diff(self.wall)[warm_up - 1 :].tolist(),
            "losses": self.losses,
        }


def train_watched(shape: Shape, steps: int, *, sinks: Trackers | None = None, **pretrain: Any) -> Watched:
    """A run of the real trainer. What it saves and validates at the end is left out."""
    config = pretrain_config(shape, steps, **pretrain)
    watched = Watched()

    def log(row: dict[str, float], step: int) -> None:
        if sinks is not None:
            sinks.log(row, step)
        if "loss" in row:
            watched.step(row["loss"])

    with tempfile.TemporaryDirectory() as name, _nothing_at_the_end():
        job = Job(
            model=build(shape, config),
            config=config,
            loader=_loader(Path(name), shape, steps),
            validation=Validation(batches(shape, 1)[0], shape.batch, 0),
            process=this_process(),
            seed=0,
            folder=Path(name),
            side_folder=Path(name),
            micro_batch_size=shape.batch,
            flops_per_token=flops_per_token(shape.model, shape.vocabulary, shape.length),
            peak_flops=None,
            trackers=Trackers([_Sink(log, lambda: None)]),
        )
        trainer.train(job)
    return watched


@contextmanager
def _nothing_at_the_end() -> Iterator[None]:
    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(Checkpoints, "save"))
        stack.enter_context(
            mock.patch.object(trainer, "validation_loss", return_value={"validation_loss": 0.0})
        )
        yield


def _loader(folder: Path, shape: Shape, steps: int) -> Loader:
    tokens = max(100_000, 2 * shape.tokens * steps)
    ids = np.random.default_rng(0).integers(0, shape.vocabulary, tokens, dtype=np.uint16)
    facts = ShardFacts(
        split="train",
        source=0,
        name="train/000/00000.npy",
        documents=100,
        tokens=tokens,
        characters=tokens,
        bytes=3 * tokens,
        xxh3=dict.fromkeys(PARTS, ""),
    )
    shards = folder / "tokens"
    arrays = {
        facts.name: ids,
        facts.file("offsets"): np.linspace(0, tokens, 101).astype("<i8"),
        facts.file("lengths"): np.zeros((100, 2), dtype="<i4"),
    }
    for name, array in arrays.items():
        path = shards / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(npy_header(array.dtype, array.shape) + array.tobytes())
    write_index(
        shards,
        Index(
            dtype="uint16",
            vocab_size=shape.vocabulary,
            bos_id=1,
            eos_id=2,
            sources=(Source("random", "none"),),
            shards=(facts,),
        ),
    )
    return open_loader(
        shards,
        DataConfig(),
        RunLength(shape.length, shape.batch, steps),
        seed=0,
        packing=folder / "packing",
        resources=Resources(1),
    )
