"""What a way of training takes of a device's memory.

Memory is a matter of moments: when the loss is computed all activations are there and no gradient; at the
end of the backward pass it is the other way round. So the bytes of each of a few moments are added up, and
those of the fullest one count. They describe our trainer: FSDP as in `training/parallelize.py`, PyTorch's
pipelines, the loss of `model/loss.py`. `make bench NAME=plan_memory` holds them against PyTorch's trackers.
"""

from dataclasses import dataclass
from typing import NamedTuple

from tsumugu.planning.activations import Kernels
from tsumugu.planning.in_flight import in_flight
from tsumugu.planning.parts import Part, part_of
from tsumugu.planning.workload import Candidate, Workload
from tsumugu.training.layout import SPLIT_BACKWARD

FRAMEWORK_BYTES = 1_500 * 2**20
"""CUDA's context, NCCL's buffers and the workspaces of cuBLAS. An assumption: these differ from driver to
driver and grow with the number of groups; NVIDIA's and PyTorch's documents name no number."""
FRAGMENTATION = 0.04
"""Share of what tensors take that the allocator holds besides. An assumption, for expandable segments."""


@dataclass(frozen=True)
class Memory:
    """Bytes of the fullest device at its fullest moment."""

    weights: int
    """float32, this device's share."""
    gradients: int
    """float32: this device's share; in a pipeline, until the step's end, all of its stages'."""
    optimizer: int
    """Moments."""
    activations: int
    """Of all micro-batches in flight, with what a backward pass computes again and with."""
    logits: int
    """What the loss computes and keeps: some logits, gradients of hidden states and output embedding."""
    buffers: int
    """What FSDP gathered, gradients before they are reduced, what a pipeline receives, what Muon computes."""
    fragmentation: int
    """What no tensor uses: gaps of the allocator, CUDA's context, NCCL and cuBLAS."""
    moment: str
    """When that is."""
    pipeline_rank: int
    """Of the fullest device in its pipeline."""

    @property
    def tensors(self) -> int:
        """What PyTorch's trackers see."""
        parts = (self.weights, self.gradients, self.optimizer, self.activations, self.logits, self.buffers)
        return sum(parts)

    @property
    def total(self) -> int:
        """All of it."""
        return self.tensors + self.fragmentation


def memory(workload: Workload, candidate: Candidate, *, kernels: Kernels = "cuda") -> Memory:
    """What a device needs for training.

    Args:
        workload: what is trained.
        candidate: how.
        kernels: of which device; on a CPU there is nothing but tensors.
    """
    ranks = candidate.layout.pipeline
    # The first holds the most micro-batches and the embeddings, the last the head; of those between, which
    # have as many layers or one less, the first holds the most.
    return max(
        (
            memory_of_rank(workload, candidate, rank, kernels=kernels)
            for rank in {0, min(1, ranks - 1), ranks - 1}
        ),
        key=lambda found: found.total,
    )


def memory_of_rank(
    workload: Workload, candidate: Candidate, rank: int, *, kernels: Kernels = "cuda"
) -> Memory:
    """What the devices of process `rank` of the pipeline need."""
    part = part_of(workload, candidate, rank, kernels)
    moments = _pipeline_moments(part) if candidate.layout.pipeline > 1 else _moments(part)
    moments.append(_Moment("optimizer", part.gradients, 0, 0, _optimizer_buffers(part)))
    fullest = max(moments, key=lambda moment: sum(moment[1:]))
    tensors = part.weights + part.optimizer + sum(fullest[1:])
    lost = round(FRAGMENTATION * tensors) + FRAMEWORK_BYTES if kernels == "cuda" else 0
    return Memory(
        weights=part.weights,
        gradients=fullest.gradients,
        optimizer=part.optimizer,
        activations=fullest.activations,
        logits=fullest.logits,
        buffers=fullest.buffers,
        fragmentation=lost,
        moment=fullest.name,
        pipeline_rank=rank,
    )


class _Moment(NamedTuple):
    name: str
    gradients: int
    activations: int
    logits: int
    buffers: int


def _moments(part: Part) -> list[_Moment]:
    """Of a step without a pipeline."""
    (stage,) = part.stages
    size, block, root = part.size, part.block.whole, part.root.whole
    several = part.micro_batches > 1
    before = part.gradients if several else 0
    head = size * part.head
    copies = inner = 0
    held = gathered = gathering = reducing = 0
    if part.single:
        if size == 2:
            # Autocast copies matrices, and keeps the copies until it ends; layers that do not keep theirs for
            # the backward pass copy them again.
            inner, head = 2 * part.block.matrices, 4 * part.head
            copies = inner * stage.layers + 2 * part.head
    else:
        resharded = part.candidate.reshard
        held = size * (root + (0 if resharded else stage.layers * block))
        gathered = size * block if resharded else 0
        gathering = gathered if part.all.whole > part.all.share else 0
        reducing = 4 * block
    moments = [
        _Moment("loss", before, stage.kept, part.loss_forward, copies + held + gathering),
        _Moment(
            "backward pass of the loss", before, stage.kept, part.loss_backward, copies + held + gathering
        ),
    ]
    share = 0 if several else 4 * part.block.share
    # All layers alike, either end is the fullest.
    some = {0, 1, stage.layers - 2, stage.layers - 1} & set(range(stage.layers))
    for done in sorted(some) if part.candidate.every == 1 else range(stage.layers):
        last = stage.layers - 1 - done
        buffers = held + gathered + part.down
        buffers += gathering if last else 0
        buffers += reducing if done else 0
        buffers += inner * (sum(not one for one in stage.checkpointed[:last]) + 1)
        moments.append(
            _Moment(
                f"backward pass of layer {last}",
                before + done * share,
                stage.kept + part.work(stage, done),
                head,
                buffers,
            )
        )
    if part.single:
        moments.append(_Moment("backward pass of the embedding", part.gradients, 0, 0, 4 * part.head))
        return moments
    gradients = before or part.gradients - 4 * part.root.share
    moments.append(_Moment("backward pass of the embedding", gradients, 0, 0, held + 2 * head + reducing))
    gradients = part.gradients + (4 * part.root.share if several else 0)
    moments.append(_Moment("reducing the embedding", gradients, 0, 0, (size + 4) * root))
    return moments


def _pipeline_moments(part: Part) -> list[_Moment]:
    layout, count, size = part.candidate.layout, part.micro_batches, part.size
    # FSDP gathers a stage once in a step, and reduces its gradients, which are whole until then, at the end.
    whole = 4 * part.all.whole
    stream = size * part.tokens.count * part.workload.model.hidden_size // part.tokens.tensor
    # PyTorch's stages have a buffer for every micro-batch of a step, in both directions.
    received = sum((not stage.first) + (not stage.last) for stage in part.stages) * count * stream
    held = size * part.all.whole + received
    # Later processes put more of their weights' gradients off. How many is what the tracker suggests.
    split = layout.pipeline_schedule in SPLIT_BACKWARD
    late = part.rank + 2 if split else 0
    waiting = late * part.plain.weights_wait * max(stage.layers for stage in part.stages)
    if split and size < 4:
        # FSDP adds to the gradients in float32 after an input's backward pass, when these are not there yet.
        held += size * part.all.whole
    moments = []
    for counts in in_flight(layout, count, part.rank):
        # Until the first backward pass there are no gradients, and after it one micro-batch less, unless
        # another one comes in.
        steady = sum(counts) < count * len(counts)
        for index, stage in enumerate(part.stages):
            if not counts[index]:
                continue
            for gradients, gone in ((whole, 0),) if steady else ((0, 0), (whole, 1)):
                here = [number - (gone if place == index else 0) for place, number in enumerate(counts)]
                if not here[index]:
                    continue
                kept = waiting + sum(number * one.kept for number, one in zip(here, part.stages, strict=True))
                losses = sum(
                    number * part.loss_kept for number, one in zip(here, part.stages, strict=True) if one.last
                )
                others = losses - part.loss_kept if stage.last else losses
                if stage.last:
                    moments += [
                        _Moment("loss", gradients, kept, others + part.loss_forward, held),
                        _Moment(
                            "backward pass of the loss", gradients, kept, others + part.loss_backward, held
                        ),
                    ]
                # Gradients in half precision are added to those in float32 when all of a layer are there.
                fresh = size * part.head if stage.last and (size < 4 or not gradients) else 0
                moments.append(
                    _Moment(
                        "backward pass of a layer",
                        gradients,
                        kept + part.most_work(stage),
                        others,
                        held + part.down + fresh,
                    )
                )
    largest = max(part.root.whole, part.block.whole)
    moments.append(_Moment("reducing gradients", whole, 0, 0, held + 4 * largest))
    return moments


def _optimizer_buffers(part: Part) -> int:
    """AdamW's kernel is fused and needs nothing; Muon holds a few copies of its largest matrix."""
    if part.workload.optimizer == "adamw":
        return 0
    model = part.workload.model
    queries = (model.num_attention_heads + 2 * model.key_value_heads) * model.head_size
    largest = max(model.mlp_size, queries) * model.hidden_size
    smallest = min(model.mlp_size, model.hidden_size) ** 2
    return 2 * (6 * largest + 3 * smallest)
