"""How long a layer, and the output embedding with its loss, take one device for one micro-batch.

Matrix products run at the rate that large ones reach, and no faster than memory delivers; attention at a rate
of its own; everything else is traffic to memory.
"""

from dataclasses import dataclass
from functools import lru_cache

from tsumugu.model.config import ModelConfig
from tsumugu.model.counts import mlp_matrices
from tsumugu.planning.cluster import Cluster
from tsumugu.planning.efficiency import attention_rate, efficiency, memory_rate, product_rate
from tsumugu.planning.workload import Candidate, Checkpointing, Practice, Workload, number_bytes

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


@dataclass(frozen=True)
class LayerTime:
    """Seconds of one layer for one micro-batch on one device."""

    forward: float
    backward: float
    recompute: float


@dataclass(frozen=True)
class _Kind:
    """All that the seconds of a layer depend on."""

    model: ModelConfig
    length: int
    micro_batch_size: int
    tensor: int
    context: int
    checkpointing: Checkpointing
    every: int
    fused: bool
    fused_attention: bool
    sequence_parallel: bool
    recompute_stops: bool
    number_bytes: int
    cast_bytes: int
    product_rate: float
    attention_rate: float
    memory_rate: float
    launch: float


def layer_time(workload: Workload, candidate: Candidate, cluster: Cluster, practice: Practice) -> LayerTime:
    """Of one of the layers, which are all alike.

    Raises:
        TsumuguError: the device's peak in this precision is not known.
    """
    layout = candidate.layout
    return _seconds(
        _Kind(
            model=workload.model,
            length=workload.sequence_length,
            micro_batch_size=candidate.micro_batch_size,
            tensor=layout.tensor,
            context=layout.context,
            checkpointing=candidate.checkpointing,
            every=candidate.every,
            fused=workload.compile if practice.fused_layers is None else practice.fused_layers,
            fused_attention=practice.fused_attention,
            sequence_parallel=practice.sequence_parallel,
            recompute_stops=practice.recompute_stops,
            number_bytes=number_bytes(workload.precision),
            cast_bytes=_CAST_BYTES if workload.precision == "float8" else 0,
            product_rate=product_rate(cluster, workload.precision),
            attention_rate=attention_rate(cluster, workload.precision) * practice.attention_speed,
            memory_rate=memory_rate(cluster),
            launch=efficiency(cluster).launch,
        )
    )


@lru_cache(maxsize=4096)
def _seconds(kind: _Kind) -> LayerTime:
    model, tensor, length = kind.model, kind.tensor, kind.length
    hidden, mlp, number = model.hidden_size, model.mlp_size, kind.number_bytes
    tokens = kind.micro_batch_size * length / kind.context
    keys = 2 * model.key_value_heads * model.head_size

    def product(inputs: float, outputs: float) -> float:
        moved = number * (tokens * (inputs + outputs) + inputs * outputs) + kind.cast_bytes * tokens * inputs
        return 2 * tokens * inputs * outputs / kind.product_rate + moved / kind.memory_rate

    up = (mlp_matrices(model) - 1) * product(hidden, mlp / tensor)
    products = product(hidden, (hidden + keys) / tensor) + product(hidden / tensor, hidden)
    down = product(mlp / tensor, hidden)
    products += up + down
    # Of the scores of every token with every token, causality leaves half.
    attention = 2 * tokens * length * hidden / tensor / kind.attention_rate
    if not kind.fused_attention:
        # Scores are written, scaled, masked, made a softmax and read again: both halves, in half precision.
        heads = model.num_attention_heads / tensor
        attention = 2 * attention + _SCORE_PASSES * number * tokens * length * heads / kind.memory_rate
    factor, mlp_factor = (_TRAFFIC_FUSED, _MLP_FUSED) if kind.fused else (_TRAFFIC_EAGER, _MLP_EAGER)
    between = number * tokens * mlp_factor * mlp_matrices(model) * mlp / tensor / kind.memory_rate
    # Norms and additions work on the tokens that a process keeps between the products.
    share = tensor if kind.sequence_parallel else 1
    other = number * tokens * factor * hidden / share / kind.memory_rate + between
    forward = products + attention + other + kind.launch
    backward = _BACKWARD * (products + other) + _ATTENTION_BACKWARD * attention + kind.launch
    # The backward pass needs what goes into a layer's last product, not what comes out of it.
    whole = forward - down if kind.recompute_stops else forward
    recompute = {"none": 0.0, "selective": up + other + kind.launch, "full": whole}[kind.checkpointing]
    return LayerTime(forward, backward, recompute / kind.every)


def head_time(workload: Workload, tensor: int, tokens: float, cluster: Cluster) -> float:
    """Seconds of output embedding and loss for one micro-batch, backward pass included."""
    # In float8 they stay in bfloat16.
    rate = product_rate(cluster, "float32" if workload.precision == "float32" else "bfloat16")
    logits = tokens * workload.vocab_size / tensor
    return 6 * logits * workload.model.hidden_size / rate + logits * _LOGIT_BYTES / memory_rate(cluster)
