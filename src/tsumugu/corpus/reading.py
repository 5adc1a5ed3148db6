"""Raw records out of files: every page and every line comes back, as a page or as a failure.

Nothing here raises on bad input. What cannot be read becomes a `Failure` with its place and a
reason, so that documents in = kept + dropped + quarantined stays true for any input.
"""

import bz2
import gzip
import io
import json
import lzma
import zlib
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import BinaryIO, cast

import pyarrow as pa

from tsumugu.corpus.decoding import Undecodable, decode_page
from tsumugu.corpus.inputs import COMPRESSIONS, InputFile, Piece

_READ_ERRORS = (OSError, EOFError, zlib.error, lzma.LZMAError)


@dataclass(frozen=True)
class Page:
    """One record as it came. `text` is HTML or plain text; `url` may be empty."""

    file: InputFile
    offset: int
    """Byte of the file (after decompression) at which the record begins."""
    text: str
    url: str
    is_html: bool


@dataclass(frozen=True)
class Failure:
    """One record that could not be read, and why."""

    file: InputFile
    offset: int
    error: str


def read_piece(piece: Piece, *, max_page_bytes: int) -> Iterator[Page | Failure]:
    """Every record of `piece`, in order."""
    if piece.file.kind == "html":
        yield _read_html(piece.file, max_page_bytes)
    else:
        yield from _read_json_lines(piece, max_page_bytes)


def _read_html(file: InputFile, max_page_bytes: int) -> Page | Failure:
    try:
        with file.path.open("rb") as stream:
            raw = stream.read(max_page_bytes + 1)
    except OSError as error:
        return Failure(file, 0, f"cannot be read: {error.strerror}")
    if len(raw) > max_page_bytes:
        return Failure(file, 0, _too_large(max_page_bytes))
    if not raw.strip():
        return Failure(file, 0, "empty file")
    try:
        return Page(file, 0, decode_page(raw), "", is_html=True)
    except Undecodable as error:
        return Failure(file, 0, str(error))


def _read_json_lines(piece: Piece, max_line_bytes: int) -> Iterator[Page | Failure]:
    file, offset = piece.file, piece.start
    empty = True
    try:
        with ExitStack() as stack:
            stream = _open(file, stack)
            compressed = file.name.lower().endswith(COMPRESSIONS)
            if offset > 0:
                # The line that runs into this piece belongs to the piece before.
                stream.seek(offset - 1)
                offset += _skip_line(stream) - 1
            while compressed or offset < piece.end:
                line = stream.readline(max_line_bytes + 1)
                if not line:
                    break
                start, offset = offset, offset + len(line)
                if len(line) > max_line_bytes and not line.endswith(b"\n"):
                    offset += _skip_line(stream)
                    empty = False
                    yield Failure(file, start, _too_large(max_line_bytes))
                elif line.strip():
                    empty = False
                    yield _read_line(file, start, line)
    except _READ_ERRORS as error:
        empty = False
        yield Failure(file, offset, f"the file breaks off here: {error or type(error).__name__}")
    if empty and piece.start == 0 and file.bytes <= piece.end:
        yield Failure(file, 0, "empty file")


def _read_line(file: InputFile, offset: int, line: bytes) -> Page | Failure:
    try:
        record = json.loads(line)
        text = record["text"]
        url = record.get("url") or ""
        if not isinstance(text, str) or not isinstance(url, str):
            return Failure(file, offset, "'text' and 'url' must be strings")
        # JSON can spell half of a surrogate pair, which is not text and cannot be stored.
        text.encode()
        url.encode()
    except UnicodeEncodeError:
        return Failure(file, offset, "'text' or 'url' holds half of a surrogate pair")
    except (ValueError, RecursionError) as error:
        return Failure(file, offset, f"malformed JSON: {error}"[:300])
    except (KeyError, TypeError, AttributeError):
        return Failure(file, offset, "not an object with a 'text'")
    if not text.strip():
        return Failure(file, offset, "'text' is empty")
    return Page(file, offset, text, url, is_html=False)


def _open(file: InputFile, stack: ExitStack) -> BinaryIO:
    name = file.name.lower()
    if name.endswith(".gz"):
        return cast(BinaryIO, stack.enter_context(gzip.open(file.path, "rb")))
    if name.endswith(".bz2"):
        return cast(BinaryIO, stack.enter_context(bz2.open(file.path, "rb")))
    if name.endswith(".xz"):
        return cast(BinaryIO, stack.enter_context(lzma.open(file.path, "rb")))
    if name.endswith(".zst"):
        # Not by its name, which Arrow would have to be UTF-8.
        opened = stack.enter_context(file.path.open("rb"))
        stream = pa.CompressedInputStream(pa.PythonFile(opened), "zstd")
        return stack.enter_context(io.BufferedReader(stream))
    return stack.enter_context(file.path.open("rb"))


def _skip_line(stream: BinaryIO) -> int:
    """Read to the end of the line without keeping it; return the bytes that were skipped."""
    skipped = 0
    while chunk := stream.readline(1 << 20):
        skipped += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return skipped


def _too_large(limit: int) -> str:
    return f"larger than corpus.max_page_bytes = {limit}"
