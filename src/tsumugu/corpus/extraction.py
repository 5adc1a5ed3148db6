"""HTML to its main text: the fast tier.

Resiliparse builds the tree and finds the main content (navigation, headers and footers go) at tens
of megabytes a second. Two things are ours: a limit on nesting, since the time of tree algorithms
grows with its square and a hostile page of 200,000 nested elements would hold a worker for an
hour, and the page's own idea of its address.
"""

import re
from collections.abc import Sequence
from urllib.parse import urljoin

import numpy as np
from resiliparse.extract.html2text import extract_plain_text

from tsumugu.corpus.markup import Tag, head_tags

DEEPEST_NESTING = 2000
"""Browsers themselves stop at about 512 (Blink's maximumHTMLParserDOMTreeDepth)."""

_TAG = re.compile(r"<(/?)([a-zA-Z][^\s/>]*)")
# Elements without an end tag, and those whose end tag HTML lets people leave out.
_UNNESTED = frozenset(
    [
        "area",
        "base",
        "br",
        "col",
        "embed",
        "hr",
        "img",
        "input",
        "link",
        "meta",
        "param",
        "source",
        "track",
        "wbr",
        "p",
        "li",
        "dt",
        "dd",
        "tr",
        "td",
        "th",
        "thead",
        "tbody",
        "tfoot",
        "colgroup",
        "option",
        "optgroup",
        "rt",
        "rp",
        "html",
        "head",
        "body",
    ]
)


class TooDeep(ValueError):
    """The page nests its elements so deeply that no tree should be built of it."""


def extract_text(html: str) -> str:
    """The main text of a page; block elements become lines.

    Raises:
        TooDeep: elements are nested more than `DEEPEST_NESTING` deep.
    """
    refuse_deep_nesting(html)
    text: str = extract_plain_text(html, main_content=True, alt_texts=False, preserve_formatting=True)
    return text


def refuse_deep_nesting(html: str) -> None:
    """Raise `TooDeep` for a page that no tree should be built of."""
    if _nesting(html) > DEEPEST_NESTING:
        raise TooDeep(f"elements are nested more than {DEEPEST_NESTING} deep")


def canonical_url(html: str) -> str:
    """The web address that a page gives itself, or an empty string."""
    return canonical_address(head_tags(html))


def canonical_address(tags: Sequence[Tag], base: str = "") -> str:
    """The same out of the tags of its head; `base` is the address that it was fetched from."""
    for tag, attributes in tags:
        if tag == "link" and "canonical" in attributes.get("rel", "").lower().split():
            try:
                url = urljoin(base, attributes.get("href", "").strip())
            except ValueError:
                return ""
            return url if url.lower().startswith(("http://", "https://")) else ""
    return ""


def _nesting(html: str) -> int:
    """An upper bound on how deep elements are nested; exact counting only where it may matter."""
    if html.count("<") <= DEEPEST_NESTING:
        return 0
    bound = _nesting_bound(html)
    if bound <= DEEPEST_NESTING:
        return bound
    depth = deepest = 0
    for closing, name in _TAG.findall(html):
        if name.lower() in _UNNESTED:
            continue
        depth = max(0, depth - 1) if closing else depth + 1
        deepest = max(deepest, depth)
    return deepest


def _nesting_bound(html: str) -> int:
    """The same with every element taken for one that nests: vectorised, and enough for most pages."""
    raw = np.frombuffer(html.encode("utf-8", "replace"), dtype=np.uint8)
    following = raw[np.flatnonzero(raw[:-1] == ord("<")) + 1]
    letter = (following | 0x20) - np.uint8(ord("a")) < 26
    depth = np.cumsum(np.where(following == ord("/"), -1, letter.astype(np.int64)))
    # An end tag at depth 0 closes nothing.
    floor = np.minimum(np.minimum.accumulate(depth), 0)
    return int((depth - floor).max(initial=0))
