"""HTML to its main text: the fast tier.

Resiliparse builds the tree and finds the main content (navigation, headers and footers go) at tens
of megabytes a second. Three things are ours: a limit on nesting, since the time of tree algorithms
grows with its square and a hostile page of 200,000 nested elements would hold a worker for an
hour; XHTML's empty anchors; and the page's own idea of its address.
"""

import re
from collections.abc import Sequence
from urllib.parse import urljoin

from resiliparse.extract.html2text import extract_plain_text

from tsumugu.corpus.markup import Tag

DEEPEST_NESTING = 2000
"""Browsers themselves stop at about 512 (Blink's maximumHTMLParserDOMTreeDepth)."""
MOST_REPEATED_FORMATTING = 5_000_000
"""Open formatting elements times tags. A parser opens `<font>` and its like again in every block
until they are closed, so that a page of 50 kB can ask for gigabytes."""

_TAG = re.compile(r"<(?:(!--)|(/?)([a-zA-Z][^\s/<>]*)([^<>]*))")
# Elements without an end tag, and those whose end tag HTML lets people leave out.
_UNNESTED = frozenset(
    [
        *("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source"),
        *("track", "wbr", "p", "li", "dt", "dd", "tr", "td", "th", "thead", "tbody", "tfoot", "colgroup"),
        *("option", "html", "head", "body"),
    ]
)
_FORMATTING = frozenset(
    ["a", "b", "big", "code", "em", "font", "i", "nobr", "s", "small", "strike", "strong", "tt", "u"]
)
# `<a id="x"/>`: XHTML for a place to jump to, HTML for a link that stays open, so that the rest of
# the page looks like one link, and links are navigation. Never one with `href`.
_EMPTY_ANCHOR = re.compile(r"""<a(?:\s+(?!href)[\w:-]+=(?:"[^"<>]*"|'[^'<>]*'))+\s*/>""", re.I)
_VERBATIM = {name: re.compile(f"</{name}", re.I) for name in ("script", "style", "textarea", "title")}
_COMMENT_END = re.compile("-->")


class TooDeep(ValueError):
    """The page nests its elements so deeply that no tree should be built of it."""


def extract_text(html: str) -> str:
    """The main text of a page; block elements become lines.

    Raises:
        TooDeep: elements are nested more than `DEEPEST_NESTING` deep.
    """
    refuse_bombs(html)
    text: str = extract_plain_text(
        _EMPTY_ANCHOR.sub("", html), main_content=True, alt_texts=False, preserve_formatting=True
    )
    return text


def canonical_address(tags: Sequence[Tag], base: str = "") -> str:
    """The web address that a page gives itself in the tags of its head, or an empty string.

    `base` is the address that it was fetched from.
    """
    for tag, attributes in tags:
        if tag == "link" and "canonical" in attributes.get("rel", "").lower().split():
            try:
                url = urljoin(base, attributes.get("href", "").strip())
            except ValueError:
                return ""
            return url if url.lower().startswith(("http://", "https://")) else ""
    return ""


def refuse_bombs(html: str) -> None:
    """Raise `TooDeep` if building the page's tree would take time or memory out of all proportion."""
    if html.count("<") <= DEEPEST_NESTING:
        return
    depth = formatting = tags = repeated = position = 0
    while tag := _TAG.search(html, position):
        comment, closing, name, rest = tag.groups()
        position = tag.end()
        if comment:
            position = _end(_COMMENT_END, html, position)
            continue
        name = name.lower()
        tags += 1
        step = -1 if closing else 1
        if name in _FORMATTING:
            formatting = max(0, formatting + step)
        elif name in _VERBATIM and not closing:
            position = _end(_VERBATIM[name], html, position)
        elif name not in _UNNESTED and not rest.endswith("/"):
            depth = max(0, depth + step)
        repeated += formatting
        if max(depth, formatting) > DEEPEST_NESTING:
            raise TooDeep(f"elements are nested more than {DEEPEST_NESTING} deep")
        if repeated > MOST_REPEATED_FORMATTING:
            raise TooDeep("formatting elements are left open over too many tags")


def _end(pattern: re.Pattern[str], html: str, position: int) -> int:
    """Where `pattern` begins at or after `position`; the end of the page if it does not."""
    found = pattern.search(html, position)
    return found.start() if found else len(html)
