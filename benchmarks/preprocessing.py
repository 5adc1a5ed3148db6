"""Megatron-LM's `tools/preprocess_data.py`, run as its users run it, and the seconds that it works.

The script of a checkout is started by its own command line, unmodified, in our environment. Most of what a
short run takes is imports (torch, transformers), so the clock starts when the script prints that it is
ready, with its worker processes forked, and stops when its index is written; to end takes it seconds more.
The seconds and CPU seconds of the whole command stand beside that.

core_v0.17.1 is the last release that runs on Python 3.11, without a GPU and its libraries. Newer ones want
Python 3.12, and Triton, which torch brings along where it is the one for GPUs.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsumugu.tokens.megatron import check_pair, open_pair, with_suffix

SCRIPT = Path("tools") / "preprocess_data.py"
HOW_TO_GET_IT = (
    "git clone https://github.com/NVIDIA/Megatron-LM (on Python 3.11: with --branch core_v0.17.1), and give "
    "the folder as --megatron, or in the environment variable MEGATRON_LM"
)
_READY = "Time to startup:"


@dataclass(frozen=True)
class Run:
    """One run of the script."""

    prefix: Path
    """Of the pair that it wrote."""
    wall: float
    """Seconds from when it was ready until its index was written."""
    command: float
    """Seconds of the whole command, with imports."""
    command_cpu: float
    """CPU seconds of the whole command with all of its processes."""


def check_checkout(checkout: Path) -> None:
    """Exit with a message if `checkout` has no such script."""
    if not (checkout / SCRIPT).is_file():
        sys.exit(f"error: {checkout} is no checkout of Megatron-LM: it has no {SCRIPT}. {HOW_TO_GET_IT}.")


def write_json_lines(path: Path, texts: Iterable[str]) -> None:
    """The script's input. Characters are themselves, not `\\uXXXX`, which would take longer to read."""
    with path.open("w", encoding="utf-8") as lines:
        for text in texts:
            lines.write(json.dumps({"text": text}, ensure_ascii=False) + "\n")


def preprocess(checkout: Path, documents: Path, model: Path, prefix: Path, *, workers: int) -> Run:
    """Encode the JSON Lines `documents` by the SentencePiece `model`, with the end of each document.

    Raises:
        SystemExit: the script failed (what it says goes to our stderr), or works otherwise than those
            that we know.
    """
    command = [sys.executable, str(checkout.resolve() / SCRIPT)]
    command += ["--input", str(documents), "--output-prefix", str(prefix)]
    command += ["--tokenizer-type", "SentencePieceTokenizer", "--tokenizer-model", str(model)]
    command += ["--append-eod", "--workers", str(workers)]
    pair = prefix.with_name(f"{prefix.name}_text_document")
    for suffix in ("bin", "idx"):
        with_suffix(pair, suffix).unlink(missing_ok=True)

    began, cpu, ready = time.time(), _cpu_seconds(), None
    # Unbuffered, or we would read of its start when it ends.
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith(_READY):
                ready = time.time()
    ended, cpu = time.time(), _cpu_seconds() - cpu
    if process.returncode != 0:
        sys.exit(f"error: {' '.join(command)} failed with status {process.returncode}")
    if ready is None:
        sys.exit(f"error: {command[1]} never said {_READY!r}; the benchmark does not know this version")
    # By the clock of `time.time`, as the times of files are.
    written = with_suffix(pair, "idx").stat().st_mtime
    return Run(pair, wall=written - ready, command=ended - began, command_cpu=cpu)


def documents_of(prefix: Path) -> Iterator[NDArray[np.unsignedinteger]]:
    """The ids of each document of a pair."""
    pair = open_pair(prefix)
    check_pair(pair)
    for number in range(pair.documents):
        yield pair.document(number)


def _cpu_seconds() -> float:
    """Of the child processes that have ended."""
    times = os.times()
    return times.children_user + times.children_system
