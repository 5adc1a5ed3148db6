"""The trafilatura process: pages in on standard input, main text out on standard output.

Run by path, never imported by Tsumugu: it needs nothing but trafilatura, and whatever happens to it
(an endless loop, a leak, a crash in lxml) happens to it alone. The kernel ends it when a page takes
more processor time than allowed: SIGPROF also interrupts C code, and unlike a clock on the wall it
does not depend on what else the machine does, so that the same pages fail on any number of workers.

Protocol, little-endian: request = length (uint32), UTF-8 HTML; answer = status (uint8: 0 text,
1 error), resident bytes (uint64), length (uint32), UTF-8 text. One empty answer comes at the start.
"""

import logging
import os
import resource
import select
import signal
import struct
import sys
from pathlib import Path
from typing import BinaryIO

ANSWER = struct.Struct("<BQI")
_STATM = Path("/proc/self/statm")
REQUEST = struct.Struct("<I")
IDLE_SECONDS = 60
"""After these it leaves by itself: whoever holds it does something else, and can start another."""


def main(seconds: float, megabytes: int) -> None:
    """Answer requests until standard input ends."""
    requests = sys.stdin.buffer
    # Libraries that print must not talk into the protocol.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    logging.disable(logging.CRITICAL)
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = megabytes << 20
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard < 0 else min(limit, hard), hard))

    from trafilatura import extract

    _answer(answers, 0, "")
    while _comes_soon(requests) and (header := requests.read(REQUEST.size)):
        html = requests.read(REQUEST.unpack(header)[0]).decode()
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            text = extract(html, include_comments=False, deduplicate=False) or ""
            status = 0
        except Exception as error:  # noqa: BLE001 (the parent reports it)
            status, text = 1, f"{type(error).__name__}: {error}"[:300]
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        _answer(answers, status, text)


def _comes_soon(requests: BinaryIO) -> bool:
    """Whether a request, or the end of them, comes before the process has waited too long."""
    # Nothing is left in the buffer: one request comes at a time.
    return bool(select.select([requests], [], [], IDLE_SECONDS)[0])


def _answer(answers: BinaryIO, status: int, text: str) -> None:
    encoded = text.encode("utf-8", "replace")
    answers.write(ANSWER.pack(status, _resident_bytes(), len(encoded)) + encoded)
    answers.flush()


def _resident_bytes() -> int:
    try:
        return int(_STATM.read_text().split()[1]) * resource.getpagesize()
    except OSError:
        # Not Linux: the highest value so far, in bytes on macOS.
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
