"""Where in an archive a record may begin: behind damage, and where an archive is divided.

Behind damage anything that looks like a beginning is worth a try. A place of division must be more: a
place that reading from the beginning of the file would come by, whatever the records hold. A record
may hold a whole .warc.gz, and gzip stores what it cannot shrink as it is, so that members seem to begin
inside of another. They go on for one stored block at most, hence a place counts only if members that
begin with a record follow each other from there on for longer than that, or to the end of the file.
"""

import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO

# A compressed member (gzip with no reserved flag, zstd, lz4), or plainly.
_RECORD_START = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]|\x28\xb5\x2f\xfd|\x04\x22\x4d\x18|(?<=\n)WARC/[01]\.")
_GZIP_START = re.compile(rb"\x1f\x8b\x08[\x00-\x1f]")
_LONGEST_START = 8
"""At least as many bytes as these patterns match."""
_CHUNK_BYTES = 1 << 20
_MAGIC = b"WARC/"
_INFLATED_AT_ONCE = 1 << 14
"""Compressed bytes; a thousand times as many may come out."""
_PROOF_BYTES = 1 << 18
"""A stored block of DEFLATE has 65,535 bytes (RFC 1951, section 3.2.4), and may hold the beginning of
another as long; four times as many leave no doubt."""
_LONGEST_HEAD = 1 << 16
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_CONTENT_LENGTH = re.compile(rb"^Content-Length:[ \t]*([0-9]{1,18})[ \t]*\r?$", re.I | re.M)
_BETWEEN_RECORDS = b"\r\n\r\n"


def next_start(stream: BinaryIO, position: int) -> int | None:
    """The first place from `position` on at which a record may begin."""
    return next(_places(stream, position, _RECORD_START), None)


def next_division(stream: BinaryIO, position: int) -> int | None:
    """The first place from `position` on at which the archive may be divided; None if there is none.

    That is where a gzip member begins, and a record with it, beyond doubt. An archive whose first
    member holds more than one record is never divided: it may be one long stream.
    """
    if not _begins_with_single_record(stream):
        return None
    return next(
        (place for place in _places(stream, position, _GZIP_START) if _is_certain(stream, place)), None
    )


def _places(stream: BinaryIO, position: int, pattern: re.Pattern[bytes]) -> Iterator[int]:
    """The places from `position` on that `pattern` matches; it may look at the byte before."""
    base = max(0, position - 1)
    window, searched = b"", position - base
    while True:
        # Whoever asks may have read elsewhere meanwhile.
        stream.seek(base + len(window))
        chunk = stream.read(_CHUNK_BYTES)
        window += chunk
        end = len(window) - (_LONGEST_START if chunk else 0)
        for match in pattern.finditer(window, searched):
            if match.start() < end:
                yield base + match.start()
        if not chunk:
            return
        searched = max(searched, end)
        base, window, searched = base + searched - 1, window[searched - 1 :], 1


def _is_certain(stream: BinaryIO, place: int) -> bool:
    """Whether members that begin with a record follow each other from `place` on for long enough."""
    stream.seek(place)
    inflater, head, size = None, b"", 0
    try:
        while data := stream.read(_INFLATED_AT_ONCE):
            size += len(data)
            while data:
                if inflater is None:
                    inflater, head = zlib.decompressobj(31), b""
                head += inflater.decompress(data)[: len(_MAGIC) - len(head)]
                if not (head == _MAGIC if inflater.eof else _MAGIC.startswith(head)):
                    return False
                data = inflater.unused_data
                inflater = None if inflater.eof else inflater
            if size >= _PROOF_BYTES:
                return True
    except zlib.error:
        return False
    return inflater is None


def _begins_with_single_record(stream: BinaryIO) -> bool:
    """Whether the file begins with a gzip member that holds one WARC record, and nothing else."""
    stream.seek(0)
    inflater = zlib.decompressobj(31)
    head, size, expected = b"", 0, None
    try:
        while data := stream.read(_INFLATED_AT_ONCE):
            inflated = inflater.decompress(data)
            size += len(inflated)
            if expected is None:
                head += inflated
                expected = _record_bytes(head)
                if expected is None and len(head) > _LONGEST_HEAD:
                    return False
            if expected is not None and size > expected:
                return False
            if inflater.eof:
                return expected is not None and size >= expected - len(_BETWEEN_RECORDS)
    except zlib.error:
        return False
    return False


def _record_bytes(head: bytes) -> int | None:
    """Bytes of the record that begins with `head`, as its header says and with what ends it; None if
    `head` does not hold the header."""
    end = _END_OF_HEAD.search(head)
    length = _CONTENT_LENGTH.search(head, 0, end.end()) if end else None
    if not head.startswith(_MAGIC) or end is None or length is None:
        return None
    return end.end() + int(length[1]) + len(_BETWEEN_RECORDS)
