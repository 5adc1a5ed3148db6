"""What a command costs with all of its processes: wall and CPU seconds, and peak memory.

The resident memory of a command is the sum over its process and all descendants, sampled ten
times a second. Pages that processes share are counted once for each (RSS), so the sum is an
upper bound; the proportional size (PSS), which divides them, is sampled beside it once a second.
Linux only: everything is read from /proc.
"""

import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

_SAMPLE_SECONDS = 0.1
_PSS_SECONDS = 1.0
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Cost:
    """What one command took. Bytes are of all its processes together."""

    wall: float
    cpu: float
    others_cpu: float
    """CPU seconds that the rest of the machine used meanwhile, in other people's work."""
    peak_rss: int
    peak_pss: int
    peak_processes: int
    stopped: bool
    """Whether the command was killed because it went over `stop_at` bytes."""
    stderr: str


def run_measured(command: Sequence[str], *, stop_at: int | None = None, cwd: Path | None = None) -> Cost:
    """Run `command` and measure it.

    Args:
        stop_at: kill the command with its descendants when their resident memory exceeds this
            many bytes, for the sake of the machine.

    Raises:
        SystemExit: the command failed (and was not stopped by us); its last words are shown.
    """
    busy, cpu, wall = _busy_seconds(), _children_cpu(), time.perf_counter()
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, cwd=cwd, start_new_session=True)
    sampler = _Sampler(process.pid, stop_at)
    sampler.start()
    try:
        _, stderr = process.communicate()
    except BaseException:
        # Ctrl-C reaches only us: the command has a session of its own.
        os.killpg(process.pid, signal.SIGKILL)
        raise
    wall = time.perf_counter() - wall
    sampler.ended.set()
    sampler.join()
    cpu = _children_cpu() - cpu
    if process.returncode != 0 and not sampler.stopped:
        sys.exit(f"error: {' '.join(command)} failed:\n{stderr[-2000:]}")
    return Cost(
        wall=wall,
        cpu=cpu,
        others_cpu=max(_busy_seconds() - busy - cpu, 0.0),
        peak_rss=sampler.peak_rss,
        peak_pss=sampler.peak_pss,
        peak_processes=sampler.peak_processes,
        stopped=sampler.stopped,
        stderr=stderr,
    )


class _Sampler(threading.Thread):
    def __init__(self, root: int, stop_at: int | None) -> None:
        super().__init__(daemon=True)
        self.root = root
        self.stop_at = stop_at
        self.ended = threading.Event()
        self.peak_rss = self.peak_pss = self.peak_processes = 0
        self.stopped = False

    def run(self) -> None:
        next_pss = 0.0
        while not self.ended.wait(_SAMPLE_SECONDS):
            processes = family(self.root)
            rss = sum(_rss(process) for process in processes)
            self.peak_rss = max(self.peak_rss, rss)
            self.peak_processes = max(self.peak_processes, len(processes))
            if time.monotonic() >= next_pss:
                self.peak_pss = max(self.peak_pss, sum(_pss(process) for process in processes))
                next_pss = time.monotonic() + _PSS_SECONDS
            if self.stop_at is not None and rss > self.stop_at:
                self.stopped = True
                # Its own session, so this is the command and what it started, nobody else.
                os.killpg(self.root, signal.SIGKILL)
                return


def family(root: int) -> list[int]:
    """`root` and all of its descendants that are alive."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            parent = _parent(int(folder.name))
            if parent is not None:
                children.setdefault(parent, []).append(int(folder.name))
    found, waiting = [], [root]
    while waiting:
        process = waiting.pop()
        found.append(process)
        waiting += children.get(process, [])
    return found


def _parent(process: int) -> int | None:
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    # The name of the program stands in parentheses and may hold spaces.
    return int(status.rpartition(")")[2].split()[1])


def _rss(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text(encoding="utf-8").split()[1]) * _PAGE
    except (OSError, IndexError):
        return 0


def _pss(process: int) -> int:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) * 1024 for line in lines if line.startswith("Pss:"))


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _busy_seconds() -> float:
    """CPU seconds that all cores together did not idle since boot."""
    fields = [
        int(field) for field in Path("/proc/stat").read_text(encoding="utf-8").split("\n")[0].split()[1:9]
    ]
    user, nice, system, _idle, _iowait, interrupt, soft_interrupt, steal = fields
    return (user + nice + system + interrupt + soft_interrupt + steal) / _TICKS
