"""What every benchmark shares: fair timing, a row per comparison, a table and a JSON file.

`alternate` gives each contestant a process of its own, pinned to one and the same core before
anything is imported, lets both warm up, and then runs them in turn, so that whatever else the
machine does hits both. Medians of CPU seconds and of wall seconds come back with what the
contestants returned, so that results can be compared before speeds are.

Nothing here fails because of a timing: a goal that is missed is said in the table and in the
JSON, with the reason that the benchmark gives.
"""

import json
import multiprocessing
import os
import platform
import resource
import sys
import time
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median
from typing import Any, Literal

from tsumugu.versions import commit_of, cpu_model

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results"
_ONE_THREAD = {
    "OMP_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "NUMBA_NUM_THREADS": "1",
    "POLARS_MAX_THREADS": "1",
    "RAYON_NUM_THREADS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}

Contestant = Callable[[], Any]
"""A function that can be pickled: of a module, or `functools.partial` of one."""


@dataclass(frozen=True)
class Timing:
    """One contestant's runs; `cpu` and `wall` are medians in seconds."""

    cpu: float
    wall: float
    cpu_runs: tuple[float, ...]
    wall_runs: tuple[float, ...]
    result: Any
    """What the last run returned."""
    results: tuple[Any, ...]
    """What every run returned."""
    peak_bytes: int
    """Largest resident size of the contestant's process, warm-up included."""


def alternate(
    ours: Contestant, peer: Contestant, *, runs: int = 3, warm_up: bool = True, core: int | None = None
) -> tuple[Timing, Timing]:
    """Time `ours` and `peer` in turn, `runs` times each, on one core.

    Args:
        ours, peer: called without arguments in a process of their own; what they return travels
            back by pickle, so return counts, ids or checksums rather than gigabytes.
        warm_up: call each once before the clock runs (compilation, caches).
        core: the CPU to pin to; the one that is idlest right now if None.

    Raises:
        ValueError: fewer than three runs: a median of two is a mean.
    """
    if runs < 3:
        raise ValueError(f"alternate needs at least 3 runs for a median, not {runs}")
    core = _idlest_core() if core is None else core
    with _process(core) as our_process, _process(core) as peer_process:
        processes = ((our_process, ours), (peer_process, peer))
        if warm_up:
            for process, contestant in processes:
                process.submit(contestant).result()
        measured: tuple[list[_Run], list[_Run]] = ([], [])
        for _ in range(runs):
            for (process, contestant), into in zip(processes, measured, strict=True):
                into.append(process.submit(_run, contestant).result())
    first, second = (_timing(found) for found in measured)
    return first, second


def measure(contestant: Contestant, *, runs: int = 3, warm_up: bool = True) -> Timing:
    """Time one contestant alone, as `alternate` does."""
    with _process(_idlest_core()) as process:
        if warm_up:
            process.submit(contestant).result()
        return _timing([process.submit(_run, contestant).result() for _ in range(runs)])


@dataclass(frozen=True)
class _Run:
    cpu: float
    wall: float
    result: Any
    peak_bytes: int


def _timing(runs: Sequence[_Run]) -> Timing:
    return Timing(
        cpu=median(run.cpu for run in runs),
        wall=median(run.wall for run in runs),
        cpu_runs=tuple(round(run.cpu, 4) for run in runs),
        wall_runs=tuple(round(run.wall, 4) for run in runs),
        result=runs[-1].result,
        results=tuple(run.result for run in runs),
        peak_bytes=max(run.peak_bytes for run in runs),
    )


@contextmanager
def _process(core: int) -> Iterator[ProcessPoolExecutor]:
    """A fresh interpreter that was on one core, with one thread per library, from its first moment."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as executor:
        # Children inherit both; setting them inside the child would come after its imports.
        with _pinned(core):
            executor.submit(os.getpid).result()
        yield executor


def _idlest_core() -> int:
    """Of the cores that this process may use, the one that others use least; a moment decides."""
    before = _idle_ticks()
    time.sleep(0.3)
    after = _idle_ticks()
    return max(os.sched_getaffinity(0), key=lambda core: after[core] - before[core])


def _idle_ticks() -> dict[int, int]:
    lines = Path("/proc/stat").read_text(encoding="utf-8").splitlines()
    # `cpu0 user nice system idle ...`; the line of all cores together has no number.
    rows = [line.split() for line in lines if line.startswith("cpu") and line[3].isdecimal()]
    return {int(row[0][3:]): int(row[4]) for row in rows}


@contextmanager
def _pinned(core: int) -> Iterator[None]:
    affinity, environment = os.sched_getaffinity(0), dict(os.environ)
    os.sched_setaffinity(0, {core})
    os.environ.update(_ONE_THREAD)
    try:
        yield
    finally:
        os.sched_setaffinity(0, affinity)
        for name in _ONE_THREAD:
            if name in environment:
                os.environ[name] = environment[name]
            else:
                del os.environ[name]


def _run(contestant: Contestant) -> _Run:
    cpu, wall = _cpu_seconds(), time.perf_counter()
    result = contestant()
    cpu, wall = _cpu_seconds() - cpu, time.perf_counter() - wall
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return _Run(cpu, wall, result, peak_bytes)


def _cpu_seconds() -> float:
    """CPU seconds of this process and of those of its children that have ended."""
    # Not os.times, which counts in hundredths of a second.
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


@dataclass(frozen=True)
class Row:
    """One comparison. `ours` and `peer` are in `unit`; the goal is on their ratio, or on `ours`
    where there is no peer."""

    name: str
    ours: float
    unit: str
    peer: float | None = None
    goal: float | None = None
    better: Literal["higher", "lower"] = "higher"
    """Which figures are the good ones: "higher" for MB/s, "lower" for seconds and bytes."""
    equal_results: bool | None = None
    """Whether both gave the same results; None where there is nothing to compare."""
    conclusive: bool = True
    """False when the conditions were such that the figures neither meet nor miss the goal."""
    why: str = ""
    """Why the goal is missed, or what the reader should know."""
    details: dict[str, Any] | None = None
    """Single runs, recall, load of the machine: whatever makes the figure believable."""

    @property
    def ratio(self) -> float | None:
        """How many times better we are; None without a peer."""
        if self.peer is None:
            return None
        return self.ours / self.peer if self.better == "higher" else self.peer / self.ours

    @property
    def goal_met(self) -> bool | None:
        """None without a goal, or when the figures cannot tell."""
        if self.goal is None or not self.conclusive:
            return None
        if self.ratio is not None:
            return self.ratio >= self.goal
        return self.ours >= self.goal if self.better == "higher" else self.ours <= self.goal


def write_result(name: str, rows: Sequence[Row], *, packages: Sequence[str] = ()) -> Path:
    """Write `benchmarks/results/NAME.json`; `packages` are those whose versions matter beside ours."""
    about = {"versions": versions(packages), "machine": machine()}
    shown = [{**asdict(row), "ratio": _rounded(row.ratio), "goal_met": row.goal_met, **about} for row in rows]
    path = RESULTS / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(shown, ensure_ascii=False, indent=2, allow_nan=False) + "\n", encoding="utf-8")
    return path


def read_result(name: str) -> list[dict[str, Any]]:
    """The rows of `benchmarks/results/NAME.json`; empty if that benchmark has not been run."""
    path = RESULTS / f"{name}.json"
    if not path.exists():
        return []
    rows: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
    return rows


def print_table(rows: Sequence[Row]) -> None:
    """Print one line per row, and below it what falls short and why."""
    head = ("", "ours", "peer", "unit", "ratio", "goal", "equal results")
    lines = [head, *(_cells(row) for row in rows)]
    widths = [max(_width(line[column]) for line in lines) for column in range(len(head))]
    for line in lines:
        cells = (
            text + " " * (width - _width(text)) if column in (0, 3) else " " * (width - _width(text)) + text
            for column, (text, width) in enumerate(zip(line, widths, strict=True))
        )
        print("  ".join(cells).rstrip())
    for row in rows:
        if row.goal is not None and not row.conclusive:
            print(f"INCONCLUSIVE: {row.name}: {row.why or 'the conditions were not fit for measuring'}")
        elif row.goal_met is False:
            print(f"GOAL MISSED: {row.name}: {row.why or 'nobody has found out why yet'}")
        elif row.why:
            print(f"note: {row.name}: {row.why}")
        if row.equal_results is False:
            print(f"RESULTS DIFFER: {row.name}: the speeds above do not compare the same work")


def _cells(row: Row) -> tuple[str, ...]:
    equal = {True: "yes", False: "NO", None: "-"}[row.equal_results]
    missed = " (missed)" if row.goal_met is False else "" if row.conclusive else " (inconclusive)"
    return (
        row.name,
        _number(row.ours),
        _number(row.peer),
        row.unit,
        "-" if row.ratio is None else f"{row.ratio:.2f}x",
        "-" if row.goal is None else f"{row.goal:g}{'x' if row.ratio is not None else ''}{missed}",
        equal,
    )


def _number(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.4g}" if abs(value) < 10_000 else f"{value:,.0f}"


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)


def _width(text: str) -> int:
    """Columns of a terminal: Japanese characters take two."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def machine() -> dict[str, Any]:
    """What the figures were measured on, and how busy it was."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)),
        "memory_bytes": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        "system": platform.platform(),
        # Above the processes of the benchmark itself, this is other people's work.
        "load_average": [round(load, 2) for load in os.getloadavg()],
    }


def versions(packages: Sequence[str] = ()) -> dict[str, str]:
    """Versions of Python, Tsumugu (with its commit), the libraries in the hot path, and `packages`."""
    found = {"python": platform.python_version(), "tsumugu": f"commit {commit_of(ROOT)}"}
    for package in ("numpy", "numba", "pyarrow", *packages):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def data_folder() -> Path:
    """The folder of real texts that the environment variable TSUMUGU_DATA names.

    Exits with a message when it is missing: a benchmark without its data says nothing.
    """
    folder = Path(os.environ.get("TSUMUGU_DATA", ""))
    if not os.environ.get("TSUMUGU_DATA") or not folder.is_dir():
        sys.exit(
            "error: this benchmark reads real texts. Let the environment variable TSUMUGU_DATA name the "
            "folder that holds corpus/ and warc/ (docs/benchmarks.md says what they are)."
        )
    return folder
