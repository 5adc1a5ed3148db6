"""What PyTorch's own tracker says of a step of our trainer's, on one machine and without the memory.

One process of any number is played: a fake process group answers at once, and tensors have shapes but no
numbers. What is played is the trainer itself, `build_model`, its forward and backward passes and its
optimizer; the tracker hears of every tensor that is made and let go.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock

import torch
import torch.distributed as dist
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.distributed._tools.mem_tracker import MemTracker
from torch.distributed.pipelining._utils import InferenceMode
from torch.distributed.pipelining.schedules import _PipelineSchedule
from torch.testing._internal.distributed.fake_pg import FakeStore

from tsumugu.planning.workload import Candidate, Workload
from tsumugu.training.blocks import prepare_blocks
from tsumugu.training.config import PretrainConfig
from tsumugu.training.layout import Layout
from tsumugu.training.optimizer import build_optimizer
from tsumugu.training.parallelize import MicroBatch, ParallelModel, Settings, build_model
from tsumugu.training.processes import build_mesh

_CPU = torch.device("cpu")


def tracked_memory(workload: Workload, candidate: Candidate, *, rank: int = 0) -> int:
    """Bytes of tensors at the fullest moment of a step after the first, with a CPU's kernels.

    Args:
        workload: what is trained; not compiled, since compiled code shows nobody its tensors.
        candidate: how. No process group may exist.
        rank: of the process in the pipeline.
    """
    if workload.compile:
        raise ValueError("the tracker does not see into compiled layers; give a workload with compile=False")
    layout = candidate.layout
    with _fake_processes(layout, rank):
        mesh = build_mesh(layout, _CPU) if layout.processes > 1 else None
        config = _pretrain_config(workload, candidate)
        length = workload.sequence_length // layout.context
        # Memory that nobody writes to is not taken from the machine.
        model = build_model(
            workload.model,
            workload.vocab_size,
            layout=layout,
            mesh=mesh,
            device=_CPU,
            settings=Settings(
                seed=0,
                dtype=torch.float32 if workload.precision == "float32" else torch.bfloat16,
                first_weights=lambda part: None,
                prepare_blocks=partial(prepare_blocks, config=config),
            ),
            micro_batch=(candidate.micro_batch_size, length),
        )
        model.train()
        with FakeTensorMode(allow_non_fake_inputs=True):
            for part in model.parts:
                part.to_empty(device=_CPU)
            tokens = torch.zeros(candidate.micro_batch_size, length, dtype=torch.int64)
            batch = MicroBatch(tokens, tokens.clone(), torch.arange(length)[None], None)
            return _peak(model, config, workload, [batch] * candidate.micro_batches(workload))


def _peak(model: ParallelModel, config: PretrainConfig, workload: Workload, batches: list[MicroBatch]) -> int:
    optimizer = build_optimizer(model.named_parameters(), config.optimizer, model=workload.model)

    def step() -> None:
        model.forward_backward(batches)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    # The optimizer's state, a pipeline's buffers, and DTensor's notes of what it has seen.
    step()
    tracker = MemTracker()
    # Its hooks on modules tell which module takes what. They stand neither several micro-batches nor a
    # backward pass in two parts.
    tracker._mod_tracker = _NoModules()  # type: ignore[assignment]
    tracker.track_external(*model.parts, optimizer, *_received(model))
    with tracker:
        step()
    ((_, found),) = tracker.get_tracker_snapshot("peak").items()
    return int(found["Total"])


def _received(model: ParallelModel) -> list[torch.Tensor]:
    """The buffers of a pipeline."""
    stages = model.pipeline._stages if model.pipeline is not None else []
    infos = [
        info
        for stage in stages
        for received in (stage.args_recv_info, stage.grad_recv_info)
        for chunk in received.values()
        for info in chunk
    ]
    buffers = (getattr(info, "buffer", None) for info in infos)
    return [buffer for buffer in buffers if isinstance(buffer, torch.Tensor)]


class _NoModules:
    is_bw = False

    def __enter__(self) -> None: ...

    def __exit__(self, *args: Any) -> None: ...

    def register_user_hooks(self, *hooks: Any) -> None: ...

    def clear_user_hooks(self) -> None: ...


@contextmanager
def _fake_processes(layout: Layout, rank: int) -> Iterator[None]:
    if layout.processes == 1:
        yield
        return
    # The pipeline is the outermost dimension of the mesh.
    place = rank * layout.processes // layout.pipeline
    dist.init_process_group("fake", rank=place, world_size=layout.processes, store=FakeStore())
    try:
        # The stages' vote on how to learn their shapes is a number, which fake tensors have none of.
        with mock.patch.object(_PipelineSchedule, "_warmup_p2p", _all_shapes_are_known):
            yield
    finally:
        dist.destroy_process_group()


def _all_shapes_are_known(self: _PipelineSchedule, stages: Any, *args: Any) -> None:
    for stage in stages:
        stage._inference_mode = InferenceMode.STATIC


def _pretrain_config(workload: Workload, candidate: Candidate) -> PretrainConfig:
    return PretrainConfig.model_validate(
        {
            "steps": 1,
            "global_batch_size": workload.global_batch_size,
            "sequence_length": workload.sequence_length,
            "optimizer": {"name": workload.optimizer, "learning_rate": 1e-3},
            "activation_checkpointing": {"mode": candidate.checkpointing, "every": candidate.every},
        }
    )
