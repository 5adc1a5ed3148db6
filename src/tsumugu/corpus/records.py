"""What reading hands on: a page, a failure, or a record that is no document.

Every record of every file becomes exactly one of the three. Pages and failures are documents that
came in; skipped records (requests, images, error pages) are counted, but are no documents.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tsumugu.corpus.inputs import InputFile


@dataclass(frozen=True)
class Page:
    """One record as it came. `text` is HTML or plain text; `url` may be empty."""

    file: InputFile
    offset: int
    """Where the record begins, unique in its file: the byte (of JSON Lines after decompression, of
    WARC before it), or the number of the row (Parquet, datasets)."""
    text: str
    url: str
    is_html: bool
    metadata: Mapping[str, str] = field(default_factory=dict)
    """What the file says about the record."""
    headers: Mapping[str, str] = field(default_factory=dict)
    """HTTP headers by lower-case name; several of one name are joined by newlines."""


@dataclass(frozen=True)
class Failure:
    """One record that could not be read, and why."""

    file: InputFile
    offset: int
    error: str


@dataclass(frozen=True)
class Skipped:
    """One record that is no document: not quarantined, not dropped, but counted by `why`."""

    file: InputFile
    offset: int
    why: str
    """One of a few dozen fixed phrases, such as "HTTP status 404" or "request record"."""


Record = Page | Failure | Skipped


def too_large(limit: int) -> str:
    """The reason of a page that is larger than the recipe allows."""
    return f"larger than corpus.max_page_bytes = {limit}"
