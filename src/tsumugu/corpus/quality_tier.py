"""HTML to its main text: the quality tier, trafilatura in a process of its own.

Trafilatura leaves less boilerplate than the fast tier, but takes some seventeen times as long, leaks, and
now and then hangs. So it runs in a child that lives for some thousand pages, with a limit on time
and on memory; a page that ends the child, or on which it gives up, falls back to the fast tier.

A child outlives a shard (`shared_tier`), since its start costs as much as several pages. Where a child that
has had other pages before fails on one, a new child is asked, so that no page suffers for the others.
"""

import atexit
import contextlib
import importlib.util
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO

from tsumugu.corpus import trafilatura_worker
from tsumugu.corpus.config import ExtractionConfig
from tsumugu.errors import TsumuguError

_START_SECONDS = 120
_WALL_FACTOR = 20
_WALL_SECONDS = 60
"""A child that uses no processor time hangs for another reason. It is ended after this many times
the limit and a minute, which is far away from what a page needs on a busy machine."""
_IDLE_BYTES = 2**28
"""A child that holds more than this does not wait for another shard."""


@dataclass(frozen=True)
class NoAnswer:
    """Trafilatura has no text for a page, and why."""

    why: str
    took_too_long: bool = False
    """Which a new child would not change."""


@contextlib.contextmanager
def shared_tier(config: ExtractionConfig) -> Iterator["QualityTier"]:
    """The tier of this process, whose child goes on with the next block of the same settings.

    Raises:
        TsumuguError: as `QualityTier` does.
    """
    global _shared
    if _shared is None or _shared.config != config:
        end_shared_tier()
        _shared = QualityTier(config).__enter__()
        # Here, not when this module is imported: what is registered later is done earlier, and the last
        # thing that a worker of `engine.py` does is to leave at once.
        atexit.unregister(end_shared_tier)
        atexit.register(end_shared_tier)
    tier = _shared
    try:
        yield tier
    finally:
        tier.rest()


def end_shared_tier() -> None:
    """End the child of this process, if there is one; it also ends with the process."""
    global _shared
    if _shared is not None:
        _shared.close()
    _shared = None


_shared: "QualityTier | None" = None


class QualityTier:
    """Owns the child; use as a context manager.

    Raises:
        TsumuguError: on entry, trafilatura is not installed or does not start.
    """

    def __init__(self, config: ExtractionConfig) -> None:
        self.config = config
        self._child: subprocess.Popen[bytes] | None = None
        self._pages = self._resident = 0

    def __enter__(self) -> "QualityTier":
        if importlib.util.find_spec("trafilatura") is None:
            raise TsumuguError(
                "corpus.extraction.extractor: trafilatura is not installed: "
                "pip install 'tsumugu[trafilatura]' (or choose resiliparse)"
            )
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the child; another one starts if there is another page."""
        self._end()

    def rest(self) -> None:
        """No page comes for a while: a child that has grown ends."""
        if self._resident > _IDLE_BYTES:
            self._end()

    def main_text(self, html: str) -> str | NoAnswer:
        """The main text of a page, or why there is none."""
        used = self._child is not None and self._pages > 0
        answer = self._ask(html)
        if used and isinstance(answer, NoAnswer) and not answer.took_too_long:
            self._end()
            answer = self._ask(html)
        return answer

    def _ask(self, html: str) -> str | NoAnswer:
        child = self._child or self._start()
        encoded = html.encode("utf-8", "replace")
        assert child.stdin is not None
        try:
            child.stdin.write(trafilatura_worker.REQUEST.pack(len(encoded)) + encoded)
            child.stdin.flush()
            answer = self._answer(child, self.config.seconds * _WALL_FACTOR + _WALL_SECONDS)
        except BrokenPipeError:
            answer = None
        except BaseException:
            # An answer that nobody has read would be taken for that to the next page.
            self._end()
            raise
        if answer is None:
            return self._end()
        status, self._resident, text = answer
        self._pages += 1
        full = self._resident > self.config.megabytes_per_process << 19
        if full or self._pages >= self.config.pages_per_process:
            self._end()
        return NoAnswer(text) if status else text

    def _start(self) -> "subprocess.Popen[bytes]":
        self._pages = self._resident = 0
        self._child = subprocess.Popen(
            [
                sys.executable,
                "-P",
                str(Path(trafilatura_worker.__file__)),
                str(self.config.seconds),
                str(self.config.megabytes_per_process),
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
        )
        if self._answer(self._child, _START_SECONDS) is None:
            raise TsumuguError(
                f"corpus.extraction: the trafilatura process did not start ({self._end().why}). What it said "
                f"stands above; extraction.megabytes_per_process may be too small."
            )
        return self._child

    def _answer(self, child: "subprocess.Popen[bytes]", seconds: float) -> tuple[int, int, str] | None:
        """(status, resident bytes, text), or None if the child died or says nothing for `seconds`."""
        stream = child.stdout
        assert stream is not None
        if not select.select([stream], [], [], seconds)[0]:
            return None
        header = _read(stream, trafilatura_worker.ANSWER.size)
        if header is None:
            return None
        status, resident, length = trafilatura_worker.ANSWER.unpack(header)
        text = _read(stream, length)
        return None if text is None else (status, resident, text.decode())

    def _end(self) -> NoAnswer:
        """End the child; return what it died of."""
        child, self._child = self._child, None
        if child is None:
            return NoAnswer("not running")
        assert child.stdin is not None
        assert child.stdout is not None
        hung = False
        # When it is dead already, a page may be left in the pipe.
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        try:
            # At the end of its input it leaves by itself; after a crash it is gone.
            child.wait(timeout=2)
        except subprocess.TimeoutExpired:
            hung = True
            child.kill()
            child.wait()
        child.stdout.close()
        if hung:
            return NoAnswer("it hung", took_too_long=True)
        if child.returncode == -signal.SIGPROF:
            return NoAnswer(f"no text within {self.config.seconds:g} s of processor time", took_too_long=True)
        return NoAnswer(f"it ended with status {child.returncode}")


def _read(stream: IO[bytes], size: int) -> bytes | None:
    parts = []
    while size > 0:
        part = stream.read(size)
        if not part:
            return None
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
