"""Tags and visible text of a page by pattern, for what needs no tree and must be quick.

Everything here takes time in proportion to the page, also for hostile pages: no pattern runs over a
"<" that another tag begins with. Quirks that only a tree gets right (a ">" inside an attribute) lose
that tag, nothing else.
"""

import re
from html import unescape

_HIDDEN = re.compile(r"<(script|style|!--)", re.I)
_ENDS = {
    "script": re.compile(r"</script[^<>]*>?", re.I),
    "style": re.compile(r"</style[^<>]*>?", re.I),
    "!--": re.compile("-->"),
}
_TAG = re.compile(r"<[^<>]*>")
# Of links, of which a head may hold hundreds, only the one that names the page's address.
_HEAD_TAG = re.compile(r"<(html|meta|link(?=[^<>]*canonical))\s([^<>]*)>", re.I)
_ATTRIBUTE = re.compile(r"""([a-zA-Z][a-zA-Z:_-]*)\s*=\s*(?:"([^"]*)"|'([^']*)'|([^\s"'>]+))""")
_HEAD_CHARACTERS = 200_000
_HEADLESS_CHARACTERS = 16_384

Tag = tuple[str, dict[str, str]]


def without_hidden(html: str) -> str:
    """`html` without scripts, styles and comments."""
    parts = []
    position = 0
    while hidden := _HIDDEN.search(html, position):
        parts.append(html[position : hidden.start()])
        end = _ENDS[hidden[1].lower()].search(html, hidden.end())
        if end is None:
            # Never closed: the browser shows nothing of the rest.
            return "".join(parts)
        position = end.end()
    parts.append(html[position:])
    return "".join(parts)


def visible_text(html: str) -> str:
    """What a reader would see of `html`, roughly: no markup, and entities as characters."""
    return unescape(_TAG.sub(" ", without_hidden(html)))


def head_tags(html: str) -> list[Tag]:
    """html, meta and canonical link elements of the head of a page, as (name, attributes).

    The head ends where its end tag stands, not where a browser would end it: broken pages begin
    their body in the middle of the metadata.
    """
    end = max(html.find("</head>", 0, _HEAD_CHARACTERS), html.find("</HEAD>", 0, _HEAD_CHARACTERS))
    head = html[: end if end >= 0 else _HEADLESS_CHARACTERS]
    return [(tag[1].lower(), attributes(tag[2])) for tag in _HEAD_TAG.finditer(without_hidden(head))]


def attributes(tag: str) -> dict[str, str]:
    """The attributes in the text of a tag, by lower-case name; the first of a name counts."""
    found: dict[str, str] = {}
    for name, double, single, bare in _ATTRIBUTE.findall(tag):
        found.setdefault(name.lower(), unescape(double or single or bare))
    return found
