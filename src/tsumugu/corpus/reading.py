"""Raw records out of files: every page, line, row and WARC record comes back.

Nothing here raises on bad input. What cannot be read becomes a `Failure` with its place and a
reason, so that documents in = kept + dropped + quarantined stays true for any input. The only
errors are those of a network that fails (RemoteError).
"""

from collections.abc import Iterator
from contextlib import ExitStack

from tsumugu.corpus import hub
from tsumugu.corpus.decoding import Undecodable, decode_page
from tsumugu.corpus.inputs import InputFile, Piece
from tsumugu.corpus.json_lines import read_json_lines, read_object
from tsumugu.corpus.parquet import read_parquet
from tsumugu.corpus.records import Failure, Page, Record, Skipped, too_large
from tsumugu.corpus.streams import READ_ERRORS, open_stream
from tsumugu.corpus.warc import read_warc

__all__ = ["Failure", "Page", "Record", "Skipped", "read_records"]


def read_records(piece: Piece, *, max_page_bytes: int) -> Iterator[Record]:
    """Every record of `piece`, in order. No page is larger than `max_page_bytes`."""
    match piece.file.kind:
        case "html" | "text":
            yield _read_whole(piece.file, max_page_bytes)
        case "jsonl":
            yield from read_json_lines(piece, max_line_bytes=max_page_bytes)
        case "parquet":
            yield from read_parquet(piece, max_page_bytes=max_page_bytes)
        case "warc" | "wet":
            yield from read_warc(piece, max_page_bytes=max_page_bytes)
        case "dataset":
            yield from _read_dataset(piece.file, max_page_bytes)


def _read_whole(file: InputFile, max_page_bytes: int) -> Page | Failure:
    """A file that is one document."""
    try:
        with ExitStack() as stack:
            raw = open_stream(file, stack).read(max_page_bytes + 1)
    except READ_ERRORS as error:
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        return Failure(file, 0, f"cannot be read: {reason or type(error).__name__}"[:300])
    if len(raw) > max_page_bytes:
        return Failure(file, 0, too_large(max_page_bytes))
    if not raw or raw.isspace():
        return Failure(file, 0, "empty file")
    try:
        return Page(file, 0, decode_page(raw), "", is_html=file.kind == "html")
    except Undecodable as error:
        return Failure(file, 0, str(error))


def _read_dataset(file: InputFile, max_page_bytes: int) -> Iterator[Page | Failure]:
    for row, record in enumerate(hub.read_shard(file.entry, index=int(file.path), commit=file.version)):
        page = read_object(file, row, record)
        if isinstance(page, Page) and len(page.text.encode()) > max_page_bytes:
            page = Failure(file, row, too_large(max_page_bytes))
        yield page
