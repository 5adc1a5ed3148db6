"""Batches come in order, errors arrive, and no thread outlives its block."""

import threading
import time

import numpy as np
import pytest

from tsumugu.tokens.loader import Batch
from tsumugu.tokens.prefetching import prefetched


class Numbered:
    """Batch k is the number k; one of them may be broken."""

    def __init__(self, broken: int | None = None) -> None:
        self.asked: list[int] = []
        self.broken = broken

    def batch(self, index: int) -> Batch:
        self.asked.append(index)
        if index == self.broken:
            raise OSError(f"batch {index}: the disk is gone")
        return Batch(np.array([[index]]))


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "prefetch"]


def test_batches_come_in_order_and_then_no_more() -> None:
    with prefetched(Numbered(), 3, 50) as batches:
        assert [int(batch.tokens[0, 0]) for batch in batches] == list(range(3, 50))
    assert threads() == []


def test_it_works_ahead_but_not_far() -> None:
    source = Numbered()
    with prefetched(source, 0, 1000) as batches:
        next(batches)
        deadline = time.monotonic() + 10
        while len(source.asked) < 3 and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.05)
        assert 3 <= len(source.asked) <= 5


def test_an_error_comes_where_its_batch_would_have_come() -> None:
    with prefetched(Numbered(broken=5), 3, 50) as batches:
        assert [int(next(batches).tokens[0, 0]) for _ in range(2)] == [3, 4]
        with pytest.raises(OSError, match="batch 5: the disk is gone"):
            next(batches)
    assert threads() == []


@pytest.mark.parametrize("read", [0, 2])
def test_leaving_early_ends_the_thread(read: int) -> None:
    def leave() -> None:
        with prefetched(Numbered(), 0, 10**9) as batches:
            for _ in range(read):
                next(batches)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert threads() == []


def test_nothing_to_read_is_no_batch() -> None:
    with prefetched(Numbered(), 7, 7) as batches:
        assert list(batches) == []
