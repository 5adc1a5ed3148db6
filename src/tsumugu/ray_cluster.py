"""Tasks on a Ray cluster: the other way to map a function over shards.

One Ray task per shard, each on one CPU. The cluster is the one that the environment variable
`RAY_ADDRESS` names (`auto`: the one that `ray start` put on this machine); without it, Ray is
started on this machine and ends with this process. Ray tries a task again when its worker or
its node dies. All nodes must see the same files under the same paths (a shared file system) and
run the same Tsumugu.
"""

import logging
import os
import platform
import socket
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import tsumugu
from tsumugu.engine import Task
from tsumugu.errors import TsumuguError

try:
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, RayTaskError, WorkerCrashedError
except ImportError as error:
    raise TsumuguError(
        f"--engine ray needs Ray, which cannot be imported here ({error}). Install it with "
        f"pip install 'tsumugu[ray]', or leave --engine away to use this machine's processes."
    ) from error

# Far more than a cluster runs at once, and few enough that a million shards are no burden.
_IN_FLIGHT = 1000
_FILE_SYSTEM_SECONDS = 60.0
_ANSWER_SECONDS = 10.0

T = TypeVar("T", bound=Task)


def map_on_ray(
    function: Callable[[T], None],
    tasks: Sequence[T],
    *,
    workers: int,
    attempts: int,
    done: Callable[[], object],
) -> list[T]:
    """Call `function(task)` for every task on the cluster; return those whose workers always died.

    Args:
        workers: CPUs of the instance that is started when there is no cluster; a cluster that
            runs already is used as it is.
        attempts: how often a task may be begun.
        done: called once for every finished task.

    Raises:
        TsumuguError: there is no cluster at `RAY_ADDRESS`, or its nodes do not see our files or
            run another version of Tsumugu.
        Exception: whatever `function` raised, unchanged.
    """
    _connect(workers)
    remote = ray.remote(num_cpus=1, max_retries=attempts - 1)(_call)
    waiting = deque(tasks)
    running: dict[Any, T] = {}
    dead: list[T] = []
    here = (str(Path.cwd()), tsumugu.__version__)
    try:
        while waiting or running:
            while waiting and len(running) < _IN_FLIGHT:
                task = waiting.popleft()
                running[remote.remote(function, task, *here)] = task
            for reference in ray.wait(list(running), num_returns=1)[0]:
                task = running[reference]
                try:
                    ray.get(reference)
                    _wait_for(task.output)
                except (WorkerCrashedError, NodeDiedError, OutOfMemoryError):
                    dead.append(task)
                except RayTaskError as error:
                    raise error.cause from None
                else:
                    done()
                del running[reference]
    finally:
        # Nothing is left here unless something was raised.
        for reference in running:
            ray.cancel(reference)
    return dead


def _connect(workers: int) -> None:
    if ray.is_initialized():
        return
    # Nobody who cleans a corpus has asked for telemetry.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        # "local", because Ray would otherwise trust a note that a dead cluster left in /tmp.
        ray.init(address="local", num_cpus=workers, include_dashboard=False, logging_level=logging.WARNING)
        return
    _check_that_somebody_answers(address)
    try:
        ray.init(address=address, logging_level=logging.WARNING)
    except ConnectionError as error:
        raise TsumuguError(
            f"--engine ray: RAY_ADDRESS={address} answers, but Ray cannot join it: {error}. If the cluster "
            f"asks for a token (newer versions of Ray do unless told otherwise), set RAY_AUTH_MODE and "
            f"RAY_AUTH_TOKEN to what it was started with; otherwise look at it with `ray status`."
        ) from error


def _check_that_somebody_answers(address: str) -> None:
    """Ray itself tries for many minutes before it gives up on a wrong address."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not (host and port.isdecimal()):
        return
    try:
        socket.create_connection((host, int(port)), timeout=_ANSWER_SECONDS).close()
    except OSError as error:
        raise TsumuguError(
            f"--engine ray: no Ray cluster answers at RAY_ADDRESS={address}: {error}. Start one there "
            f"(`ray start --head`), or unset RAY_ADDRESS to use this machine alone."
        ) from error


def _call(function: Callable[[T], None], task: T, folder: str, version: str) -> None:
    """Runs on the cluster: do one task as if in the folder in which the command was given."""
    node = platform.node()
    if tsumugu.__version__ != version:
        raise TsumuguError(
            f"--engine ray: the node {node} has Tsumugu {tsumugu.__version__}, but the command was given "
            f"with {version}. Install the same version everywhere: results must not depend on the node."
        )
    try:
        os.chdir(folder)
    except OSError as error:
        raise TsumuguError(
            f"--engine ray: the node {node} cannot enter {folder}: {error.strerror}. "
            f"Give the command in a folder on a file system that all nodes share."
        ) from error
    # There already if the worker before this one died between its work and its report.
    if not task.output.exists():
        function(task)


def _wait_for(path: Path) -> None:
    """Network file systems show a new file late; one that never shows was written elsewhere."""
    deadline = time.monotonic() + _FILE_SYSTEM_SECONDS
    while not path.exists():
        if time.monotonic() > deadline:
            raise TsumuguError(
                f"--engine ray: a task is done, but its {path} cannot be seen from here. Put the run folder "
                f"on a file system that all nodes share (--run DIR)."
            )
        time.sleep(0.1)
