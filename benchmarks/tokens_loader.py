"""Batches per second beside nanoGPT's way of sampling a memory map; and a resume deep in a huge mixture.

The peer draws random places in one `uint16` array on disk, copies a row of tokens from each, and
stacks inputs and targets as int64 tensors; like nanoGPT it maps the file anew for every batch, so
that its memory does not grow. Ours makes the same two tensors in a shuffled order that reads every
sequence once an epoch and can be asked for any batch. Neither prefetches here: it is the work itself.

The resume: a mixture of three sources, 10^12 tokens in 10,000 shards (files of zeros that take no
space on disk). A new process opens it and makes the batch that begins with sample 10^9.
"""

import argparse
import json
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

from harness import Row, alternate, print_table, write_result
from processes import run_measured
from tsumugu.engine import Resources
from tsumugu.tokens.config import DataConfig
from tsumugu.tokens.opening import RunLength, open_loader
from tsumugu.tokens.shards import PARTS, Index, ShardFacts, Source, npy_header, write_index

NAME = "tokens_loader"
LENGTH = 1024
SHAPES = (12, 128, 512)
ROWS = 4096
"""Rows that one run reads in all, in batches of each shape."""
MIXTURE = {"web": {"weight": 0.7}, "books": {"weight": 0.2}, "code": {"weight": 0.1}}


def main() -> None:
    """Measure both, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=5)
    # How this file calls itself, in a process that is measured.
    parser.add_argument("--resume", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resume:
        print(json.dumps(_resume(options.resume)), file=sys.stderr)
        return
    with tempfile.TemporaryDirectory() as name:
        rows = _speed(Path(name), options.runs) + _deep_resume(Path(name), options.runs)
    print_table(rows)
    write_result(NAME, rows, packages=["torch"])


def _speed(folder: Path, runs: int) -> list[Row]:
    tokens, documents = 100_000_000, 100_000
    facts = _facts(0, 0, tokens=tokens, documents=documents)
    ids = np.random.default_rng(0).integers(0, 51_200, tokens, dtype=np.uint16)
    path = folder / "speed" / facts.name
    path.parent.mkdir(parents=True)
    path.write_bytes(npy_header(ids.dtype, ids.shape) + ids.tobytes())
    plain = folder / "plain.bin"
    ids.tofile(plain)
    offsets = np.linspace(0, tokens, documents + 1).astype("<i8")
    offset_path = folder / "speed" / facts.file("offsets")
    offset_path.write_bytes(npy_header(offsets.dtype, offsets.shape) + offsets.tobytes())
    _zeros(folder / "speed" / facts.file("lengths"), np.dtype("<i4"), (documents, 2))
    _write_index(folder / "speed", [facts], ["web"])

    rows = []
    for size in SHAPES:
        count = ROWS // size
        ours, peer = alternate(
            partial(_ours, folder, size, count), partial(_peer, plain, size, count), runs=runs
        )
        rows.append(
            Row(
                f"batches of {size} x {LENGTH} tokens",
                ours=round(count / ours.cpu, 1),
                peer=round(count / peer.cpu, 1),
                unit="batches/CPU s",
                goal=1.0,
                equal_results=ours.result == peer.result,
            )
        )
    return rows


def _ours(folder: Path, size: int, count: int) -> list[int]:
    import torch

    run = RunLength(LENGTH, size, count)
    packing = folder / "packing"
    loader = open_loader(folder / "speed", DataConfig(), run, seed=0, packing=packing, resources=Resources(1))
    shape: list[int] = []
    for index in range(count):
        whole = torch.from_numpy(loader.batch(index).tokens)
        inputs, targets = whole[:, :-1].contiguous(), whole[:, 1:].contiguous()
        shape = [*inputs.shape, *targets.shape]
    return shape


def _peer(path: Path, size: int, count: int) -> list[int]:
    import torch

    shape: list[int] = []
    for _ in range(count):
        data = np.memmap(path, dtype=np.uint16, mode="r")
        places = torch.randint(len(data) - LENGTH, (size,)).tolist()
        inputs, targets = (
            torch.stack(
                [
                    torch.from_numpy(data[place + shift : place + shift + LENGTH].astype(np.int64))
                    for place in places
                ]
            )
            for shift in (0, 1)
        )
        shape = [*inputs.shape, *targets.shape]
    return shape


def _deep_resume(folder: Path, runs: int) -> list[Row]:
    shards, tokens, documents = 10_000, 10**8, 10**5
    facts = []
    for number in range(shards):
        source = 0 if number < 7000 else 1 if number < 9000 else 2
        one = _facts(source, number, tokens=tokens, documents=documents)
        _zeros(folder / "huge" / one.name, np.dtype("<u2"), (tokens,))
        _zeros(folder / "huge" / one.file("offsets"), np.dtype("<i8"), (documents + 1,))
        _zeros(folder / "huge" / one.file("lengths"), np.dtype("<i4"), (documents, 2))
        facts.append(one)
    _write_index(folder / "huge", facts, list(MIXTURE))
    command = [sys.executable, __file__, "--resume", str(folder / "huge")]
    found = [json.loads(run_measured(command).stderr.splitlines()[-1]) for _ in range(runs)]
    details = {"runs": found}
    return [
        Row(
            "first batch from sample 10^9 of 10^12 tokens",
            ours=round(median(run["seconds"] for run in found), 3),
            unit="s",
            goal=1.0,
            better="lower",
            details=details,
        ),
        Row(
            "peak memory of that process",
            ours=round(median(run["peak_mb"] for run in found), 1),
            unit="MB",
            goal=200.0,
            better="lower",
            details=details,
        ),
    ]


def _resume(folder: Path) -> dict[str, float]:
    # Compiled code comes from the cache, as on any second run of a machine.
    began = time.perf_counter()
    loader = open_loader(
        folder,
        DataConfig.model_validate({"mixture": MIXTURE}),
        RunLength(LENGTH, 1000, 2_000_000),
        seed=1,
        packing=folder / "packing",
        resources=Resources(1),
    )
    batch = loader.batch(10**9 // 1000)
    seconds = time.perf_counter() - began
    assert batch.tokens.shape == (1000, LENGTH + 1)
    return {"seconds": seconds, "peak_mb": _peak_bytes() / 1e6}


def _peak_bytes() -> int:
    """The largest resident size of this process. (`getrusage` counts from before `exec`, as the parent.)"""
    status = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    (peak,) = (line for line in status if line.startswith("VmHWM:"))
    return int(peak.split()[1]) * 1024


def _facts(source: int, number: int, *, tokens: int, documents: int) -> ShardFacts:
    return ShardFacts(
        split="train",
        source=source,
        name=f"train/{source:03d}/{number:05d}.npy",
        documents=documents,
        tokens=tokens,
        characters=tokens,
        bytes=3 * tokens,
        xxh3=dict.fromkeys(PARTS, ""),
    )


def _zeros(path: Path, dtype: np.dtype[np.generic], shape: tuple[int, ...]) -> None:
    """An array of zeros, as a sparse file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    header = npy_header(dtype, shape)
    with path.open("wb") as stream:
        stream.write(header)
        stream.truncate(len(header) + dtype.itemsize * int(np.prod(shape)))


def _write_index(folder: Path, shards: list[ShardFacts], sources: list[str]) -> None:
    write_index(
        folder,
        Index(
            dtype="uint16",
            vocab_size=51_200,
            bos_id=1,
            eos_id=2,
            sources=tuple(Source(name, "none") for name in sources),
            shards=tuple(shards),
        ),
    )


if __name__ == "__main__":
    main()
