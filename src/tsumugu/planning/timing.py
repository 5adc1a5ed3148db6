"""How long one optimizer step takes: what is computed, what is waited for, and what stands still.

What a layer computes is that of `layer_time.py`. Communication is the bytes over the links of `network.py`;
what FSDP does beside the computation is exposed as far as it takes longer, and where it does not, it slows
the computation down. The pipeline's idle time is that of its schedule (`schedules.py`).
"""

from dataclasses import dataclass
from functools import lru_cache

from tsumugu.model.counts import (
    block_matrices,
    block_vectors,
    flops_per_token,
    muon_flops,
    parameter_count,
    root_numbers,
)
from tsumugu.planning.cluster import Cluster
from tsumugu.planning.efficiency import efficiency, memory_rate, product_rate
from tsumugu.planning.layer_time import LayerTime, head_time, layer_time
from tsumugu.planning.network import network
from tsumugu.planning.schedules import bubble
from tsumugu.planning.workload import OURS, Candidate, Practice, Workload, number_bytes
from tsumugu.training.layout import Layout, stage_layers

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
    number = number_bytes(workload.precision)
    layer = layer_time(workload, candidate, cluster, practice)
    head = head_time(workload, layout.tensor, tokens, cluster)
    layers, has_head = _busiest(model.num_hidden_layers, layout, head / (layer.forward + layer.backward))
    head *= has_head

    states = tokens / layout.tensor * model.hidden_size * number
    # Two gathers and two scatters forward, as many backward, and those of the recomputation.
    per_layer = 4 * links.tensor.gather(tokens * model.hidden_size * number)
    again = per_layer if candidate.checkpointing == "full" else 0.0
    tensor = layers * (2 * per_layer + again / candidate.every) if layout.tensor > 1 else 0.0
    tensor *= 1 - practice.tensor_hidden
    context = 0.0
    if layout.context > 1:
        keys = 2 * tokens * layout.context * model.key_value_heads * model.head_size * number / layout.tensor
        times = 2 + (candidate.checkpointing != "none") / candidate.every
        context = layers * times * links.context.gather(keys)
    data, hidden = _data(workload, candidate, cluster, practice, layers, layer)
    forward, backward = layer.forward * layers + head / 3, layer.backward * layers + head * 2 / 3
    recompute = layer.recompute * layers
    sends = wait = 0.0
    if layout.pipeline > 1:
        chunks = practice.virtual_stages or layout.stages_per_process
        # Schedules with several stages per process ask for what comes next before they need it.
        ahead = forward / chunks if chunks > 1 else 0.0
        sends = 2 * chunks * max(0.0, links.pipeline.send(states) - ahead)
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
    return StepTime(
        compute=micro_batches * (forward + backward),
        recompute=micro_batches * recompute,
        optimizer=_optimizer(workload, layout, cluster),
        tensor=micro_batches * tensor,
        context=micro_batches * context,
        data=data,
        pipeline=micro_batches * sends,
        bubble=wait,
        hidden=hidden,
    )


def mfu(workload: Workload, cluster: Cluster, seconds: float) -> float:
    """Model FLOP/s utilization of a step of so many seconds: `flops_per_token`, which counts nothing twice,
    as a share of the devices' peak."""
    flops = workload.tokens_per_step * flops_per_token(
        workload.model, workload.vocab_size, workload.sequence_length
    )
    return flops / seconds / cluster.devices / cluster.peak(workload.precision)


@lru_cache(maxsize=4096)
def _busiest(model_layers: int, layout: Layout, head: float) -> tuple[int, bool]:
    """Layers of the process that has most to do, and whether it has the head, which takes as long as `head`
    layers."""
    if layout.pipeline == 1:
        return model_layers, True
    owner = layout.stage_owner(layout.stages - 1)
    found = [
        (sum(len(stage_layers(stage, layout.stages, model_layers)) for stage in layout.stage_ids(rank)), rank)
        for rank in range(layout.pipeline)
    ]
    layers, rank = max(found, key=lambda one: one[0] + head * (one[1] == owner))
    return layers, rank == owner


def _optimizer(workload: Workload, layout: Layout, cluster: Cluster) -> float:
    """Seconds of the optimizer's step: traffic to memory, and with Muon the products of Newton-Schulz.

    Every matrix is computed once by each group of processes that share it.
    """
    model = workload.model
    shared = layout.data_shard * layout.context * layout.tensor * layout.pipeline
    mine = parameter_count(model, workload.vocab_size) / shared
    seconds = mine * _OPTIMIZER_BYTES / memory_rate(cluster)
    if workload.optimizer == "muon":
        flops = muon_flops(model, workload.muon_ns_steps)
        seconds += flops / shared / product_rate(cluster, "bfloat16")
    return seconds


def _data(
    workload: Workload,
    candidate: Candidate,
    cluster: Cluster,
    practice: Practice,
    layers: int,
    layer: LayerTime,
) -> tuple[float, float]:
    """Seconds of a step that FSDP's communication is waited for, and that it is hidden."""
    layout, model = candidate.layout, workload.model
    links = network(layout, cluster)
    if links.shard.size * links.replicate.size == 1:
        return 0.0, 0.0
    micro_batches = candidate.micro_batches(workload)
    number = number_bytes(workload.precision)
    numbers = (block_matrices(model) + block_vectors(model)) / layout.tensor
    roots = root_numbers(model, workload.vocab_size) / layout.tensor
    if layout.pipeline > 1 and not model.tie_word_embeddings:
        # Input and output embedding are on different processes.
        roots /= 2
    gather = links.shard.gather(numbers * number)
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
        links.shard.gather(roots * number) + links.shard.gather(roots * practice.gradient_bytes)
    )
    exposed += links.replicate.all_reduce(roots * practice.gradient_bytes / links.shard.size)
    everything = layers * (times * (gather + backward_total) + average)
    hidden = max(0.0, everything - layers * (times * (forward_wait + backward_wait) + last_wait))
    return exposed + _CONTENTION * hidden, hidden
