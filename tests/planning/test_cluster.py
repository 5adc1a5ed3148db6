"""Clusters by name, from files, and as training finds them."""

from pathlib import Path

import pytest

from tsumugu.errors import TsumuguError
from tsumugu.planning.cluster import device_cluster, find_cluster, table
from tsumugu.training.throughput import peak_flops

MINE = """\
device: NVIDIA A30
tflops: {bfloat16: 165}
memory_gib: 24
memory_gb_per_s: 933
node_gb_per_s: 100
network_gb_per_s: 12.5
devices_per_node: 4
watts: 300
"""


@pytest.mark.parametrize("text", ["64xA100-80GB", "64 x a100-80gb", "6_4xA100-80GB"])
def test_a_number_and_a_name_are_a_cluster(text: str) -> None:
    cluster = find_cluster(text)
    assert (cluster.devices, cluster.devices_per_node) == (64, 8)
    assert cluster.peak("bfloat16") == 312e12
    assert cluster.memory_bandwidth == 2039e9


def test_fewer_devices_than_a_node_has_are_one_node() -> None:
    assert find_cluster("2xH100").devices_per_node == 2


def test_a_file_describes_any_other_cluster(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE)
    cluster = find_cluster(f"16x{path}")
    assert (cluster.devices, cluster.devices_per_node, cluster.memory) == (16, 4, 24 * 2**30)
    assert cluster.usd_per_hour is None
    path.write_text(MINE + "devices: 8\n")
    assert find_cluster(str(path)).devices == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("64xA1000", "known are A100-40GB, A100-80GB"),
        ("H100", "Write a number in front, such as 8xH100"),
        ("8xmissing.yaml", "cannot read the cluster missing.yaml"),
    ],
)
def test_what_is_no_cluster_is_told_with_what_to_write(text: str, message: str) -> None:
    with pytest.raises(TsumuguError, match=message):
        find_cluster(text)


def test_a_mistake_in_a_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(MINE.replace("memory_gib: 24", "memory_gb: 24"))
    with pytest.raises(TsumuguError, match=r"(?s)memory_gib: Field required.*memory_gb: Extra inputs"):
        find_cluster(f"8x{path}")


def test_a_precision_without_a_peak_is_refused() -> None:
    with pytest.raises(TsumuguError, match="no peak for precision = float8"):
        find_cluster("8xA100-80GB").peak("float8")


def test_peaks_are_those_by_which_training_reports_its_mfu() -> None:
    for name, config in table().items():
        found = peak_flops(config.device)
        assert name == "CPU" or found == pytest.approx(config.tflops["bfloat16"] * 1e12)


@pytest.mark.parametrize(
    ("name", "device"),
    [
        ("NVIDIA A100-SXM4-80GB", "NVIDIA A100 SXM4 80GB"),
        ("NVIDIA A100-SXM4-40GB", "NVIDIA A100 SXM4 40GB"),
        ("NVIDIA H100 80GB HBM3", "NVIDIA H100 SXM5 80GB"),
        ("NVIDIA H200", "NVIDIA H200 SXM 141GB"),
        ("Tesla T4", "NVIDIA L40S 48GB"),
        ("cpu", "CPU"),
    ],
)
def test_training_finds_its_devices_in_the_table(name: str, device: str) -> None:
    assert device_cluster(name, 4, 4, memory=None).device == device
    assert device_cluster(name, 4, 4, memory=10**9).memory == 10**9
