"""Pipeline parallelism: the layers over several processes, micro-batches through them.

A stage is a decoder from which the layers of other stages are taken out; the first keeps the
embeddings, the last the norm and the head. Schedules are PyTorch's. If input and output embedding
are one matrix, the first and the last stage hold a copy each: they begin equal, their gradients are
added up on both sides in every step, and so they stay equal.
"""

from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.pipelining import PipelineStage
from torch.distributed.pipelining.schedules import (
    PipelineScheduleMulti,
    PipelineScheduleSingle,
    get_schedule_class,
)

from tsumugu.model.decoder import Decoder
from tsumugu.training.layout import Layout, Schedule, stage_layers
from tsumugu.training.local import local_part

if TYPE_CHECKING:
    from tsumugu.training.parallelize import MicroBatch

_CLASSES: dict[Schedule, str] = {
    "gpipe": "GPipe",
    "1f1b": "1F1B",
    "interleaved_1f1b": "Interleaved1F1B",
    "interleaved_zero_bubble": "InterleavedZeroBubble",
    "zbv_zero_bubble": "ZBVZeroBubble",
}


def cut_stage(part: Decoder, stage: int, stages: int) -> None:
    """Take everything out of `part` that does not belong to stage number `stage` of `stages`."""
    kept = stage_layers(stage, stages, part.config.num_hidden_layers)
    for index in range(part.config.num_hidden_layers):
        if index not in kept:
            del part.layers[str(index)]
    if stage > 0:
        part.embedding = None
        part.position_embedding = None
    if stage < stages - 1:
        part.norm = None
        part.head = None


class Pipeline:
    """The stages of this process and the schedule that runs them."""

    def __init__(
        self,
        parts: list[Decoder],
        stage_ids: list[int],
        layout: Layout,
        mesh: DeviceMesh,
        device: torch.device,
        micro_batch: tuple[int, int],
        dtype: torch.dtype,
    ) -> None:
        """For micro-batches of `micro_batch` = (B, T) tokens on this process, whatever their number."""
        self._layout = layout
        self._device = device
        self._group = mesh.get_group("pipeline")
        # NCCL makes a group's communicator in its first collective, which all of the group must enter; the
        # first and the last stage talk to each other without the others.
        dist.all_reduce(torch.zeros((), device=device), group=self._group)
        batch, length = micro_batch
        config = parts[0].config
        shape = (batch, length // layout.tensor, config.hidden_size)
        between = torch.empty(shape, dtype=dtype, device="meta")
        self._between = between
        tokens = torch.empty(batch, length, dtype=torch.int64, device="meta")
        last = layout.stages - 1
        self._stages = [
            PipelineStage(
                part,
                stage,
                layout.stages,
                device,
                input_args=tokens if stage == 0 else between.clone().requires_grad_(),
                output_args=torch.empty((), device="meta").requires_grad_()
                if stage == last
                else between.clone().requires_grad_(),
                group=self._group,
            )
            for part, stage in zip(parts, stage_ids, strict=True)
        ]
        self._micro_batches = 0
        self._schedule: Any = None

    def step(self, batches: "list[MicroBatch]") -> Tensor:
        """Forward and backward of all micro-batches; the sum of the losses if the last stage is here."""
        schedule = self._schedule_for(len(batches))
        for stage in self._stages:
            stage.has_backward = True
            stage.clear_runtime_states()
        first = any(stage.is_first for stage in self._stages)
        last = any(stage.is_last for stage in self._stages)
        losses: list[Tensor] = []
        # The schedules' own `step` would cut one big batch into pieces; ours are cut already, and not
        # everything in them has a batch dimension.
        schedule._step_microbatches(
            [(batch.tokens,) if first else () for batch in batches],
            [self._keywords(batch) for batch in batches],
            [batch.targets for batch in batches] if last else None,
            losses if last else None,
            return_outputs=False,
        )
        return self._sum(losses)

    @torch.no_grad()
    def evaluate(self, batches: "list[MicroBatch]") -> Tensor:
        """Forward only, one micro-batch after the other through all stages."""
        losses = []
        sent: list[dist.Work | None] = []
        for batch in batches:
            x: Tensor | None = None
            for stage in self._stages:
                if stage.is_first:
                    x = batch.tokens
                elif x is None:
                    x = torch.empty(self._between.shape, dtype=self._between.dtype, device=self._device)
                    source = self._layout.stage_owner(stage.stage_index - 1)
                    dist.recv(x, group=self._group, group_src=source)
                x = stage.submod(x, **self._keywords(batch))
                if stage.is_last:
                    losses.append(x)
                    continue
                target = self._layout.stage_owner(stage.stage_index + 1)
                if target != stage.group_rank:
                    sent.append(dist.isend(x, group=self._group, group_dst=target))
                    x = None
        for work in sent:
            if work is not None:
                work.wait()
        return self._sum(losses)

    def _sum(self, losses: list[Tensor]) -> Tensor:
        total = torch.zeros((), device=self._device)
        return total if not losses else torch.stack([loss.detach() for loss in losses]).sum()

    def _keywords(self, batch: "MicroBatch") -> dict[str, Any]:
        keywords: dict[str, Any] = {"targets": batch.targets, "positions": batch.positions}
        return keywords if batch.documents is None else {**keywords, "documents": batch.documents}

    def _schedule_for(self, count: int) -> Any:
        # Stages are set up for a number of micro-batches by the schedule that first runs them, so an earlier
        # schedule does not fit them any more.
        if count != self._micro_batches:
            kind = get_schedule_class(_CLASSES[self._layout.pipeline_schedule])
            single = issubclass(kind, PipelineScheduleSingle)
            assert single or issubclass(kind, PipelineScheduleMulti)
            self._schedule = kind(
                self._stages[0] if single else self._stages,
                count,
                loss_fn=_same,
                # Losses are sums; whoever steps divides by the number of targets.
                scale_grads=False,
            )
            self._micro_batches = count
        return self._schedule

    @torch.no_grad()
    def add_tied_gradients(self, parts: list[Decoder]) -> None:
        """Give both copies of a tied embedding the sum of their gradients."""
        if not parts[0].config.tie_word_embeddings:
            return
        first = next((p.embedding.weight for p in parts if p.embedding is not None), None)
        last = next((p.head.weight for p in parts if p.head is not None), None)
        if first is not None and last is not None:
            total = _grad_here(first.grad) + _grad_here(last.grad)
            _grad_here(first.grad).copy_(total)
            _grad_here(last.grad).copy_(total)
        elif first is not None or last is not None:
            grad = _grad_here((first if first is not None else last).grad)  # type: ignore[union-attr]
            peer = self._layout.pipeline - 1 if first is not None else 0
            other = torch.empty_like(grad)
            ops = [
                dist.P2POp(dist.isend, grad, group=self._group, group_peer=peer),
                dist.P2POp(dist.irecv, other, group=self._group, group_peer=peer),
            ]
            for work in dist.batch_isend_irecv(ops):
                work.wait()
            grad.add_(other)


def _same(loss: Tensor, targets: Tensor) -> Tensor:
    """The last stage's output is the loss already."""
    return loss


def _grad_here(grad: Tensor | None) -> Tensor:
    assert grad is not None
    return local_part(grad)
