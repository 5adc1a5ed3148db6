"""Processes that are started once and then run many jobs, as groups of any size.

Starting a process that has torch in it takes seconds; forming another group of processes takes a
few hundredths. The function of a job must be importable; it is called with `rank` and the given
arguments inside of a gloo group, and what it returns comes back.
"""

import gc
import multiprocessing
import tempfile
import time
import traceback
from collections.abc import Callable
from datetime import timedelta
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

_PRELOADED = ["tsumugu.training.stage", "torch._dynamo", "torch.distributed.pipelining"]


class Workers:
    """A pool; use as a context."""

    def __init__(self, count: int, *, seconds: float = 300) -> None:
        """`count` processes; a job that takes longer than `seconds` is an error.

        The limit is there for processes that wait for each other for ever. It is wide because a
        loaded machine with a cold cache compiles a model in minutes.
        """
        self._seconds = seconds
        self._folder = tempfile.TemporaryDirectory(prefix="workers-")
        self._jobs = 0
        self._context = multiprocessing.get_context("forkserver")
        self._context.set_forkserver_preload(_PRELOADED)
        self._connections: list[Connection] = []
        self._processes: list[multiprocessing.process.BaseProcess] = []
        self._start(count)

    def _start(self, count: int) -> None:
        for _ in range(count):
            ours, theirs = self._context.Pipe()
            process = self._context.Process(target=_serve, args=(theirs,), daemon=True)
            process.start()
            theirs.close()
            self._connections.append(ours)
            self._processes.append(process)

    def _stop(self) -> None:
        for process, connection in zip(self._processes, self._connections, strict=True):
            process.kill()
            process.join()
            connection.close()
        self._processes.clear()
        self._connections.clear()

    def run(self, function: Callable[..., Any], processes: int, *arguments: Any) -> list[Any]:
        """`function(rank, *arguments)` in a group of `processes`; what each rank returned."""
        self._jobs += 1
        store = Path(self._folder.name) / f"store-{self._jobs}"
        chosen = self._connections[:processes]
        for rank, connection in enumerate(chosen):
            connection.send((function, rank, processes, str(store), self._seconds, arguments))
        answers = []
        until = time.monotonic() + self._seconds
        try:
            for rank, connection in enumerate(chosen):
                if not connection.poll(max(0, until - time.monotonic())):
                    raise TimeoutError(f"rank {rank} did not answer in {self._seconds:g} s")
                answers.append(connection.recv())
        except (TimeoutError, EOFError):
            # The others may still answer this job, and must not do so when the next one asks.
            count = len(self._processes)
            self._stop()
            self._start(count)
            raise
        failures = [f"rank {rank}:\n{text}" for rank, (ok, text) in enumerate(answers) if not ok]
        if failures:
            raise RuntimeError("\n".join(failures))
        return [value for _, value in answers]

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()
        self._folder.cleanup()


def _serve(connection: Connection) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    while True:
        try:
            function, rank, processes, store, seconds, arguments = connection.recv()
        except EOFError:
            return
        try:
            dist.init_process_group(
                "gloo",
                init_method=f"file://{store}",
                rank=rank,
                world_size=processes,
                timeout=timedelta(seconds=seconds),
            )
            try:
                answer = (True, function(rank, *arguments))
                dist.barrier()
            finally:
                dist.destroy_process_group()
        except BaseException:  # noqa: BLE001 - it is raised again in the process that asked
            answer = (False, traceback.format_exc())
        _let_groups_go()
        connection.send(answer)


def _let_groups_go() -> None:
    """End the threads of a job's groups, which spin as long as anybody holds the groups.

    DTensor's caches hold every mesh that they have seen, with its groups; models are full of cycles.
    """
    from torch.distributed.tensor._collective_utils import MeshTopoInfo
    from torch.distributed.tensor._redistribute import clear_redistribute_planner_cache
    from torch.distributed.tensor.debug import _clear_sharding_prop_cache

    _clear_sharding_prop_cache()  # type: ignore[no-untyped-call]
    clear_redistribute_planner_cache()
    MeshTopoInfo.build_from_mesh.cache_clear()
    gc.collect()
