"""What is to be rented: devices, how they are connected, and what they cost.

`64xA100-80GB` is a number and a name of `clusters.yaml`; a YAML file of the same keys describes any other
cluster. All bandwidths are those of one device in one direction.
"""

import re
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, ValidationError

from tsumugu.errors import TsumuguError
from tsumugu.planning.workload import Precision
from tsumugu.section import Section

_TABLE = Path(__file__).parent / "clusters.yaml"
_NAME = re.compile(r"(?P<count>[0-9][0-9_,]*) ?[x×] ?(?P<name>.+)")

_LIKE_H100 = {"H800", "GH200"}
_MEMORY = re.compile(r"-\d+GB")

Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class ClusterConfig(Section):
    """A kind of device and of network. Units as vendors write them."""

    device: str
    """Its name, for people."""
    tflops: Annotated[dict[Precision, Positive], Field(min_length=1)]
    """10^12 dense floating-point operations per second, by precision: bfloat16, and where there is, float8
    and float32 (the tensor cores' TF32)."""
    memory_gib: Positive
    """GiB (2^30 bytes) of one device that programs can have."""
    memory_gb_per_s: Positive
    """10^9 bytes per second between a device and its memory."""
    node_gb_per_s: Positive
    """10^9 bytes per second that a device sends to others of its node (NVLink, or PCIe), while it receives as
    many."""
    network_gb_per_s: Positive
    """10^9 bytes per second that a device sends to other nodes, while it receives as many."""
    devices_per_node: Annotated[int, Field(ge=1)] = 8
    watts: Positive
    """Of one device with its share of the node, at work."""
    usd_per_hour: Positive | None = None
    """Of one device."""
    source: str = ""
    """Where these numbers come from."""
    devices: Annotated[int, Field(ge=1)] | None = None
    """How many there are."""


@dataclass(frozen=True)
class Cluster:
    """Devices and the network between them. SI units: bytes, seconds, FLOP/s."""

    device: str
    devices: int
    devices_per_node: int
    peak_flops: dict[Precision, float]
    """FLOP/s by precision, dense."""
    memory: int
    """Bytes of a device."""
    memory_bandwidth: float
    """Bytes/s."""
    node_bandwidth: float
    """Bytes/s that a device sends within its node, in one direction."""
    network_bandwidth: float
    """Bytes/s that a device sends to other nodes, in one direction."""
    watts: float
    usd_per_hour: float | None
    """Of one device."""

    def peak(self, precision: Precision) -> float:
        """FLOP/s of matrix products in `precision`.

        Raises:
            TsumuguError: it is not known.
        """
        if precision == "bfloat16" and precision not in self.peak_flops:
            # It is computed in float32 there.
            precision = "float32"
        if precision not in self.peak_flops:
            raise TsumuguError(
                f"{self.device} has no peak for precision = {precision}; it is known for "
                f"{', '.join(self.peak_flops)}. Choose another precision, or give tflops in a cluster file"
            )
        return self.peak_flops[precision]

    @property
    def best_precision(self) -> Precision:
        """What `pretrain.precision = auto` comes to."""
        return "bfloat16" if "bfloat16" in self.peak_flops else "float32"


def find_cluster(text: str) -> Cluster:
    """The cluster that `text` describes.

    Args:
        text: `64xA100-80GB`, a number and a name of the table; or the path of a YAML file with the keys of
            `ClusterConfig`, with `64x` in front unless it says `devices`.

    Raises:
        TsumuguError: there is no such cluster, or the file has a mistake.
    """
    found = _NAME.fullmatch(text.strip())
    count = int(re.sub("[_,]", "", found["count"])) if found else None
    name = found["name"] if found else text.strip()
    if name.endswith((".yaml", ".yml")):
        config = _read(Path(name))
    else:
        by_name = {known.lower(): known for known in table()}
        if name.lower() not in by_name:
            raise TsumuguError(
                f"there is no cluster {text!r}. Give a number and a name, such as 64xA100-80GB; known are "
                f"{', '.join(table())}. Or a YAML file, such as 64xmine.yaml"
            )
        config = table()[by_name[name.lower()]]
    devices = count or config.devices
    if not devices:
        raise TsumuguError(f"how many devices? Write a number in front, such as 8x{name}")
    return _cluster(config, devices)


def device_cluster(device: str, devices: int, devices_per_node: int, *, memory: int | None) -> Cluster:
    """The cluster that training finds itself on.

    Args:
        device: as `torch.cuda.get_device_name()` says it, or `cpu`.
        devices: of all nodes.
        devices_per_node: of this one.
        memory: bytes of a device; None if unknown.

    Devices that the table does not have are taken for one that it has: those with the chip of an H100 for it,
    a processor for `cpu`, and any other for an L40S.
    """
    words = set(re.findall(r"\w+", device))
    exactly = [name for name in table() if words >= set(name.split("-"))]
    known = exactly or [name for name in table() if words >= set(_MEMORY.sub("", name).split("-"))]
    others = "CPU" if device == "cpu" else "H100" if words & _LIKE_H100 else "L40S"
    cluster = replace(
        _cluster(table()[max(known, key=len, default=others)], devices), devices_per_node=devices_per_node
    )
    return cluster if memory is None else replace(cluster, memory=memory)


@cache
def table() -> dict[str, ClusterConfig]:
    """The clusters that are known by name."""
    rows = yaml.safe_load(_TABLE.read_text(encoding="utf-8"))
    return {name: ClusterConfig.model_validate(row) for name, row in rows.items()}


def _read(path: Path) -> ClusterConfig:
    try:
        data: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise TsumuguError(f"cannot read the cluster {path}: {error}") from error
    try:
        return ClusterConfig.model_validate(data)
    except ValidationError as error:
        lines = "\n".join(
            f"  - {'.'.join(map(str, fault['loc'])) or 'the file'}: {fault['msg']}"
            for fault in error.errors()
        )
        raise TsumuguError(f"the cluster {path} has mistakes:\n{lines}") from error


def _cluster(config: ClusterConfig, devices: int) -> Cluster:
    return Cluster(
        device=config.device,
        devices=devices,
        devices_per_node=min(devices, config.devices_per_node),
        peak_flops={name: value * 1e12 for name, value in config.tflops.items()},
        memory=round(config.memory_gib * 2**30),
        memory_bandwidth=config.memory_gb_per_s * 1e9,
        node_bandwidth=config.node_gb_per_s * 1e9,
        network_bandwidth=config.network_gb_per_s * 1e9,
        watts=config.watts,
        usd_per_hour=config.usd_per_hour,
    )
