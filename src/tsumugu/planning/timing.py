"""How long one optimizer step takes: what is computed, what is waited for, and what stands still.

A layer's time is the sum of its matrix products (at the share of the peak that long products reach, and
never faster than memory delivers), of attention, and of everything else, which is traffic to memory.
Communication is the bytes over the links of `network.py`; what FSDP does beside the computation is exposed
as far as it takes longer, and where it does not, it slows the computation down. The pipeline's idle time is
that of its schedule (`schedules.py`).

The constants of `Efficiency` are measured on published runs: `benchmarks/plan_published.py` says which,
what was set aside, and how far off the rest is.
"""

from dataclasses import dataclass
from functools import lru_cache

from tsumugu.model.config import ModelConfig
from tsumugu.model.counts import (
    block_matrices,
    block_vectors,
    flops_per_token,
    mlp_matrices,
    parameter_count,
)
from tsumugu.planning.cluster import Cluster
from tsumugu.planning.network import network
from tsumugu.planning.schedules import bubble
from tsumugu.planning.workload import OURS, Candidate, Checkpointing, Practice, Workload
from tsumugu.training.layout import Layout, stage_layers

_HALF = 2
"""Bytes of a number that is computed with: bfloat16, and what stays so in float8."""
_FULL = 4
"""Bytes of a weight, a gradient or a moment."""


@dataclass(frozen=True)
class Efficiency:
    """How much of what a datasheet says a kind of device gives."""

    products: float
    """Share of the peak that a large matrix product reaches."""
    attention: float
    """Share of the peak that FlashAttention 2 reaches, of the operations that causality leaves."""
    memory: float
    """Share of the memory's bandwidth that other kernels reach."""
    float8: float
    """As `products`, in float8: scaling and casting included."""
    overlap: float
    """Share of the computation beside which FSDP's communication is hidden."""
    launch: float
    """Seconds per layer, forward, that a device waits for the next kernel."""


_EFFICIENCY: tuple[tuple[str, Efficiency], ...] = (
    ("A100", Efficiency(0.77, 0.48, 0.90, 0.0, 0.75, 40e-6)),
    # Under load these lower their clock: large products reach about 670 of 989 TFLOP/s, with 500 W 620.
    ("H100 SXM5 96GB", Efficiency(0.63, 0.23, 0.85, 0.65, 0.75, 40e-6)),
    ("H100", Efficiency(0.68, 0.25, 0.85, 0.70, 0.75, 40e-6)),
    ("H200", Efficiency(0.68, 0.25, 0.85, 0.70, 0.75, 40e-6)),
    # GB200 and GB300 too. Their published runs are all in float8, so that `products` is H100's.
    ("B200", Efficiency(0.68, 0.35, 0.85, 0.53, 0.75, 40e-6)),
    ("GB300", Efficiency(0.68, 0.35, 0.85, 0.75, 0.75, 40e-6)),
)
_ANY = Efficiency(0.65, 0.30, 0.80, 0.50, 0.75, 40e-6)
"""Of devices for which there is no published run."""

_TRAFFIC_FUSED = 13
_TRAFFIC_EAGER = 19
"""Numbers per token and unit of width that a layer reads and writes, forward, besides its products: two
norms, two additions to the residual stream, rotary positions. Counted for compiled layers; for PyTorch's own
kernels one by one measured on published runs."""
_SCORE_PASSES = 5
"""Times that attention without a fused kernel writes or reads its scores, forward."""
_CAST_BYTES = 3
"""Per number that goes into a product in float8: read, and written."""
_MLP_FUSED = 1
_MLP_EAGER = 2
"""The same per unit of the MLP's width and matrix: what stands between its products."""
_BACKWARD = 2
"""A backward pass computes, and moves, this much more than a forward pass: a gradient for the input and one
for the weight."""
_ATTENTION_BACKWARD = 2.5
"""The same of FlashAttention, which computes the scores once more (Dao et al. 2022)."""
_LOGIT_BYTES = 24
"""Written and read per logit by the loss: in bfloat16 and float32, forward and its gradient."""
_CONTENTION = 0.4
"""Seconds that the computation loses to every second of communication beside it: a collective takes some of
the device's multiprocessors, and of its memory's bandwidth."""
_OPTIMIZER_BYTES = 36
"""Read and written per parameter by AdamW: weight, gradient and two moments in, all but the gradient out; and
the gradient twice more for its norm."""


@dataclass(frozen=True)
class StepTime:
    """Seconds of one optimizer step, by what they are spent on. Their sum is `seconds`."""

    compute: float
    """Forward and backward pass of the device that has most to do."""
    recompute: float
    """What activation checkpointing computes again."""
    optimizer: float
    tensor: float
    """Gathers and scatters of tensor parallelism; nothing hides them."""
    context: float
    """Gathers of keys and values; nothing hides them."""
    data: float
    """What FSDP's gathers and sums take longer than the computation beside them, and by how much they slow it
    down."""
    pipeline: float
    """Sends between stages."""
    bubble: float
    """Devices of a pipeline waiting for the first and the last micro-batch."""
    hidden: float
    """Communication that is done beside the computation; not part of the sum."""

    @property
    def seconds(self) -> float:
        """Of the whole step."""
        return (
            self.compute
            + self.recompute
            + self.optimizer
            + self.tensor
            + self.context
            + self.data
            + self.pipeline
            + self.bubble
        )


def step_time(
    workload: Workload, candidate: Candidate, cluster: Cluster, practice: Practice = OURS
) -> StepTime:
    """What a step takes.

    Raises:
        TsumuguError: the device's peak in this precision is not known.
    """
    model, layout = workload.model, candidate.layout
    links = network(layout, cluster)
    micro_batches = candidate.micro_batches(workload)
    tokens = candidate.micro_batch_size * workload.sequence_length // layout.context
    layer = _layer(workload, candidate, cluster, practice)
    layers, has_head = _busiest(model.num_hidden_layers, layout)
    head = _head(workload, layout.tensor, tokens, cluster) if has_head else 0.0

    states = tokens / layout.tensor * model.hidden_size * _HALF
    whole = tokens * model.hidden_size * _HALF
    # Two gathers and two scatters forward, as many backward, and those of the recomputation.
    per_layer = 4 * links.tensor.gather(whole)
    again = per_layer if candidate.checkpointing == "full" else 0.0
    tensor = layers * (2 * per_layer + again / candidate.every) if layout.tensor > 1 else 0.0
    tensor *= 1 - practice.tensor_hidden
    context = 0.0
    if layout.context > 1:
        keys = 2 * tokens * layout.context * model.key_value_heads * model.head_size * _HALF / layout.tensor
        times = 2 + (candidate.checkpointing != "none") / candidate.every
        context = layers * times * links.context.gather(keys)
    data, hidden = _data(workload, candidate, cluster, practice, layers, layer)
    forward, backward = layer.forward * layers + head / 3, layer.backward * layers + head * 2 / 3
    recompute = layer.recompute * layers
    sends = 0.0
    if layout.pipeline > 1:
        chunks = practice.virtual_stages or layout.stages_per_process
        sends = links.pipeline.send(states)
        # Schedules with several stages per process ask for what comes next before they need it.
        ahead = forward / chunks if chunks > 1 else 0.0
        sends = 2 * chunks * max(0.0, sends - ahead)
    wait = 0.0
    if layout.pipeline > 1:
        communication = tensor + context
        if practice.virtual_stages:
            share = (layout.pipeline - 1) / (practice.virtual_stages * micro_batches)
        else:
            share = bubble(
                layout,
                micro_batches,
                forward=forward + communication / 3,
                backward_input=backward / 2 + recompute + communication * 2 / 3,
                backward_weight=backward / 2,
            )
        wait = share * micro_batches * (forward + backward + recompute + communication + sends)
    mine = parameter_count(model, workload.vocab_size) / (layout.tensor * layout.pipeline)
    shared = layout.data_shard * layout.context
    speed = efficiency(cluster).memory * cluster.memory_bandwidth
    return StepTime(
        compute=micro_batches * (forward + backward),
        recompute=micro_batches * recompute,
        optimizer=mine / shared * _OPTIMIZER_BYTES / speed,
        tensor=micro_batches * tensor,
        context=micro_batches * context,
        data=data,
        pipeline=micro_batches * sends,
        bubble=wait,
        hidden=hidden,
    )


def efficiency(cluster: Cluster) -> Efficiency:
    """Of the cluster's device."""
    return next((found for name, found in _EFFICIENCY if name in cluster.device), _ANY)


def mfu(workload: Workload, cluster: Cluster, seconds: float) -> float:
    """Model FLOP/s utilization of a step of so many seconds: `flops_per_token`, which counts nothing twice,
    as a share of the devices' peak."""
    flops = workload.tokens_per_step * flops_per_token(
        workload.model, workload.vocab_size, workload.sequence_length
    )
    return flops / seconds / cluster.devices / cluster.peak(workload.precision)


@dataclass(frozen=True)
class _Layer:
    """Seconds of one layer for one micro-batch on one device."""

    forward: float
    backward: float
    recompute: float


def _layer(workload: Workload, candidate: Candidate, cluster: Cluster, practice: Practice) -> _Layer:
    fused = workload.compile if practice.fused_layers is None else practice.fused_layers
    rates = efficiency(cluster)
    float8 = workload.precision == "float8"
    return _layer_seconds(
        workload.model,
        workload.sequence_length,
        candidate.micro_batch_size,
        candidate.layout.tensor,
        candidate.layout.context,
        candidate.checkpointing,
        candidate.every,
        fused,
        practice.fused_attention,
        practice.sequence_parallel,
        practice.recompute_stops,
        cluster.peak(workload.precision) * (rates.float8 if float8 else rates.products),
        cluster.peak("float32" if workload.precision == "float32" else "bfloat16")
        * rates.attention
        * practice.attention_speed,
        cluster.memory_bandwidth * rates.memory,
        _CAST_BYTES if float8 else 0,
        rates.launch,
    )


@lru_cache(maxsize=4096)
def _layer_seconds(
    model: ModelConfig,
    length: int,
    micro_batch_size: int,
    tensor: int,
    context: int,
    checkpointing: Checkpointing,
    every: int,
    fused: bool,
    fused_attention: bool,
    sequence_parallel: bool,
    recompute_stops: bool,
    product_rate: float,
    attention_rate: float,
    memory_rate: float,
    cast_bytes: int,
    launch: float,
) -> _Layer:
    hidden, mlp = model.hidden_size, model.mlp_size
    tokens = micro_batch_size * length / context
    keys = 2 * model.key_value_heads * model.head_size

    def product(inputs: float, outputs: float) -> float:
        moved = _HALF * (tokens * (inputs + outputs) + inputs * outputs) + cast_bytes * tokens * inputs
        return 2 * tokens * inputs * outputs / product_rate + moved / memory_rate

    up = (mlp_matrices(model) - 1) * product(hidden, mlp / tensor)
    products = product(hidden, (hidden + keys) / tensor) + product(hidden / tensor, hidden)
    down = product(mlp / tensor, hidden)
    products += up + down
    # Of the scores of every token with every token, causality leaves half.
    attention = 2 * tokens * length * hidden / tensor / attention_rate
    if not fused_attention:
        # Scores are written, scaled, masked, made a softmax and read again: both halves, in half precision.
        heads = model.num_attention_heads / tensor
        attention = 2 * attention + _SCORE_PASSES * _HALF * tokens * length * heads / memory_rate
    factor, mlp_factor = (_TRAFFIC_FUSED, _MLP_FUSED) if fused else (_TRAFFIC_EAGER, _MLP_EAGER)
    between = _HALF * tokens * mlp_factor * mlp_matrices(model) * mlp / tensor / memory_rate
    # Norms and additions work on the tokens that a process keeps between the products.
    share = tensor if sequence_parallel else 1
    other = _HALF * tokens * factor * hidden / share / memory_rate + between
    forward = products + attention + other + launch
    backward = _BACKWARD * (products + other) + _ATTENTION_BACKWARD * attention + launch
    # The backward pass needs what goes into a layer's last product, not what comes out of it.
    whole = forward - down if recompute_stops else forward
    recompute = {"none": 0.0, "selective": up + other + launch, "full": whole}[checkpointing]
    return _Layer(forward, backward, recompute / every)


def _head(workload: Workload, tensor: int, tokens: float, cluster: Cluster) -> float:
    """Seconds of output embedding and loss for one micro-batch, backward pass included."""
    rates = efficiency(cluster)
    rate = cluster.peak("float32" if workload.precision == "float32" else "bfloat16") * rates.products
    logits = tokens * workload.vocab_size / tensor
    moved = logits * _LOGIT_BYTES / (cluster.memory_bandwidth * rates.memory)
    return 6 * logits * workload.model.hidden_size / rate + moved


@lru_cache(maxsize=4096)
def _busiest(model_layers: int, layout: Layout) -> tuple[int, bool]:
    """Layers of the process that has most to do, and whether it has the head."""
    if layout.pipeline == 1:
        return model_layers, True
    counts = [
        sum(len(stage_layers(stage, layout.stages, model_layers)) for stage in layout.stage_ids(rank))
        for rank in range(layout.pipeline)
    ]
    owner = layout.stage_owner(layout.stages - 1)
    # The head is worth a layer or two: where its process has as many layers as the others, it is the slowest.
    most = max(counts)
    return most, counts[owner] == most


def _data(
    workload: Workload,
    candidate: Candidate,
    cluster: Cluster,
    practice: Practice,
    layers: int,
    layer: _Layer,
) -> tuple[float, float]:
    """Seconds of a step that FSDP's communication is waited for, and that it is hidden."""
    layout, model = candidate.layout, workload.model
    links = network(layout, cluster)
    if links.shard.size * links.replicate.size == 1:
        return 0.0, 0.0
    micro_batches = candidate.micro_batches(workload)
    numbers = (block_matrices(model) + block_vectors(model)) / layout.tensor
    roots = workload.vocab_size * model.hidden_size / layout.tensor
    gather = links.shard.gather(numbers * _HALF)
    scatter = links.shard.gather(numbers * practice.gradient_bytes)
    average = links.replicate.all_reduce(numbers * practice.gradient_bytes / links.shard.size)
    every = practice.sync_every_micro_batch and layout.pipeline == 1
    times = micro_batches if every else 1
    overlap = efficiency(cluster).overlap
    back = layer.backward + layer.recompute
    forward_wait = max(0.0, gather - overlap * layer.forward)
    gathered_again = gather if candidate.reshard and every else 0.0
    backward_total = gathered_again + scatter
    backward_wait = max(0.0, backward_total - overlap * back)
    # The replicas meet once, in the last micro-batch.
    last_wait = max(0.0, backward_total + average - overlap * back) - backward_wait
    exposed = layers * (times * (forward_wait + backward_wait) + last_wait)
    # Embeddings, head and last norm: before the first layer, and after it backward.
    exposed += times * (
        links.shard.gather(roots * _HALF) + links.shard.gather(roots * practice.gradient_bytes)
    )
    exposed += links.replicate.all_reduce(roots * practice.gradient_bytes / links.shard.size)
    everything = layers * (times * (gather + backward_total) + average)
    hidden = max(0.0, everything - layers * (times * (forward_wait + backward_wait) + last_wait))
    return exposed + _CONTENTION * hidden, hidden
