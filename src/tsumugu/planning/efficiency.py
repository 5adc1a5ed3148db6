"""How much of what a datasheet says a device gives.

Measured on published runs: `benchmarks/plan_published.py` says which, what was set aside, and how far off the
rest is.
"""

from dataclasses import dataclass

from tsumugu.planning.cluster import Cluster
from tsumugu.planning.workload import Precision


@dataclass(frozen=True)
class Efficiency:
    """How much of what a datasheet says a kind of device gives."""

    products: float
    """Share of the peak that a large matrix product reaches."""
    attention: float
    """Share of the peak that FlashAttention 2 reaches, of the operations that causality leaves."""
    memory: float
    """Share of the memory's bandwidth that other kernels reach."""
    float8: float | None
    """As `products`, in float8: scaling and casting included. None: the device has none."""
    overlap: float
    """Share of the computation beside which FSDP's communication is hidden."""
    launch: float
    """Seconds per layer, forward, that a device waits for the next kernel."""


_EFFICIENCY: tuple[tuple[str, Efficiency], ...] = (
    ("A100", Efficiency(0.77, 0.48, 0.90, None, 0.75, 40e-6)),
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


def efficiency(cluster: Cluster) -> Efficiency:
    """Of the cluster's device."""
    return next((found for name, found in _EFFICIENCY if name in cluster.device), _ANY)


def product_rate(cluster: Cluster, precision: Precision) -> float:
    """FLOP/s of large matrix products.

    Raises:
        TsumuguError: the device's peak in this precision is not known.
    """
    rates = efficiency(cluster)
    share = rates.products
    if precision == "float8":
        # A cluster file may say that a device has what its namesakes have not.
        share = rates.float8 or _ANY.float8 or rates.products
    return cluster.peak(precision) * share


def attention_rate(cluster: Cluster, precision: Precision) -> float:
    """FLOP/s of FlashAttention 2; in float8 it stays in bfloat16."""
    return cluster.peak("float32" if precision == "float32" else "bfloat16") * efficiency(cluster).attention


def memory_rate(cluster: Cluster) -> float:
    """Bytes/s of what is no matrix product."""
    return cluster.memory_bandwidth * efficiency(cluster).memory
