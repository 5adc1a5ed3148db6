"""One verb: map a function over shards, in processes of this machine or on a Ray cluster.

A task names its output, a file or a folder; the function must write that atomically and depend on
nothing but the task. Then the result is the same for any number of workers and either engine,
finished tasks are never done again, and a worker that is killed costs one task: it is tried
again in a new process.
"""

import atexit
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Never, Protocol, TypeVar

from tqdm import tqdm

from tsumugu.errors import TsumuguError

Engine = Literal["local", "ray"]
"""`local`: processes of this machine. `ray`: a Ray cluster (extra `ray`; see `ray_cluster.py`)."""


@dataclass(frozen=True)
class Resources:
    """Where work is done: so many processes at a time, of this machine or of a Ray cluster."""

    workers: int
    engine: Engine = "local"


_ATTEMPTS = 3


class Task(Protocol):
    """A unit of work: picklable, and named by the file or the folder that it leaves."""

    @property
    def output(self) -> Path:
        """What exists when the task is done."""
        ...


T = TypeVar("T", bound=Task)


def map_shards(
    function: Callable[[T], None],
    tasks: Sequence[T],
    *,
    resources: Resources,
    description: str,
) -> None:
    """Call `function(task)` for every task whose output does not exist yet.

    Args:
        function: a function of a module, since it travels to other processes by name.
        resources: where. A Ray cluster that runs already uses all that it has.

    Raises:
        TsumuguError: a task killed its worker three times (the message names its output), or the
            engine cannot be had.
        Exception: whatever `function` raised, unchanged.
    """
    open_tasks = [task for task in tasks if not task.output.exists()]
    with tqdm(total=len(tasks), initial=len(tasks) - len(open_tasks), desc=description, unit="shard") as bar:
        map_open = _map_on_ray if resources.engine == "ray" else _map_locally
        open_tasks = map_open(function, open_tasks, resources.workers, bar)
    if not open_tasks:
        return
    raise TsumuguError(
        f"the worker process died {_ATTEMPTS} times on {open_tasks[0].output.name} (out of memory, or a "
        f"crash in a library?). Look at its inputs, or lower --workers to leave each one more memory."
    )


def check_engine(engine: Engine) -> None:
    """Find out before any work is done whether the engine is installed.

    Raises:
        TsumuguError: it is not; the message says how to install it.
    """
    if engine == "ray":
        import tsumugu.ray_cluster  # noqa: F401


def _map_on_ray(
    function: Callable[[T], None], tasks: Sequence[T], workers: int, bar: "tqdm[Never]"
) -> list[T]:
    if not tasks:
        return []
    # Imported here: it takes a second, and most never need it.
    from tsumugu.ray_cluster import map_on_ray

    return map_on_ray(function, tasks, workers=workers, attempts=_ATTEMPTS, done=bar.update)


@contextmanager
def kept_workers() -> Iterator[None]:
    """Within this block the local workers live from one `map_shards` to the next.

    A new process imports and loads compiled code for seconds, and the corpus stage maps a dozen times.
    Where other work follows, the workers would only hold memory.
    """
    global _kept
    _kept = _KeptPool()
    try:
        yield
    finally:
        _kept.drop()
        _kept = None


def workers_are_up(resources: Resources) -> bool:
    """Whether `map_shards` would find running workers, so that even small tasks are worth giving away."""
    return resources.engine == "local" and _kept is not None and _kept.has(resources.workers)


class _KeptPool:
    def __init__(self) -> None:
        self._pool: ProcessPoolExecutor | None = None
        self._workers = 0

    def has(self, workers: int) -> bool:
        """Whether there is a pool of so many workers."""
        return self._pool is not None and self._workers == workers

    def get(self, workers: int) -> ProcessPoolExecutor:
        """The pool, if it has so many workers; or else a new one in its place."""
        if self._pool is None or self._workers != workers:
            self.drop()
            self._pool, self._workers = _new_pool(workers), workers
        return self._pool

    def drop(self) -> None:
        """End the workers, once they have done what they have in hand."""
        if self._pool is not None:
            self._pool.shutdown(cancel_futures=True)
        self._pool = None


_kept: _KeptPool | None = None


def _map_locally(
    function: Callable[[T], None], tasks: Sequence[T], workers: int, bar: "tqdm[Never]"
) -> list[T]:
    """Return the tasks whose worker died in every attempt."""
    if not tasks:
        return []
    if _kept is not None:
        whole = False
        try:
            left, whole = _map_group(function, tasks, _kept.get(workers), bar)
        finally:
            if not whole:
                _kept.drop()
    else:
        with _new_pool(min(workers, len(tasks))) as pool:
            left, _ = _map_group(function, tasks, pool, bar)
    # A worker that dies breaks its pool and takes its neighbours along. Try again one task at
    # a time, so that the guilty one is known by name and the others get done.
    for _ in range(_ATTEMPTS - 1):
        tasks, left = left, []
        for task in tasks:
            with _new_pool(1) as pool:
                left += _map_group(function, [task], pool, bar)[0]
    return left


def _map_group(
    function: Callable[[T], None], tasks: Sequence[T], pool: ProcessPoolExecutor, bar: "tqdm[Never]"
) -> tuple[list[T], bool]:
    """Run `tasks`; return those that did not finish because a worker died, and whether the pool is whole."""
    unfinished = []
    try:
        futures: dict[Future[None], T] = {pool.submit(function, task): task for task in tasks}
        for future in as_completed(futures):
            try:
                future.result()
            except BrokenProcessPool:
                unfinished.append(futures[future])
            else:
                bar.update()
    except BrokenProcessPool:
        # It broke while tasks were still being handed out.
        unfinished = list(tasks)
    except BaseException:
        # A failed task or Ctrl-C: whoever closes the pool waits for the workers, so let there be no queue.
        pool.shutdown(wait=False, cancel_futures=True)
        raise
    return [task for task in tasks if task in unfinished and not task.output.exists()], not unfinished


def _new_pool(workers: int) -> ProcessPoolExecutor:
    return ProcessPoolExecutor(
        max_workers=workers,
        # Not fork: threads of numba, Arrow or torch in the parent would deadlock the child.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_end_with_parent,
    )


def _end_with_parent() -> None:
    """Let no worker outlive a parent that was killed, and leave Ctrl-C to the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    assert parent is not None

    def wait() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()
    # What a worker holds is the system's to take back at once; Python gives it back piece by piece,
    # which takes half a second. Whoever waits for the worker has its results by then.
    atexit.register(os._exit, 0)
