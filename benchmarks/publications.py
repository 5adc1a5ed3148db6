"""Training runs that others measured and published, and how the planner is asked for each.

`published/runs.jsonl` has one run per line, as its source states it; keys that are left out have the default
of `PublishedRun`. Whatever has to be worked out, throughput above all, is worked out here and not there.
Nothing in the planner may be adjusted to a run for which `set_aside` is true.
"""

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tsumugu.model.config import Architecture, ModelConfig
from tsumugu.model.counts import block_matrices, flops_per_token, parameter_count
from tsumugu.planning.cluster import Cluster, find_cluster
from tsumugu.planning.workload import Candidate, Checkpointing, Practice, Precision, Workload
from tsumugu.section import Section
from tsumugu.training.layout import Layout

RUNS = Path(__file__).resolve().parent / "published" / "runs.jsonl"
_SET_ASIDE = "012345"
_HOUR = 3600

Count = Annotated[int, Field(ge=1)]

Attention = Literal["eager", "flash-1", "flash-2", "cudnn"]
"""Kernel by kernel with the scores in memory; FlashAttention of 2022 or of 2023; cuDNN's, which Transformer
Engine takes."""
_ATTENTION_SPEED = {"eager": 1.0, "flash-1": 0.69, "flash-2": 1.0, "cudnn": 1.5}
"""Against FlashAttention 2."""
_TENSOR_HIDDEN = 0.5
"""Share of tensor parallelism's communication that systems hide which say that they hide it."""

Measure = Literal[
    "tokens_per_second_per_device",
    "seconds_per_step",
    "tflops_model",
    "tflops_hardware",
    "mfu",
    "device_hours",
]
"""What `value` is. `tflops_model`: 10^12 FLOP/s of one device, 6 per number and token and all of the
attention's scores (`flops_per_token`), nothing counted twice. `tflops_hardware`: with the layers' forward
pass, which checkpointing repeats, counted again (Narayanan et al. 2021, section 5.1). `mfu`: `tflops_model`
as a share of the peak."""


class PublishedRun(Section):
    """One measured run."""

    system: str
    """Whose trainer it was, in lower case."""
    source: str
    """Where the figures stand: repository@commit:path, or paper and table."""
    model: str
    """Its name there."""
    parameters: int | None = None
    """As published, rounded as it is there; None if the name promises no size."""
    architecture: Architecture
    """The family with the same matrices: `llama` has three in its MLP, the others two."""
    layers: Count
    hidden: Count
    heads: Count
    kv_heads: Count | None = None
    mlp: Count | None = None
    vocab: Count
    """Rows of the embedding, padding included where that is known."""
    tied: bool = True
    sequence: Count
    """Tokens."""
    gpu: str
    """A name of `tsumugu/planning/clusters.yaml`."""
    count: Count
    """Devices."""
    devices_per_node: Count | None = None
    """Where it is not that of the table."""
    network_gb_per_s: Annotated[float, Field(gt=0)] | None = None
    """The same; of one device."""
    global_batch: Count
    """Sequences in a step."""
    micro_batch: Count
    """Sequences in a forward pass of one device."""
    data_replicate: Count = 1
    data_shard: Count = 1
    tensor: Count = 1
    context: Count = 1
    pipeline: Count = 1
    virtual_stages: Count = 1
    """Parts of the model that each process of a pipeline has."""
    checkpointing: Literal["none", "attention", "selective", "full"] = "none"
    """`attention`: the core of attention alone, Megatron-LM's selective; `selective`: part of each layer's
    products, torchtitan's."""
    precision: Precision = "bfloat16"
    """float16 counts as bfloat16."""
    sharding: Literal["none", "zero1", "zero2", "zero3"]
    """Over the data-parallel processes: nothing; the optimizer's state; gradients too, weights once per step;
    or weights too (Rajbhandari et al. 2020)."""
    gradient_bytes: Literal[2, 4] = 4
    """Of one number that processes add up."""
    attention: Attention = "flash-2"
    """Its kernel. Where the source does not say, what the system had at the time."""
    fused_layers: bool = True
    """Whether what is not a matrix product is fused, by a compiler or by hand."""
    recompute_stops: bool = True
    """Whether full checkpointing leaves out what the backward pass does not need, as PyTorch's does from 2.1
    on."""
    sequence_parallel: bool = True
    """Whether tensor parallelism shares what stands between the products too (Korthikanti et al. 2022)."""
    tensor_hidden: bool = False
    """Whether tensor parallelism's communication is done beside the products."""
    optimizer: Literal["adamw", "muon"] = "adamw"
    measure: Measure
    value: Annotated[float, Field(gt=0)]
    tokens: Count | None = None
    """Of the whole training, for `device_hours`; None if the source does not say."""
    assumed: tuple[str, ...] = ()
    """What the source does not say and was put in as what is usual."""

    @model_validator(mode="after")
    def _adds_up(self) -> "PublishedRun":
        layout = self.layout
        if layout.processes != self.count:
            raise ValueError(f"the layout has {layout.processes} processes for {self.count} devices")
        return self

    @property
    def key(self) -> str:
        """What decides whether the run is set aside: runs that differ in the layout alone stay together."""
        return f"{self.system}|{self.model}|{self.gpu}|{self.count}|{self.sequence}"

    @property
    def layout(self) -> Layout:
        """As the planner writes it."""
        return Layout(
            self.data_replicate,
            self.data_shard,
            self.context,
            self.tensor,
            self.pipeline,
            "interleaved_1f1b" if self.virtual_stages > 1 else "1f1b",
        )

    @property
    def shape(self) -> ModelConfig:
        """The model."""
        return ModelConfig(
            architecture=self.architecture,
            num_hidden_layers=self.layers,
            hidden_size=self.hidden,
            num_attention_heads=self.heads,
            num_key_value_heads=self.kv_heads,
            intermediate_size=self.mlp,
            max_position_embeddings=self.sequence,
            tie_word_embeddings=self.tied,
        )

    @property
    def cluster(self) -> Cluster:
        """The devices."""
        cluster = find_cluster(f"{self.count}x{self.gpu}")
        changed: dict[str, Any] = {}
        if self.devices_per_node:
            changed["devices_per_node"] = min(self.count, self.devices_per_node)
        if self.network_gb_per_s:
            changed["network_bandwidth"] = self.network_gb_per_s * 1e9
        return replace(cluster, **changed)


def read_runs(path: Path = RUNS) -> list[PublishedRun]:
    """All published runs.

    Raises:
        pydantic.ValidationError: a line has a mistake.
    """
    return [PublishedRun.model_validate_json(line) for line in path.read_text(encoding="utf-8").splitlines()]


def set_aside(run: PublishedRun) -> bool:
    """Whether nothing may be adjusted to this run: the SHA-256 of its key begins with 0 to 5."""
    return hashlib.sha256(run.key.encode()).hexdigest()[0] in _SET_ASIDE


def reported(run: PublishedRun) -> float | None:
    """Tokens per second of one device, as published; None if that cannot be known."""
    flops = flops_per_token(run.shape, run.vocab, run.sequence)
    if run.measure == "tokens_per_second_per_device":
        return run.value
    if run.measure == "seconds_per_step":
        return run.global_batch * run.sequence / run.value / run.count
    if run.measure == "tflops_model":
        return run.value * 1e12 / flops
    if run.measure == "tflops_hardware":
        once = run.layers * (2 * block_matrices(run.shape) + 4 * run.hidden * run.sequence)
        return run.value * 1e12 / (flops + once)
    if run.measure == "mfu":
        return run.value * run.cluster.peak(run.precision) / flops
    return run.tokens / (run.value * _HOUR) if run.tokens else None


def question(run: PublishedRun) -> tuple[Workload, Candidate, Cluster, Practice]:
    """What the planner is asked about a run: the arguments of `step_time`."""
    # FlashAttention computes the core of attention anew in any case.
    recomputed: Checkpointing = "none" if run.checkpointing == "attention" else run.checkpointing
    workload = Workload(
        run.shape,
        run.vocab,
        run.sequence,
        run.global_batch,
        steps=1,
        precision=run.precision,
        optimizer=run.optimizer,
        compile=run.fused_layers,
    )
    candidate = Candidate(run.layout, run.micro_batch, recomputed, reshard=run.sharding == "zero3")
    practice = Practice(
        gradient_bytes=run.gradient_bytes,
        sync_every_micro_batch=run.sharding in ("zero2", "zero3"),
        fused_attention=run.attention != "eager",
        attention_speed=_ATTENTION_SPEED[run.attention],
        recompute_stops=run.recompute_stops,
        sequence_parallel=run.sequence_parallel,
        virtual_stages=run.virtual_stages if run.pipeline > 1 else None,
        tensor_hidden=_TENSOR_HIDDEN if run.tensor_hidden else 0.0,
    )
    return workload, candidate, run.cluster, practice


def implied_parameters(run: PublishedRun) -> int:
    """Numbers in a model of the run's shape."""
    return parameter_count(run.shape, run.vocab)
