"""How processes share the work: the `layout` of a recipe, and whether it is possible.

Five numbers whose product is the number of processes. `data_shard`: FSDP, every process holds a
share of the weights and works on its own sequences. `data_replicate`: whole groups of those hold
the same (with both, HSDP). `context`: a sequence is shared by several processes. `tensor`: a matrix
is. `pipeline`: the layers are. Everything that is wrong with a layout is said before any process
group exists.
"""

import math
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tsumugu.errors import TsumuguError
from tsumugu.model.config import ModelConfig
from tsumugu.section import Section

Schedule = Literal["gpipe", "1f1b", "interleaved_1f1b", "interleaved_zero_bubble", "zbv_zero_bubble"]
"""In which order a pipeline's stages work. GPipe (Huang et al. 2019); 1F1B (Narayanan et al. 2019);
interleaved 1F1B (Narayanan et al. 2021); interleaved with the zero-bubble split of the backward pass, and
ZBV (Qi et al. 2023)."""

SPLIT_BACKWARD: tuple[Schedule, ...] = ("interleaved_zero_bubble", "zbv_zero_bubble")
"""Schedules that compute the gradients of inputs and of weights at different times."""
_TWO_STAGES: tuple[Schedule, ...] = ("interleaved_1f1b", *SPLIT_BACKWARD)


class LayoutConfig(Section):
    """Degrees of parallelism; their product is the number of processes. Or the word `auto`."""

    auto: bool = False
    """Choose by the number of processes, the batch, and the devices' memory. `layout: auto` says the same."""
    data_replicate: Annotated[int, Field(ge=1)] = 1
    """Groups of processes that hold the same weights and work on different sequences."""
    data_shard: Annotated[int, Field(ge=1)] | None = None
    """Processes that share the weights of one such group (FSDP); all those that the other numbers
    leave unless given."""
    context: Annotated[int, Field(ge=1)] = 1
    """Processes that share every sequence."""
    tensor: Annotated[int, Field(ge=1)] = 1
    """Processes that share every matrix; on one node, where communication is fast."""
    pipeline: Annotated[int, Field(ge=1)] = 1
    """Processes that share the layers."""
    pipeline_schedule: Schedule = "1f1b"
    """In which order a pipeline's stages work on the micro-batches. All but `gpipe` and `1f1b` give
    every process two stages; those named `zero_bubble` split the backward pass in two."""

    @property
    def least_processes(self) -> int:
        """What these numbers need, however many more may share the data."""
        return math.prod(
            (self.data_replicate, self.data_shard or 1, self.context, self.tensor, self.pipeline)
        )

    @model_validator(mode="before")
    @classmethod
    def _from_word(cls, data: Any) -> Any:
        if data == "auto":
            return {"auto": True}
        if not isinstance(data, dict | LayoutConfig):
            raise ValueError("a layout is the word auto, or degrees such as {tensor: 2, pipeline: 4}")
        return data

    @model_validator(mode="after")
    def _one_way(self) -> "LayoutConfig":
        degrees = (self.data_replicate, self.context, self.tensor, self.pipeline)
        chosen = self.data_shard is not None or degrees != (1, 1, 1, 1) or self.pipeline_schedule != "1f1b"
        if self.auto and chosen:
            raise ValueError("auto chooses everything; leave out either auto or the other keys")
        return self


@dataclass(frozen=True)
class Layout:
    """A `LayoutConfig` without gaps."""

    data_replicate: int = 1
    data_shard: int = 1
    context: int = 1
    tensor: int = 1
    pipeline: int = 1
    pipeline_schedule: Schedule = "1f1b"

    @property
    def processes(self) -> int:
        """How many it needs."""
        return self.data * self.context * self.tensor * self.pipeline

    @property
    def data(self) -> int:
        """Into how many parts the sequences of a batch are dealt."""
        return self.data_replicate * self.data_shard

    @property
    def stages(self) -> int:
        """Of the pipeline: one or two per process, as the schedule wants."""
        return self.pipeline * self.stages_per_process

    @property
    def stages_per_process(self) -> int:
        """One, or two for the schedules that interleave."""
        return 2 if self.pipeline > 1 and self.pipeline_schedule in _TWO_STAGES else 1

    def stage_ids(self, rank: int) -> list[int]:
        """The stages of process `rank` of the pipeline: looped, or in ZBV down and up again."""
        if self.stages_per_process == 1:
            return [rank]
        if self.pipeline_schedule == "zbv_zero_bubble":
            return [rank, self.stages - 1 - rank]
        return [rank, rank + self.pipeline]

    def stage_owner(self, stage: int) -> int:
        """The process of the pipeline that has `stage`."""
        return next(rank for rank in range(self.pipeline) if stage in self.stage_ids(rank))

    def __str__(self) -> str:
        names = ("data_replicate", "data_shard", "context", "tensor", "pipeline")
        parts = [f"{name} {getattr(self, name)}" for name in names if getattr(self, name) > 1]
        if self.pipeline > 1:
            parts[-1] += f" ({self.pipeline_schedule})"
        return " x ".join(parts) or "one process"


def stage_layers(stage: int, stages: int, layers: int) -> range:
    """The layers of a stage: equally many, or one more; the last stage, which has the head besides, is the
    last to get one more, and the first stage, which has the embeddings, the last but one."""
    base, more = divmod(layers, stages)
    order = [*range(1, stages - 1), 0, stages - 1] if stages > 1 else [0]
    longer = set(order[:more])
    counts = [base + (index in longer) for index in range(stages)]
    first = sum(counts[:stage])
    return range(first, first + counts[stage])


@dataclass(frozen=True)
class Training:
    """What a layout must fit."""

    model: ModelConfig
    vocab_size: int
    sequence_length: int
    batch_sizes: tuple[int, ...]
    """Sequences of an optimizer step; several if the batch size warms up."""
    micro_batch_size: int | None
    checkpointing: Literal["none", "selective", "full"] = "none"
    checkpointing_every: int = 1
    compile: bool = False
    precision: Literal["float32", "bfloat16", "float8"] = "bfloat16"
    optimizer: Literal["adamw", "muon"] = "adamw"
    muon_ns_steps: int = 5


@dataclass(frozen=True)
class Machines:
    """What there is to compute on."""

    processes: int = 1
    processes_per_node: int = 1


def resolve_layout(config: LayoutConfig, training: Training, machines: Machines) -> Layout:
    """The layout that `config` writes out; `planning/auto.py` chooses one for `auto`.

    Raises:
        TsumuguError: it cannot work; the message says what to change.
    """
    others = config.data_replicate * config.context * config.tensor * config.pipeline
    shard = config.data_shard or max(1, machines.processes // others)
    layout = Layout(
        config.data_replicate,
        shard,
        config.context,
        config.tensor,
        config.pipeline,
        config.pipeline_schedule,
    )
    faults = layout_faults(layout, training, machines)
    if faults:
        lines = "\n".join(f"  - {fault}" for fault in faults)
        count = "one process" if machines.processes == 1 else f"{machines.processes} processes"
        raise TsumuguError(f"pretrain.layout: {layout} cannot work on {count}:\n{lines}")
    return layout


def micro_batch_size(layout: Layout, training: Training, batch_size: int) -> int:
    """Sequences in one forward pass of one process."""
    share = batch_size // layout.data
    if training.micro_batch_size:
        return training.micro_batch_size
    if layout.pipeline == 1:
        return share
    # A pipeline needs several to be busy: at least as many as it has stages, where there are.
    fitting = [n for n in _divisors(share) if not _count_fault(layout, share // n)]
    return max(fitting, default=1)


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def layout_faults(layout: Layout, training: Training, machines: Machines) -> list[str]:
    """What is wrong with a layout, and what to change; empty if it works."""
    faults = []
    if layout.processes != machines.processes:
        faults.append(
            f"its degrees multiply to {layout.processes}, not to {machines.processes}; start "
            f"{layout.processes} processes (torchrun --nproc-per-node), or change the layout"
        )
    faults += _tensor_faults(layout.tensor, training, context=layout.context)
    if training.precision == "float8" and layout.tensor > 1:
        faults.append("precision = float8 works with tensor = 1 only; choose bfloat16, or another degree")
    if layout.context > 1 and training.sequence_length % (2 * layout.context):
        faults.append(
            f"context = {layout.context} cuts a sequence into {2 * layout.context} equal pieces, but "
            f"sequence_length = {training.sequence_length} is not a multiple of that"
        )
    # Batches that warm up are multiples of the first: what is wrong with it is wrong with others too.
    of_batches = (_batch_faults(layout, training, size) for size in training.batch_sizes)
    faults += next((found for found in of_batches if found), [])
    return faults + _pipeline_faults(layout, training)


def _tensor_faults(degree: int, training: Training, *, context: int) -> list[str]:
    model = training.model
    numbers = {
        "the model's heads of keys and values": model.key_value_heads,
        "the width of its MLP": model.mlp_size,
        "the vocabulary": training.vocab_size,
        "sequence_length / context": training.sequence_length // context,
    }
    return [
        f"tensor = {degree} does not divide {name} ({number})"
        for name, number in numbers.items()
        if number % degree
    ]


def _batch_faults(layout: Layout, training: Training, batch_size: int) -> list[str]:
    warms_up = batch_size < max(training.batch_sizes)
    key = "batch_size_warmup.start" if warms_up else "global_batch_size"
    if batch_size % layout.data:
        return [
            f"the batch of {batch_size} sequences cannot be dealt to data_replicate x data_shard = "
            f"{layout.data} processes; choose a {key} that is a multiple of it"
        ]
    micro = micro_batch_size(layout, training, batch_size)
    share = batch_size // layout.data
    if share % micro:
        return [
            f"micro_batch_size = {micro} does not divide the {share} sequences that each process has of a "
            f"batch of {batch_size}; lower micro_batch_size, or raise {key}"
        ]
    fault = _count_fault(layout, share // micro)
    if not fault:
        return []
    advice = f"Lower micro_batch_size, or raise {key}" if micro > 1 else f"Raise {key}"
    return [f"{fault}; a batch of {batch_size} has {share // micro} per process. {advice}"]


def _count_fault(layout: Layout, count: int) -> str:
    """What is wrong with `count` micro-batches per process; empty if nothing is."""
    if layout.pipeline > 1 and count < layout.stages:
        return f"a pipeline of {layout.stages} stages needs at least as many micro-batches"
    if layout.stages_per_process > 1 and count % layout.pipeline:
        return f"{layout.pipeline_schedule} needs a multiple of pipeline = {layout.pipeline} micro-batches"
    return ""


def _pipeline_faults(layout: Layout, training: Training) -> list[str]:
    if layout.pipeline == 1:
        return []
    faults = []
    if layout.stages > training.model.num_hidden_layers:
        faults.append(
            f"{layout.stages} stages are more than the model's {training.model.num_hidden_layers} layers; "
            f"lower pipeline{', or choose 1f1b' if layout.stages_per_process > 1 else ''}"
        )
    if layout.pipeline_schedule in SPLIT_BACKWARD:
        name = layout.pipeline_schedule
        # torch 2.13: an error for the first; for the second an error too, or wrong gradients without one.
        if training.checkpointing == "selective":
            faults.append(
                f"{name} splits the backward pass, which selective checkpointing cannot follow; choose "
                f"activation_checkpointing.mode = full, or another schedule"
            )
        if training.compile:
            faults.append(
                f"{name} splits the backward pass, which torch.compile cannot follow; choose "
                f"compile = false, or another schedule"
            )
    return faults
