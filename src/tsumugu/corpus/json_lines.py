"""JSON Lines: one document a line, whole files or ranges of bytes."""

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any, BinaryIO

from tsumugu.corpus.config import Input
from tsumugu.corpus.inputs import InputFile, Piece
from tsumugu.corpus.records import Failure, Page, too_large
from tsumugu.corpus.streams import READ_ERRORS, open_stream


def read_json_lines(piece: Piece, *, max_line_bytes: int) -> Iterator[Page | Failure]:
    """Every line that begins in `piece`, in order; blank lines are nothing."""
    file, offset = piece.file, piece.start
    empty = True
    try:
        with ExitStack() as stack:
            stream = open_stream(file, stack)
            if offset > 0:
                # The line that runs into this piece belongs to the piece before.
                stream.seek(offset - 1)
                offset += _skip_line(stream) - 1
            while not file.divisible or offset < piece.end:
                line = stream.readline(max_line_bytes + 1)
                if not line:
                    break
                start, offset = offset, offset + len(line)
                if len(line) > max_line_bytes and not line.endswith(b"\n"):
                    offset += _skip_line(stream)
                    empty = False
                    yield Failure(file, start, too_large(max_line_bytes))
                elif line.strip():
                    empty = False
                    yield _read_line(file, start, line)
    except READ_ERRORS as error:
        empty = False
        yield Failure(file, offset, f"the file breaks off here: {error or type(error).__name__}"[:300])
    if empty and piece.start == 0 and file.bytes <= piece.end:
        yield Failure(file, 0, "empty file")


def read_object(file: InputFile, offset: int, record: Any) -> Page | Failure:
    """One JSON object, Parquet row or dataset row as a page of plain text."""
    entry = file.entry
    if not isinstance(record, dict) or entry.text_key not in record:
        return Failure(file, offset, f"not an object with a {entry.text_key!r}")
    text = record[entry.text_key]
    url = record.get(entry.url_key) or ""
    if not isinstance(text, str) or not isinstance(url, str):
        return Failure(file, offset, f"{entry.text_key!r} and {entry.url_key!r} must be strings")
    metadata = _metadata(entry, record)
    try:
        # JSON can spell half of a surrogate pair, which is not text and cannot be stored.
        for value in (text, url, *metadata.values()):
            value.encode()
    except UnicodeEncodeError:
        return Failure(file, offset, "the record holds half of a surrogate pair")
    if not text.strip():
        return Failure(file, offset, f"{entry.text_key!r} is empty")
    return Page(file, offset, text, url, is_html=False, metadata=metadata)


def _metadata(entry: Input, record: dict[str, Any]) -> dict[str, str]:
    found = {key: record[key] for key in entry.metadata_keys if record.get(key) is not None}
    return {
        key: value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
        for key, value in found.items()
    }


def _read_line(file: InputFile, offset: int, line: bytes) -> Page | Failure:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Failure(file, offset, f"malformed JSON: {error}"[:300])
    return read_object(file, offset, record)


def _skip_line(stream: BinaryIO) -> int:
    """Read to the end of the line without keeping it; return the bytes that were skipped."""
    skipped = 0
    while chunk := stream.readline(1 << 20):
        skipped += len(chunk)
        if chunk.endswith(b"\n"):
            break
    return skipped
