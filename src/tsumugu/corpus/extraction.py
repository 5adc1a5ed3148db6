"""HTML to its main text.

Resiliparse finds the main content (navigation, headers and footers go) at tens of megabytes a
second. Two things are ours: a limit on nesting, since the time of tree algorithms grows with
its square and a hostile page of 200,000 nested elements would hold a worker for an hour, and
the page's own idea of its address.
"""

import re
from html import unescape

from resiliparse.extract.html2text import extract_plain_text

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
_CANONICAL = re.compile(r"<link\b[^>]*\brel\s*=\s*[\"']?canonical\b[^>]*>", re.I)
_HREF = re.compile(r"\bhref\s*=\s*[\"']?([^\"'\s>]+)", re.I)
_HEAD_CHARACTERS = 20_000


class TooDeep(ValueError):
    """The page nests its elements so deeply that no tree should be built of it."""


def extract_text(html: str) -> str:
    """The main text of a page; block elements become lines.

    Raises:
        TooDeep: elements are nested more than `DEEPEST_NESTING` deep.
    """
    depth = _nesting(html)
    if depth > DEEPEST_NESTING:
        raise TooDeep(f"elements are nested more than {DEEPEST_NESTING} deep")
    text: str = extract_plain_text(html, main_content=True, alt_texts=False, preserve_formatting=True)
    return text


def canonical_url(html: str) -> str:
    """The address that the page gives itself, or an empty string."""
    link = _CANONICAL.search(html, 0, _HEAD_CHARACTERS)
    href = _HREF.search(link[0]) if link else None
    return unescape(href[1]) if href else ""


def _nesting(html: str) -> int:
    """An upper bound on how deep elements are nested; exact counting only where it may matter."""
    if html.count("<") <= DEEPEST_NESTING:
        return 0
    depth = deepest = 0
    for closing, name in _TAG.findall(html):
        if name.lower() in _UNNESTED:
            continue
        depth = max(0, depth - 1) if closing else depth + 1
        deepest = max(deepest, depth)
    return deepest
