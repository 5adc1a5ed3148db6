"""Addresses and dates of documents, as far as they decide about duplicates."""

import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import SplitResult, quote, urlsplit

import numpy as np
import xxhash

from tsumugu.corpus.columns import read_columns
from tsumugu.corpus.dedup.shards import write_columns

NO_DATE = np.iinfo(np.int64).min
_TRACKING = re.compile(r"(?:utm_[a-z]+|gclid|fbclid|yclid|msclkid|dclid|mc_[ce]id|igshid|_ga)(?:=|$)", re.I)
# Nothing in it to drop, fold or escape; nine of ten addresses are like that.
_PLAIN = re.compile(r"https?://([a-z0-9.-]*[a-z0-9-])(/[A-Za-z0-9._~/:@!$&'()*+,;=-]*)?")
_ESCAPE = re.compile("%([0-9A-Fa-f]{2})")
_UNRESERVED = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PORTS = {"http": 80, "https": 443}


def canonical(url: str) -> str | None:
    """`url` without what does not change the page, or None if it is no address on the web.

    Dropped: scheme, default port, fragment, tracking parameters. Host names are folded, escapes
    brought into one form (RFC 3986, section 6.2.2). The order of parameters and `www.` stay.

    >>> canonical("HTTP://Example.JP:80/%7Etaro/日記?utm_source=x&id=3#top")
    'example.jp/~taro/%E6%97%A5%E8%A8%98?id=3'
    >>> canonical("pages/index.html") is None
    True
    """
    if plain := _PLAIN.fullmatch(url):
        return plain[1] + (plain[2] or "/")
    try:
        parts: SplitResult = urlsplit(url.strip())
        host, port = parts.hostname, parts.port
    except ValueError:
        return None
    scheme = parts.scheme.lower()
    if scheme not in _PORTS or not host:
        return None
    place = host.rstrip(".") if port in (None, _PORTS[scheme]) else f"{host}:{port}"
    query = "&".join(part for part in parts.query.split("&") if part and not _TRACKING.match(part))
    return place + _escaped(parts.path or "/") + (f"?{_escaped(query)}" if query else "")


def timestamp(metadata: str | None, date_key: str) -> int:
    """Microseconds since 1970 of the ISO 8601 date in a JSON object, UTC if it names no zone."""
    value = json.loads(metadata).get(date_key) if metadata else None
    if not isinstance(value, str):
        return NO_DATE
    try:
        moment = datetime.fromisoformat(value.strip())
    except ValueError:
        return NO_DATE
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return int((moment - datetime(1970, 1, 1, tzinfo=UTC)).total_seconds() * 1_000_000)


@dataclass(frozen=True)
class TraitsTask:
    """One measured shard; `output` gets a column for each question that is asked."""

    shard: Path
    urls: bool
    date_key: str | None
    output: Path


def read_traits(task: TraitsTask) -> None:
    """Write `url_key` (uint64, 0 without an address) and `date` (int64) of one shard."""
    columns: dict[str, object] = {}
    if task.urls:
        urls = read_columns(task.shard, ["url"])["url"].to_pylist()
        columns["url_key"] = np.array([_key(url) for url in urls], dtype=np.uint64)
    if task.date_key is not None:
        metadata = read_columns(task.shard, ["metadata"])["metadata"].to_pylist()
        columns["date"] = np.array([timestamp(entry, task.date_key) for entry in metadata], dtype=np.int64)
    write_columns(task.output, columns)


def _key(url: str | None) -> int:
    place = canonical(url) if url else None
    return 0 if place is None else xxhash.xxh3_64_intdigest(place.encode("utf-8", "replace")) or 1


def _escaped(text: str) -> str:
    def one(match: re.Match[str]) -> str:
        character = chr(int(match[1], 16))
        return character if character in _UNRESERVED else match[0].upper()

    return quote(_ESCAPE.sub(one, text), safe="/%:?#[]@!$&'()*+,;=-._~", errors="replace")
