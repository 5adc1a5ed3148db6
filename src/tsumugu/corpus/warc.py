"""WARC and WET archives: pages out of what a crawler stored.

fastwarc finds the records and undoes gzip, zstd and lz4. Around it stands what real archives need:
a record that is cut off or damaged becomes a failure, and reading goes on at the next one that can
be found; what is no page (requests, revisits, images, error pages) comes back as `Skipped`.
ARC, WARC's predecessor, is refused with a reason.
"""

import re
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from typing import BinaryIO

from fastwarc.warc import ArchiveIterator, WarcRecord

from tsumugu.corpus.decoding import Undecodable, decode_page
from tsumugu.corpus.http_response import (
    LONGEST_HEAD,
    BadBody,
    ResponseHead,
    decode_body,
    media_type,
    parse_head,
)
from tsumugu.corpus.inputs import InputFile, Piece
from tsumugu.corpus.record_places import next_division, next_start
from tsumugu.corpus.records import Failure, Page, Record, Skipped, too_large
from tsumugu.corpus.streams import READ_ERRORS, open_raw, open_stream

HTML_TYPES = ("text/html", "application/xhtml+xml")
_TYPES = {2: "warcinfo", 4: "response", 8: "resource", 16: "request", 32: "metadata", 64: "revisit"} | {
    128: "conversion",
    256: "continuation",
}
_MAIN_TYPES = ("application", "audio", "font", "image", "message", "model", "text", "video")
_LOOKS_LIKE_HTML = re.compile(
    rb"\s*(?:<!--.{0,500}?-->\s*)?<(?:!doctype\s+html|html|head|body)\b", re.I | re.S
)
_MOST_RESTARTS = 10_000


def read_warc(piece: Piece, *, max_page_bytes: int) -> Iterator[Record]:
    """Every record of a piece of an archive, in order. Offsets are positions in the file as it lies there
    (as in CDX indexes); records that share one compressed member are counted up from its position.

    An archive of gzip members is divided where a member begins with a record. A piece goes from the
    first such place in it to the first one behind it, so each record belongs to one piece, and an
    archive that is one long gzip stream belongs to its first piece whole.
    """
    file = piece.file
    try:
        with ExitStack() as stack:
            # fastwarc knows gzip, zstd and lz4 by their first bytes, these two it does not.
            packed = file.name.lower().endswith((".bz2", ".xz"))
            stream = open_stream(file, stack) if packed else open_raw(file, stack)
            start: int | None = 0
            if piece.start > 0:
                start = next_division(stream, piece.start)
            elif (refusal := _refusal(stream.read(LONGEST_HEAD))) is not None:
                yield Failure(file, 0, refusal)
                return
            stop = next_division(stream, piece.end) if piece.end < file.bytes else None
            if start is not None and start != stop:
                yield from _read_records(file, stream, start, stop, max_page_bytes)
    except READ_ERRORS as error:
        yield Failure(file, piece.start, f"cannot be read: {error or type(error).__name__}"[:300])


def _read_records(
    file: InputFile, stream: BinaryIO, begin: int, stop: int | None, limit: int
) -> Iterator[Record]:
    """The records from `begin` up to the one at `stop`, which is another piece's."""
    source = _Source(stream)
    start: int | None = begin
    last = begin - 1
    # Damage at the very beginning has been met, and said, by the piece before.
    damaged = begin > 0
    for _ in range(_MOST_RESTARTS):
        if start is None or (stop is not None and start >= stop):
            return
        position = start
        problem = None
        source.seek(start)
        for record in _iterate(source):
            if isinstance(record, str):
                problem = record
                break
            if stop is not None and record.stream_pos >= stop:
                return
            position = max(position, record.stream_pos)
            last = max(record.stream_pos, last + 1)
            damaged = False
            result = _read_record(file, record, last, limit)
            yield result
            if isinstance(result, Failure) and result.error.startswith(_CUT_OFF):
                # Its length may be what is wrong, and other records may stand inside it.
                problem, damaged = result.error, True
                break
        if source.error is not None:
            yield Failure(file, last + 1, f"the file breaks off here: {source.error}"[:300])
            return
        if problem is None:
            if last < 0:
                yield Failure(file, 0, "no record in it")
            return
        if not damaged:
            last += 1
            yield Failure(file, last, f"damaged: {problem}"[:300])
            damaged = True
        start = next_start(stream, position + 1)
    yield Failure(file, last + 1, f"damaged in more than {_MOST_RESTARTS} places: the rest is not read")


def _iterate(source: "_Source") -> Iterator[WarcRecord | str]:
    """The records from where `source` stands; a description of the damage that ends them, if any."""
    try:
        yield from ArchiveIterator(source, parse_http=False)
    except (OSError, ValueError) as error:
        yield str(error)
    except BaseException as error:
        # A panic inside fastwarc, which Python sees as an exception outside of Exception.
        if type(error).__name__ != "PanicException":
            raise
        yield f"fastwarc: {error}"


class _Source:
    """The file object that fastwarc reads. It must not raise (fastwarc would abort): a read that
    fails looks like the end of the file, and `error` says otherwise."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.error: BaseException | None = None

    def read(self, size: int = -1) -> bytes:
        try:
            return self._stream.read(size)
        except READ_ERRORS as error:
            self.error = error
            return b""

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def close(self) -> None:
        """The stream belongs to the caller."""


def _refusal(head: bytes) -> str | None:
    """Why a file that begins with `head` is not read at all."""
    if not head:
        return "empty file"
    if head.startswith(b"\x1f\x8b"):
        try:
            head = zlib.decompressobj(31).decompress(head, 64)
        except zlib.error:
            return None
    if head.startswith(b"filedesc:"):
        return (
            "an ARC file, the predecessor of WARC: convert it with `warcio recompress IN.arc.gz OUT.warc.gz`"
        )
    return None


_CUT_OFF = "cut off"


def _read_record(file: InputFile, record: WarcRecord, offset: int, limit: int) -> Record:
    try:
        result = _page_of(file, record, offset, limit)
        if not isinstance(result, Page) and not _is_whole(record):
            # Also of a record that nobody wants: its length may be wrong, or the file ends in it.
            why = result.why if isinstance(result, Skipped) else result.error
            return result if why.startswith(_CUT_OFF) else Failure(file, offset, f"{_CUT_OFF} ({why})")
        return result
    except (OSError, ValueError) as error:
        return Failure(file, offset, f"{_CUT_OFF} or damaged: {error}"[:300])


def _page_of(file: InputFile, record: WarcRecord, offset: int, limit: int) -> Record:
    headers = record.headers
    kind = _TYPES.get(int(record.record_type), "unknown")
    if "Content-Length" not in headers:
        return Failure(file, offset, f"{_CUT_OFF}: the WARC header has no Content-Length")
    expected = ("conversion",) if file.kind == "wet" else ("response", "resource")
    if kind not in expected:
        return Skipped(file, offset, f"{kind} record")

    url = (headers.get("WARC-Target-URI") or "").strip("<> ")
    metadata = {}
    for key, name in (
        ("fetched", "WARC-Date"),
        ("truncated", "WARC-Truncated"),
        ("language", "WARC-Identified-Content-Language"),
    ):
        if value := headers.get(name):
            metadata[key] = value

    body = _read(record, LONGEST_HEAD)
    response = ResponseHead(200, {}, 0)
    if kind == "response":
        content_type = media_type(headers.get("Content-Type") or "")
        if content_type != "application/http" and not url.lower().startswith(("http:", "https:")):
            return Skipped(file, offset, "not an HTTP response")
        found = parse_head(body)
        if found is None:
            if len(body) < min(record.content_length, LONGEST_HEAD):
                return _cut_off(file, offset, len(body), record.content_length)
            return Failure(file, offset, "no HTTP status line and headers")
        response = found
        if response.status != 200:
            return Skipped(file, offset, f"HTTP status {response.status}")
    if kind != "conversion":
        mime = headers.get("WARC-Identified-Payload-Type") or (
            response.mime if kind == "response" else media_type(headers.get("Content-Type") or "")
        )
        html = mime in HTML_TYPES if mime else _LOOKS_LIKE_HTML.match(body, response.bytes) is not None
        if not html:
            main_type = mime.partition("/")[0]
            return Skipped(file, offset, f"not HTML: {main_type if main_type in _MAIN_TYPES else 'other'}")

    if record.content_length - response.bytes > limit:
        return Failure(file, offset, too_large(limit))
    body += _read(record, record.content_length - len(body))
    if len(body) < record.content_length:
        return _cut_off(file, offset, len(body), record.content_length)
    try:
        raw = decode_body(
            body[response.bytes :], response.headers, limit=limit, truncated="truncated" in metadata
        )
        if not raw or raw.isspace():
            return Failure(file, offset, "empty page")
        text = raw.decode() if kind == "conversion" else decode_page(raw, hint=response.charset)
    except (BadBody, Undecodable, UnicodeDecodeError) as error:
        return Failure(file, offset, str(error)[:300])
    return Page(
        file,
        offset,
        text,
        url,
        is_html=kind != "conversion",
        metadata=metadata,
        headers=response.headers,
    )


def _is_whole(record: WarcRecord) -> bool:
    record.consume()
    whole: bool = record.reader.tell() == record.content_length
    return whole


def _cut_off(file: InputFile, offset: int, size: int, expected: int) -> Failure:
    return Failure(file, offset, f"{_CUT_OFF}: {size} of {expected} bytes are there")


def _read(record: WarcRecord, size: int) -> bytes:
    """Up to `size` bytes of a record's content; fewer only at its end."""
    parts = []
    while size > 0 and (part := record.reader.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)
