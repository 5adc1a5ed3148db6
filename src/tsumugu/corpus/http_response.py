"""One archived HTTP response: its status, its headers, and its body as the browser would see it.

Archives hold what servers sent, so a body may be chunked, compressed, both, or neither although
the headers say so (many archives keep the headers of a body that they have already decoded).
Nothing is decoded beyond a limit: ten kilobytes of gzip can hold ten megabytes of spaces.
"""

import io
import re
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa
from fastwarc.stream_io import BrotliReader

LONGEST_HEAD = 65536
"""Bytes in which the headers must end."""
_STATUS_LINE = re.compile(rb"HTTP/\d(?:\.\d)? +(\d{3})\b")
_END_OF_HEAD = re.compile(rb"\r?\n\r?\n")
_CHUNK_SIZE = re.compile(rb"[ \t]*([0-9A-Fa-f]{1,8})[ \t]*(?:;[^\r\n]{0,1000})?\r?\n")
_CHARSET = re.compile(r"charset\s*=\s*[\"']?\s*([A-Za-z0-9._:-]{1,40})", re.I)
_MOST_CODINGS = 3
_MOST_MEMBERS = 16


class BadBody(ValueError):
    """The body cannot be decoded as its headers say."""


@dataclass(frozen=True)
class ResponseHead:
    """Status and headers (lower-case names; several of one name joined by newlines)."""

    status: int
    headers: Mapping[str, str]
    bytes: int
    """Where the body begins."""

    @property
    def mime(self) -> str:
        """The media type in lower case, or an empty string."""
        return media_type(self.headers.get("content-type", ""))

    @property
    def charset(self) -> str | None:
        """The character encoding that the server claims."""
        match = _CHARSET.search(self.headers.get("content-type", ""))
        return match[1] if match else None


def media_type(content_type: str) -> str:
    """`text/html` out of `Text/HTML; charset=...`."""
    return content_type.partition(";")[0].strip().lower()


def parse_head(data: bytes) -> ResponseHead | None:
    """Status line and headers at the beginning of a response; None if there are none."""
    status = _STATUS_LINE.match(data)
    end = _END_OF_HEAD.search(data, 0, LONGEST_HEAD)
    if status is None or end is None:
        return None
    headers: dict[str, str] = {}
    for line in data[: end.start()].decode("latin-1").splitlines()[1:]:
        name, colon, value = line.partition(":")
        if colon:
            name = name.strip().lower()
            value = value.strip()
            headers[name] = f"{headers[name]}\n{value}" if name in headers else value
    return ResponseHead(int(status[1]), headers, end.end())


def decode_body(body: bytes, headers: Mapping[str, str], *, limit: int, truncated: bool) -> bytes:
    """Undo transfer and content codings.

    Args:
        limit: the most bytes that may come out.
        truncated: the archive says that it cut the body off, so a missing end is no fault.

    Raises:
        BadBody: a coding is unknown, broken, or gives more than `limit` bytes.
    """
    if "chunked" in headers.get("transfer-encoding", "").lower():
        body = _dechunk(body, truncated)
    codings = [
        coding
        for coding in re.split(r"[,\s]+", headers.get("content-encoding", "").lower())
        if coding not in ("", "identity", "none")
    ]
    if len(codings) > _MOST_CODINGS:
        raise BadBody(f"{len(codings)} content encodings, one inside the other")
    for coding in reversed(codings):
        try:
            body = _decompress(body, coding, limit, truncated)
        except BadBody:
            # The header of a body that was decoded before it was archived.
            if body.lstrip()[:1] == b"<":
                continue
            raise
    if len(body) > limit:
        raise BadBody(f"larger than {limit} bytes")
    return body


def _dechunk(body: bytes, truncated: bool) -> bytes:
    if _CHUNK_SIZE.match(body) is None:
        return body
    parts: list[bytes] = []
    position = 0
    while match := _CHUNK_SIZE.match(body, position):
        size = int(match[1], 16)
        if size == 0:
            return b"".join(parts)
        start = match.end()
        parts.append(body[start : start + size])
        position = start + size
        if position >= len(body):
            if truncated:
                return b"".join(parts)
            raise BadBody("the chunked body breaks off")
        position += body.startswith(b"\r", position)
        position += body.startswith(b"\n", position)
    raise BadBody(f"chunk {len(parts) + 1} of the body has no valid size")


def _decompress(body: bytes, coding: str, limit: int, truncated: bool) -> bytes:
    match coding:
        case "gzip" | "x-gzip":
            return _inflate(body, 31, limit, truncated)
        case "deflate":
            # The standard means zlib, which begins with a checksum; many servers sent raw deflate.
            is_zlib = body[:1] == b"\x78" and int.from_bytes(body[:2], "big") % 31 == 0
            return _inflate(body, zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS, limit, truncated)
        case "br":
            return _read_limited(BrotliReader(io.BytesIO(body)), "br", limit)
        case "zstd":
            return _read_limited(pa.CompressedInputStream(pa.BufferReader(body), "zstd"), "zstd", limit)
    raise BadBody(f"unknown content encoding {coding[:40]!r}")


def _inflate(body: bytes, wbits: int, limit: int, truncated: bool) -> bytes:
    result = b""
    for _ in range(_MOST_MEMBERS):
        inflater = zlib.decompressobj(wbits)
        try:
            result += inflater.decompress(body, limit + 1 - len(result))
        except zlib.error as error:
            if result:
                # Padding behind a whole member.
                return result
            raise BadBody(f"broken compression: {error}") from error
        if len(result) > limit:
            raise BadBody(f"unpacks to more than {limit} bytes")
        if not inflater.eof:
            if truncated:
                return result
            raise BadBody("the compressed body breaks off")
        body = inflater.unused_data
        if not body:
            return result
    raise BadBody(f"more than {_MOST_MEMBERS} compressed members")


def _read_limited(stream: BrotliReader | pa.NativeFile, coding: str, limit: int) -> bytes:
    parts = []
    size = 0
    try:
        while size <= limit and (part := stream.read(min(65536, limit + 1 - size))):
            parts.append(part)
            size += len(part)
    except (OSError, ValueError) as error:
        raise BadBody(f"broken compression ({coding}): {error}") from error
    if size > limit:
        raise BadBody(f"unpacks to more than {limit} bytes")
    return b"".join(parts)
