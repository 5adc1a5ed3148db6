"""The processes of a training run: started by torchrun, or just this one.

torchrun starts a process per device and describes it in the environment; without one there is a
single process and no process group. After a worker's death torchrun starts all again with the
same rendezvous store, so every attempt uses a name space of its own there.
"""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.distributed_c10d import PrefixStore

from tsumugu.errors import TsumuguError
from tsumugu.planning.cluster import Cluster, device_cluster
from tsumugu.training.device import product_dtype
from tsumugu.training.layout import Layout

MESH = ("pipeline", "data_replicate", "data_shard", "context", "tensor")
"""Dimensions of the mesh, the closest neighbours last."""
TIMEOUT = timedelta(minutes=10)
"""After which a process that waits for another gives up; torchrun then starts all again."""
_LOOK = 0.2
"""Seconds between two looks for a word of the first process."""
_LOST = re.compile(
    r"Connection (closed|reset|refused)|Broken pipe|Socket Timeout|Timed out waiting|remote process exited"
)
"""What gloo and NCCL say when another process has ended."""

T = TypeVar("T")


@dataclass(frozen=True)
class Process:
    """One of the processes."""

    rank: int
    world_size: int
    local_rank: int
    local_world_size: int
    device: torch.device

    @property
    def is_first(self) -> bool:
        """The one that speaks and writes."""
        return self.rank == 0


def this_process() -> Process:
    """From torchrun's environment variables, or a single process.

    Raises:
        TsumuguError: there are fewer GPUs than processes on this node.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    local_rank = int(os.environ.get("LOCAL_RANK", "0"))
    local_world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    device = torch.device("cpu")
    if torch.cuda.is_available():
        if local_world > torch.cuda.device_count():
            raise TsumuguError(
                f"torchrun starts {local_world} processes on this node, which has "
                f"{torch.cuda.device_count()} GPUs; use --nproc-per-node {torch.cuda.device_count()}"
            )
        device = torch.device("cuda", local_rank)
    return Process(rank, world, local_rank, local_world, device)


@contextmanager
def process_group(process: Process) -> Iterator[None]:
    """The default process group, if there is more than one process.

    Raises:
        TsumuguError: another process ended, in the place of what PyTorch says then.
    """
    if process.device.type == "cuda":
        torch.cuda.set_device(process.device)
    if process.world_size == 1 or dist.is_initialized():
        yield
        return
    # gloo beside nccl: checkpoints are gathered on the CPU while the GPU goes on.
    backend = "cpu:gloo,cuda:nccl" if process.device.type == "cuda" else "gloo"
    dist.init_process_group(
        backend,
        store=_store(process),
        rank=process.rank,
        world_size=process.world_size,
        timeout=TIMEOUT,
    )
    try:
        yield
    except RuntimeError as error:
        if not is_lost(error):
            raise
        raise TsumuguError(
            f"another process has ended, and so does this one ({_first_sentence(error)})"
        ) from error
    # Not after an error: others may be in the middle of something. Their wait ends with this process.
    dist.destroy_process_group()


def build_mesh(layout: Layout, device: torch.device) -> DeviceMesh:
    """The mesh of `layout`, all five dimensions, those of one process too."""
    sizes = tuple(getattr(layout, name) for name in MESH)
    mesh = init_device_mesh(device.type, sizes, mesh_dim_names=MESH)
    for name in MESH:
        # Groups of a mesh do not inherit the timeout of the default group.
        dist.distributed_c10d._set_pg_timeout(TIMEOUT, mesh.get_group(name))
    return mesh


def broadcast_object(value: Any) -> Any:
    """`value` of rank 0, on all ranks; without a process group, `value`."""
    if not dist.is_initialized():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def tell(topic: str, value: Any) -> None:
    """Leave a word, which is JSON, for all processes that `hear`."""
    if dist.is_initialized():
        dist.distributed_c10d._get_default_store().set(topic, json.dumps(value))


def hear(topic: str) -> Any:
    """What another process tells about `topic`, however long it takes: a collective would time out."""
    store = dist.distributed_c10d._get_default_store()
    while not store.check([topic]):
        time.sleep(_LOOK)
    return json.loads(store.get(topic))


def first_before_others(topic: str, function: Callable[[], T]) -> T:
    """`function()` on the first process, which may take long, and then on the others.

    Raises:
        TsumuguError: on the others, if it failed on the first.
    """
    if not dist.is_initialized():
        return function()
    if dist.get_rank() > 0:
        if not hear(topic):
            raise TsumuguError(f"the first process failed ({topic}), and says why")
        return function()
    try:
        found = function()
    except BaseException:
        tell(topic, False)
        raise
    tell(topic, True)
    return found


def any_process(value: bool, device: torch.device) -> bool:
    """Whether `value` is true on any process."""
    if not dist.is_initialized():
        return value
    count = torch.tensor(float(value), device=device)
    dist.all_reduce(count)
    return bool(count > 0)


def is_lost(error: BaseException) -> bool:
    """Whether an error says that another process has ended."""
    return isinstance(error, RuntimeError) and bool(_LOST.search(str(error)))


def device_memory(device: torch.device) -> int | None:
    """Bytes of a GPU; None for a CPU."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else None


def this_cluster(process: Process) -> Cluster:
    """What there is to train on, as the planner knows it."""
    name = torch.cuda.get_device_name(process.device) if process.device.type == "cuda" else "cpu"
    memory = device_memory(process.device)
    cluster = device_cluster(name, process.world_size, process.local_world_size, memory=memory)
    if product_dtype("auto", process.device) == torch.float32 and "float32" in cluster.peak_flops:
        # Whatever the table says of a device that this one is taken for.
        return replace(cluster, peak_flops={"float32": cluster.peak_flops["float32"]})
    return cluster


def _store(process: Process) -> PrefixStore:
    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    # Under torchrun the agent holds the store; otherwise rank 0 does.
    agent = os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True"
    store = dist.TCPStore(  # type: ignore[attr-defined]
        host,
        port,
        process.world_size,
        is_master=process.is_first and not agent,
        timeout=TIMEOUT,
        multi_tenant=True,
    )
    return PrefixStore(f"attempt-{os.environ.get('TORCHELASTIC_RESTART_COUNT', '0')}", store)


def _first_sentence(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0].partition(". ")[0]
