"""WARC records made by hand, for tests."""

import gzip
from collections.abc import Mapping, Sequence

from tsumugu.corpus.inputs import InputFile, Piece, plan_shards
from tsumugu.corpus.records import Record
from tsumugu.corpus.warc import read_warc


def warc_record(
    content: bytes,
    *,
    kind: str = "response",
    url: str = "https://example.jp/",
    headers: Mapping[str, str] = {},
) -> bytes:
    """One uncompressed record."""
    types = {
        "response": "application/http; msgtype=response",
        "conversion": "text/plain",
        "resource": "text/html",
    }
    fields = {
        "WARC-Type": kind,
        "WARC-Target-URI": url,
        "WARC-Date": "2024-05-06T07:08:09Z",
        "WARC-Record-ID": "<urn:uuid:00000000-0000-0000-0000-000000000000>",
        "Content-Type": types.get(kind, "application/warc-fields"),
        "Content-Length": str(len(content)),
        **headers,
    }
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return b"WARC/1.0\r\n" + head.encode() + b"\r\n" + content + b"\r\n\r\n"


def http_response(
    body: bytes, *, status: str = "200 OK", headers: Mapping[str, str] = {"Content-Type": "text/html"}
) -> bytes:
    """A response as a server sends it."""
    head = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


def html(number: int) -> bytes:
    """A short page that says its number."""
    return f"<html><body><p>第{number}頁。吾輩は猫である。</p></body></html>".encode()


def page_record(number: int) -> bytes:
    """An archived page."""
    return warc_record(http_response(html(number)), url=f"https://example.jp/{number}")


def members(*records: bytes) -> bytes:
    """Each record a gzip member of its own, as Common Crawl writes them."""
    return b"".join(gzip.compress(record) for record in records)


def whole(file: InputFile) -> Piece:
    """All of a file."""
    return Piece(file, 0, file.bytes)


def divided(file: InputFile, *, piece_bytes: int, limit: int) -> list[Record]:
    """The records of all pieces of a file that is divided after so many bytes."""
    pieces: Sequence[Piece] = [
        piece for shard in plan_shards([file], shard_bytes=piece_bytes) for piece in shard
    ]
    return [record for piece in pieces for record in read_warc(piece, max_page_bytes=limit)]
