"""Batches made ahead of time, in a thread beside the training step."""

import queue
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol, TypeVar

_AHEAD = 2
"""Batches that wait at most: one is being made while another is read."""
_PATIENCE = 0.1
"""Seconds after which a thread with a full queue looks whether it is still wanted."""


B_co = TypeVar("B_co", covariant=True)


class BatchSource(Protocol[B_co]):
    """A `Loader`, or what makes more of one."""

    def batch(self, index: int) -> B_co:
        """Batch number `index`."""
        ...


@contextmanager
def prefetched(loader: BatchSource[B_co], first: int, last: int) -> Iterator[Iterator[B_co]]:
    """Batches `first` to `last` (not included), in order, made in a background thread.

    The thread ends with the block, however the block ends. What goes wrong in it is raised where
    the batch that it concerns would have come.
    """
    ready: queue.Queue[B_co | BaseException] = queue.Queue(_AHEAD)
    unwanted = threading.Event()

    def put(item: B_co | BaseException) -> None:
        while not unwanted.is_set():
            try:
                ready.put(item, timeout=_PATIENCE)
            except queue.Full:
                continue
            return

    def work() -> None:
        try:
            for index in range(first, last):
                if unwanted.is_set():
                    return
                put(loader.batch(index))
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that reads
            put(error)

    def batches() -> Iterator[B_co]:
        for _ in range(first, last):
            item = ready.get()
            if isinstance(item, BaseException):
                raise item
            yield item

    thread = threading.Thread(target=work, name="prefetch", daemon=True)
    thread.start()
    try:
        yield batches()
    finally:
        unwanted.set()
        thread.join()
