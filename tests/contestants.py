"""Functions for the benchmarks' harness to time; a module that a new process imports at once."""

import os
import subprocess
import sys


def conditions() -> tuple[int, set[int], str]:
    """The process, the cores that it may use, and a library's threads."""
    return os.getpid(), os.sched_getaffinity(0), os.environ["POLARS_MAX_THREADS"]


def spend_cpu_in_a_child() -> str:
    """Let another process work."""
    code = "sum(number * number for number in range(1_000_000)); print('済')"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
