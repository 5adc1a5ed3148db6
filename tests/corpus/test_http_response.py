"""Bodies as browsers would see them, and nothing beyond the limit."""

import gzip
import tracemalloc
import zlib
from collections.abc import Callable

import pyarrow as pa
import pytest
from fastwarc.stream_io import BrotliWriter

from tsumugu.corpus.http_response import BadBody, decode_body, parse_head

BODY = "<html><p>吾輩は猫である。名前はまだ無い。</p></html>".encode() * 50
LIMIT = 10**6


def decode(body: bytes, *, limit: int = LIMIT, truncated: bool = False, **headers: str) -> bytes:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return decode_body(body, names, limit=limit, truncated=truncated)


def chunked(body: bytes, size: int = 700) -> bytes:
    parts = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x;note=1\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def raw_deflate(body: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


def brotli(body: bytes) -> bytes:
    import io

    buffer = io.BytesIO()
    with BrotliWriter(buffer) as writer:
        writer.write(body)
    return buffer.getvalue()


CODINGS: list[tuple[str, Callable[[bytes], bytes]]] = [
    ("gzip", gzip.compress),
    ("x-gzip", gzip.compress),
    ("deflate", zlib.compress),
    ("deflate", raw_deflate),
    ("br", brotli),
    ("zstd", lambda body: bytes(pa.compress(body, codec="zstd", asbytes=True))),
    ("identity", bytes),
]


def test_status_and_headers_are_read() -> None:
    head = parse_head(
        b"HTTP/1.1 200 OK\r\nContent-Type: Text/HTML; charset='EUC-JP'\r\nA: 1\r\na: 2\r\n\r\nbody"
    )
    assert head is not None
    assert (head.status, head.mime, head.charset, head.headers["a"]) == (200, "text/html", "EUC-JP", "1\n2")
    assert head.bytes == 74


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"HTTP/1.1 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nA: b", b"HTTPX/1.1 200\n\n"]
)
def test_what_is_no_response_has_no_head(data: bytes) -> None:
    assert parse_head(data) is None


@pytest.mark.parametrize(("name", "encode"), CODINGS)
def test_every_coding_is_undone_alone_and_in_chunks(name: str, encode: Callable[[bytes], bytes]) -> None:
    assert decode(encode(BODY), content_encoding=name) == BODY
    assert decode(chunked(encode(BODY)), content_encoding=name, transfer_encoding="chunked") == BODY


def test_codings_are_undone_from_the_last_to_the_first() -> None:
    assert decode(brotli(gzip.compress(BODY)), content_encoding="gzip, br") == BODY


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd", "x-unknown"])
def test_a_body_that_was_decoded_before_it_was_archived_is_taken_as_it_is(name: str) -> None:
    assert decode(BODY, content_encoding=name) == BODY
    assert decode(BODY, transfer_encoding="chunked") == BODY


@pytest.mark.parametrize("name", ["gzip", "deflate", "br", "zstd", "x-unknown"])
def test_a_broken_body_is_refused(name: str) -> None:
    with pytest.raises(BadBody):
        decode(b"\x93\x01\x02 this is nothing" * 10, content_encoding=name)


@pytest.mark.parametrize(("name", "encode"), [CODINGS[0], CODINGS[2]])
def test_a_body_that_breaks_off_is_refused_unless_the_archive_cut_it(
    name: str, encode: Callable[[bytes], bytes]
) -> None:
    cut = encode(BODY)[:-10]
    with pytest.raises(BadBody, match="breaks off"):
        decode(cut, content_encoding=name)
    assert BODY.startswith(decode(cut, content_encoding=name, truncated=True))
    cut = chunked(BODY)[:1000]
    with pytest.raises(BadBody, match="breaks off"):
        decode(cut, transfer_encoding="chunked")
    assert BODY.startswith(decode(cut, transfer_encoding="chunked", truncated=True))


def test_wrong_chunk_sizes_are_refused() -> None:
    wrong = chunked(BODY).replace(b"2bc;", b"2b0;", 1)
    with pytest.raises(BadBody, match="chunk"):
        decode(wrong, transfer_encoding="chunked")


@pytest.mark.parametrize(("name", "encode"), CODINGS[:6])
def test_a_bomb_is_not_unpacked(name: str, encode: Callable[[bytes], bytes]) -> None:
    bomb = encode(bytes(3 * 10**7))
    tracemalloc.start()
    with pytest.raises(BadBody, match="more than"):
        decode(bomb, content_encoding=name)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 20 * LIMIT


def test_many_tiny_members_and_many_codings_are_refused() -> None:
    with pytest.raises(BadBody, match="members"):
        decode(gzip.compress(b"") * 100_000, content_encoding="gzip")
    with pytest.raises(BadBody, match="content encodings"):
        decode(b"x", content_encoding="gzip, " * 50 + "br")
