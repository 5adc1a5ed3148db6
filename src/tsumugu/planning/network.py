"""How long processes take to tell each other things.

Ring algorithms, as NCCL uses for large messages: in a group of n, a gather or a scatter of sums moves (n - 1)
/ n of the bytes through every device, an all-reduce twice as much (Patarasuk & Yuan 2009). A group that spans
nodes is as fast as the adapters of its devices in one node together, and no faster than the links within.
"""

from dataclasses import dataclass

from tsumugu.planning.cluster import Cluster
from tsumugu.training.layout import Layout

NODE_EFFICIENCY = 0.70
"""Share of the links' bandwidth within a node that collectives reach, measured on published runs; alone on
the links, nccl-tests find 230 of 300 GB/s on A100."""
NETWORK_EFFICIENCY = 0.55
"""The same between nodes, where others send too."""
NODE_LATENCY = 8e-6
"""Seconds that a collective takes within a node before the first byte."""
NETWORK_LATENCY = 5e-6
"""Seconds for every node of a ring, before it is round."""


@dataclass(frozen=True)
class Group:
    """Processes that work together on something."""

    size: int
    bandwidth: float
    """Bytes/s that a device sends."""
    latency: float
    """Seconds of one collective of no bytes."""

    def gather(self, size: float) -> float:
        """Seconds until all have `size` bytes, of which each held its share; or to scatter their sum."""
        if self.size == 1:
            return 0.0
        return self.latency + size * (self.size - 1) / self.size / self.bandwidth

    def all_reduce(self, size: float) -> float:
        """Seconds until all have the sum of what each has `size` bytes of."""
        return 2 * self.gather(size)

    def send(self, size: float) -> float:
        """Seconds of a message to a neighbour."""
        return 0.0 if self.size == 1 else self.latency + size / self.bandwidth


@dataclass(frozen=True)
class Network:
    """The groups of a layout. Neighbours in a node share tensors first; pipeline stages are farthest
    apart."""

    tensor: Group
    context: Group
    shard: Group
    """Of FSDP: those that share data and sequences."""
    replicate: Group
    pipeline: Group


def network(layout: Layout, cluster: Cluster) -> Network:
    """The groups as `training/processes.py` places them."""
    tensor, context = layout.tensor, layout.context
    shard = layout.data_shard * context
    replicate = tensor * shard
    pipeline = replicate * layout.data_replicate
    return Network(
        tensor=_group(tensor, 1, cluster),
        context=_group(context, tensor, cluster),
        shard=_group(shard, tensor, cluster),
        replicate=_group(layout.data_replicate, replicate, cluster),
        pipeline=_group(layout.pipeline, pipeline, cluster, one_path=True),
    )


def _group(size: int, stride: int, cluster: Cluster, *, one_path: bool = False) -> Group:
    """`size` devices, each `stride` apart from the next; with `one_path` messages go to one neighbour."""
    inside = NODE_EFFICIENCY * cluster.node_bandwidth
    # A group that does not divide a node lies across two of them somewhere, and the slowest decides.
    if cluster.devices_per_node % (size * stride) == 0 or cluster.devices <= cluster.devices_per_node:
        return Group(size, inside, NODE_LATENCY)
    here = 1 if one_path else max(1, cluster.devices_per_node // stride)
    nodes = 1 if one_path else -(-size // here)
    outside = NETWORK_EFFICIENCY * cluster.network_bandwidth * here
    return Group(size, min(inside, outside), NODE_LATENCY + NETWORK_LATENCY * nodes)
