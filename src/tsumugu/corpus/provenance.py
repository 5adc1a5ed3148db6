"""Where a page comes from and what its publisher says about its use.

Dates, language, licence marks and opt-outs, out of the page's own head and the HTTP headers it came
with. Marks are reported, not judged: a link to Creative Commons may cover one picture, so what the
page declares (rel=license, rights metadata) and what it merely links stand apart, and whether an
opt-out drops a document is a rule of the recipe. Nothing is fetched.

Sources: robots meta and X-Robots-Tag as Google documents them, `noai` and `noimageai` as DeviantArt
introduced them, TDMRep (W3C Community Group report, 2022), SPDX license list.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import get_args

from tsumugu.corpus.extraction import canonical_address
from tsumugu.corpus.markup import Tag, attributes, head_tags
from tsumugu.corpus.records import Page
from tsumugu.corpus.signal_names import ProvenanceSignal

PROVENANCE_SIGNALS: tuple[ProvenanceSignal, ...] = get_args(ProvenanceSignal)
"""All 0 or 1. `opt_out_noai`: noai or noimageai, or an AI crawler told noindex or none.
`opt_out_noindex`: noindex or none for everybody. `opt_out_tdm`: text and data mining reserved.
`creative_commons`: the page declares or links a Creative Commons licence or public domain deed."""

_LONGEST_VALUE = 1000
_LONGEST_ATTRIBUTE = 100
_LONGEST_TAG = 2000
_MOST_MARKS = 1000
# What stands before a word: searched in a window that ends at the word.
_IN_REL = re.compile(r"""\b(?:rel|itemprop)\s*=\s*(?:"[^"<>]*|'[^'<>]*)?l?$""", re.I)
_IN_HREF = re.compile(r"""\bhref\s*=\s*["']?(?:https?:)?//(?:[a-z]+\.)?$""", re.I)
_IN_JSON_LD = re.compile(r'"license"\s*:\s*"(?:https?:)?//(?:[a-z]+\.)?$', re.I)
_LANGUAGE = re.compile(r"[A-Za-z]{2,3}(?:-[A-Za-z0-9]{1,8})*(?:,[A-Za-z]{2,3})*")
_PUBLISHED = (
    "article:published_time",
    "datepublished",
    "date",
    "dc.date",
    "dc.date.issued",
    "dcterms.created",
    "dcterms.issued",
    "pubdate",
)
_RIGHTS = (
    "dc.rights",
    "dc.rights.license",
    "dcterms.rights",
    "dcterms.license",
    "copyright.license",
    "license",
)
# Names under which crawlers that collect training data are addressed.
_AI_CRAWLERS = (
    "ai2bot",
    "anthropic-ai",
    "applebot-extended",
    "bytespider",
    "ccbot",
    "claudebot",
    "cohere-ai",
    "diffbot",
    "google-extended",
    "gptbot",
    "meta-externalagent",
    "omgili",
    "omgilibot",
    "perplexitybot",
)
# Directives that carry a value behind a colon; any other word before a colon is a crawler's name.
_WITH_VALUE = ("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview")

_CREATIVE_COMMONS = re.compile(
    r"(?:https?:)?//(?:[a-z]+\.)?creativecommons\.org/"
    r"(?P<area>licenses|publicdomain)/(?P<code>[a-z+-]{2,12})/(?P<version>\d\.\d)"
    r"(?:/(?P<place>[a-z]{2,3}|igo|scotland)(?![a-z]))?",
    re.I,
)
_OTHER_LICENSES = (
    (re.compile(r"//(?:www\.)?apache\.org/licenses/license-2\.0", re.I), "Apache-2.0"),
    (re.compile(r"//(?:www\.)?opensource\.org/licenses?/mit\b", re.I), "MIT"),
    (re.compile(r"//(?:www\.)?unlicense\.org", re.I), "Unlicense"),
)
_CODES = ("by", "by-sa", "by-nd", "by-nc", "by-nc-sa", "by-nc-nd")
_PUBLIC_DOMAIN = {"zero": "CC0", "mark": "CC-PDM"}


def provenance(page: Page) -> tuple[dict[str, str], dict[str, float]]:
    """Metadata and `PROVENANCE_SIGNALS` of a page.

    Metadata, where known: `published`, `modified`, `fetched` (ISO 8601, UTC where the zone is
    known), `language` (BCP 47 as declared), `license_declared` and `license_linked` (SPDX ids where
    sure, otherwise the text or URL; several are joined by spaces), `robots`, `tdm_policy`,
    `canonical_url`.
    """
    headers = page.headers
    tags = head_tags(page.text) if page.is_html else []
    metas = _metas(tags)
    directives = list(_directives(metas, headers))
    declared, linked = _licenses(page.text, metas) if page.is_html else ([], [])
    metadata = {
        "published": _first_date(metas),
        "modified": _http_date(headers.get("last-modified", "")),
        "fetched": _iso_date(page.metadata.get("fetched", "")) or _http_date(headers.get("date", "")),
        "language": _language(page, tags, metas),
        "license_declared": " ".join(declared),
        "license_linked": " ".join(linked),
        "robots": ", ".join(sorted({f"{agent}: {word}" if agent else word for agent, word in directives})),
        "tdm_policy": " ".join(metas.get("tdm-policy", ()) or headers.get("tdm-policy", "").split()),
        "canonical_url": canonical_address(tags, page.url),
    }
    everybody = {word for agent, word in directives if not agent}
    ai = {word for agent, word in directives if agent in _AI_CRAWLERS}
    reserved = [*metas.get("tdm-reservation", ()), *headers.get("tdm-reservation", "").split("\n")]
    signals = {
        "opt_out_noai": {"noai", "noimageai"} & (everybody | ai) or {"noindex", "none"} & ai,
        "opt_out_noindex": {"noindex", "none"} & everybody,
        "opt_out_tdm": any(value.strip() == "1" for value in reserved),
        "creative_commons": any(name.startswith("CC") for name in (*declared, *linked)),
    }
    return (
        {key: value[:_LONGEST_VALUE] for key, value in metadata.items() if value},
        {name: float(bool(signals[name])) for name in PROVENANCE_SIGNALS},
    )


def license_id(text: str) -> str | None:
    """The SPDX id of the licence that a URL names, where there is no doubt."""
    match = _CREATIVE_COMMONS.search(text)
    if match:
        code = match["code"].lower().replace("by-nd-nc", "by-nc-nd")
        version = match["version"]
        if match["area"].lower() == "publicdomain":
            return f"{_PUBLIC_DOMAIN[code]}-{version}" if code in _PUBLIC_DOMAIN else None
        if code not in _CODES:
            return None
        # Version 4.0 is the same everywhere; what follows it is the language of the deed.
        place = f"-{match['place'].upper()}" if match["place"] and version != "4.0" else ""
        return f"CC-{code.upper()}-{version}{place}"
    return next((name for pattern, name in _OTHER_LICENSES if pattern.search(text)), None)


def _metas(tags: Sequence[Tag]) -> dict[str, list[str]]:
    """`content` by the lower-case name, property, itemprop or http-equiv of each meta element."""
    found: dict[str, list[str]] = {}
    for tag, attribute in tags:
        if tag != "meta" or "content" not in attribute:
            continue
        for key in ("name", "property", "itemprop", "http-equiv"):
            if name := attribute.get(key, "").strip().lower():
                found.setdefault(name, []).append(attribute["content"].strip())
                break
    return found


def _directives(metas: Mapping[str, list[str]], headers: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(crawler, directive) pairs of robots metas and X-Robots-Tag; crawler "" means everybody."""
    for name, contents in metas.items():
        agent = "" if name == "robots" else name
        if agent == "" or agent in _AI_CRAWLERS or agent == "googlebot":
            for content in contents:
                for word in re.split(r"[\s,;]+", content.lower()):
                    if word:
                        yield agent, word
    # One header is one list; a crawler's name at its beginning holds for all of the list.
    for value in headers.get("x-robots-tag", "").lower().split("\n"):
        agent = ""
        for part in value.split(","):
            first, colon, rest = (piece.strip() for piece in part.partition(":"))
            if colon and first not in _WITH_VALUE:
                agent, first = first, rest
            if first:
                yield agent, first


def _licenses(html: str, metas: Mapping[str, list[str]]) -> tuple[list[str], list[str]]:
    """What the page declares about itself, and the licences that it links, each once, in order."""
    declared = [text for name in _RIGHTS for text in metas.get(name, ())]
    linked = []
    for position in _occurrences(html, "icense"):
        if _IN_REL.search(html, max(0, position - _LONGEST_ATTRIBUTE), position):
            start = html.rfind("<", max(0, position - _LONGEST_TAG), position)
            end = html.find(">", position, position + _LONGEST_TAG)
            tag = attributes(html[start:end]) if 0 <= start < end else {}
            declared.append(tag.get("href", "") or tag.get("content", ""))
    for position in _occurrences(html, "creativecommons.org/"):
        before = html[max(0, position - _LONGEST_ATTRIBUTE) : position]
        name = license_id(f"//creativecommons.org/{html[position + 20 : position + 80]}")
        if name is not None and _IN_HREF.search(before):
            linked.append(name)
        elif name is not None and _IN_JSON_LD.search(before):
            declared.append(name)
    names = [license_id(text) or "_".join(text.split())[:200] for text in declared]
    return list(dict.fromkeys(name for name in names if name)), list(dict.fromkeys(linked))


def _occurrences(text: str, word: str) -> Iterator[int]:
    """Where `word` stands in `text`, up to a limit that only hostile pages reach."""
    position = text.find(word)
    for _ in range(_MOST_MARKS):
        if position < 0:
            return
        yield position
        position = text.find(word, position + 1)


def _language(page: Page, tags: Sequence[Tag], metas: Mapping[str, list[str]]) -> str:
    candidates: list[str] = [
        *(attribute.get("lang", "") for tag, attribute in tags if tag == "html"),
        *metas.get("content-language", ()),
        page.headers.get("content-language", ""),
        page.metadata.get("language", ""),
    ]
    for candidate in candidates:
        candidate = candidate.replace(" ", "").replace("_", "-")
        if _LANGUAGE.fullmatch(candidate):
            return candidate
    return ""


def _first_date(metas: Mapping[str, list[str]]) -> str:
    dates = (_iso_date(content) for name in _PUBLISHED for content in metas.get(name, ()))
    return next((date for date in dates if date), "")


def _iso_date(text: str) -> str:
    try:
        return _format(datetime.fromisoformat(text.strip()))
    except (ValueError, OverflowError):
        return ""


def _http_date(text: str) -> str:
    try:
        return _format(parsedate_to_datetime(text))
    except (ValueError, TypeError, OverflowError, IndexError):
        return ""


def _format(date: datetime) -> str:
    if date.tzinfo is None:
        return date.isoformat(timespec="seconds")
    return date.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
