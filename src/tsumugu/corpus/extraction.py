"""HTML to its main text: the fast tier.

Resiliparse builds the tree and finds the main content (navigation, headers and footers go) at tens
of megabytes a second. Three things are ours: pages that would hold it for hours are refused first;
XHTML's empty anchors; and the page's own idea of its address.
"""

import re
from collections.abc import Sequence
from urllib.parse import urljoin

from resiliparse.extract.html2text import extract_plain_text

from tsumugu.corpus.bombs import refuse_bombs
from tsumugu.corpus.markup import Tag

# `<a id="x"/>`: XHTML for a place to jump to, HTML for a link that stays open, so that the rest of
# the page looks like one link, and links are navigation. Never one with `href`.
_EMPTY_ANCHOR = re.compile(r"""<a(?:\s+(?!href)[\w:-]+=(?:"[^"<>]*"|'[^'<>]*'))+\s*/>""", re.I)


def extract_text(html: str) -> str:
    """The main text of a page; block elements become lines.

    Raises:
        TooDeep: see `bombs.refuse_bombs`.
    """
    refuse_bombs(html)
    # Few pages are XHTML, and the pattern looks at every tag.
    if "/>" in html:
        html = _EMPTY_ANCHOR.sub("", html)
    text: str = extract_plain_text(html, main_content=True, alt_texts=False, preserve_formatting=True)
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
