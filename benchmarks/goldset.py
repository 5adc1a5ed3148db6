"""The gold set of main-text extraction: which lines of a page are its main text.

`gold/extraction.yaml` names pages of the demo (`make data/demo/pages`) with the checksum of their
bytes and the marked ranges of lines; their text has licences of its own and is not part of this
repository. The lines are those of `visible_lines`, which uses no extractor. `choose_pages` says
how the pages were chosen, docs/corpus.md how they were marked.

    python benchmarks/goldset.py choose      the chosen pages: path, checksum, number of lines
    python benchmarks/goldset.py show PAGE   a page's numbered lines; `|` marks main text
"""

import hashlib
import re
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import yaml

from harness import ROOT
from tsumugu.corpus.decoding import decode_page
from tsumugu.corpus.language_gate import kana_share
from tsumugu.errors import TsumuguError

GOLD = ROOT / "benchmarks" / "gold" / "extraction.yaml"
PAGES = ROOT / "data" / "demo" / "pages"

PAGES_PER_PACKAGE = {
    "aptitude-doc-ja": 3,
    "debian-faq-ja": 2,
    "debian-handbook": 4,
    "debian-policy-ja": 2,
    "debian-reference-ja": 2,
    "developers-reference-ja": 2,
    "gimp-help-ja": 4,
    "installation-guide-amd64": 2,
    "libreoffice-help-ja": 4,
    "lilypond-doc-html-ja": 3,
    "maint-guide-ja": 2,
}
"""Thirty pages of every package that has any of a size that can be marked with care. (debian-edu-doc-ja is
one manual on one page, of 1,500 lines.) More pages where there are many or much navigation."""
_SEED = 0
_LEAST_KANA = 0.1
_LEAST_LINES, _MOST_LINES = 5, 400
_MOST_BYTES = 500_000

_BLOCKS = frozenset(
    [
        *("address", "article", "aside", "blockquote", "body", "br", "button", "caption", "center", "dd"),
        *("details", "dialog", "div", "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form"),
        *("h1", "h2", "h3", "h4", "h5", "h6", "header", "hr", "html", "label", "legend", "li", "main"),
        *("nav", "ol", "option", "p", "pre", "section", "select", "summary", "table", "tbody", "td"),
        *("textarea", "tfoot", "th", "thead", "tr", "ul"),
    ]
)
_UNSEEN = frozenset(["noscript", "script", "style", "template", "title"])
_SHINGLE = 4
_WORD_CHARACTER = re.compile(r"\w")


@dataclass(frozen=True)
class GoldPage:
    """One marked page; `main` are first and last lines, counted from 1, of its main text."""

    path: str
    """Below the folder of the demo's pages."""
    sha256: str
    lines: int
    main: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Score:
    """Of one page, each between 0 and 1."""

    precision: float
    recall: float
    f1: float


def read_gold(path: Path = GOLD) -> list[GoldPage]:
    """The marked pages, in the order of the file."""
    rows: list[dict[str, Any]] = yaml.safe_load(path.read_text(encoding="utf-8"))["pages"]
    return [
        GoldPage(row["path"], row["sha256"], row["lines"], tuple((a, b) for a, b in row["main"]))
        for row in rows
    ]


def read_page(page: GoldPage, folder: Path = PAGES) -> tuple[str, str]:
    """(HTML, marked main text) of a page.

    Raises:
        TsumuguError: the page is not there, or is not the one that was marked.
        ValueError: it is, but `visible_lines` no longer gives the lines that were marked.
    """
    path = folder / page.path
    if not path.is_file():
        raise TsumuguError(f"{path} does not exist. Fetch the demo's pages with `make data/demo/pages`.")
    raw = path.read_bytes()
    if hashlib.sha256(raw).hexdigest() != page.sha256:
        raise TsumuguError(
            f"{path} is not the page that was marked. The gold set is made of the packages of Debian 12 "
            f"(bookworm); fetch them there with `make data/demo/pages`."
        )
    html = decode_page(raw)
    lines = visible_lines(html)
    if len(lines) != page.lines:
        raise ValueError(f"{path} has {len(lines)} visible lines, but {page.lines} when it was marked")
    return html, "\n".join(line for first, last in page.main for line in lines[first - 1 : last])


def visible_lines(html: str) -> list[str]:
    """What a reader sees, one line per block element, table cell or line of `<pre>`; none is empty.

    White space is collapsed. No style sheet is read, so that what one hides counts as seen.
    """
    renderer = _Renderer()
    renderer.feed(html)
    renderer.close()
    return [line for line in (" ".join(raw.split()) for raw in renderer.lines) if line]


class _Renderer(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.lines = [""]
        self._open = Counter[str]()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._open[tag] += 1
        if tag in _BLOCKS:
            self.lines.append("")

    def handle_endtag(self, tag: str) -> None:
        self._open[tag] = max(0, self._open[tag] - 1)
        if tag in _BLOCKS:
            self.lines.append("")

    def handle_data(self, data: str) -> None:
        if any(self._open[tag] for tag in _UNSEEN):
            return
        first, *others = data.split("\n") if self._open["pre"] else [data]
        self.lines[-1] += first
        self.lines += others


def score(found: str, main: str) -> Score:
    """How well `found` agrees with the marked text `main`.

    The measure of article-extraction-benchmark (Zyte, `evaluate.py`): multisets of four tokens in a
    row, where letters and digits alone make tokens, so that bullets and bars of tables, which
    extractors write, count for nobody. There a token is a word; here it is a character, since
    Japanese has no spaces. Where `main` has fewer than four, the shingles are as long as it is.

    Raises:
        ValueError: `main` has no letter.
    """
    found_tokens, main_tokens = _tokens(found), _tokens(main)
    if not main_tokens:
        raise ValueError("a page without main text has no F1")
    size = min(_SHINGLE, len(main_tokens))
    ours, marked = _shingles(found_tokens, size), _shingles(main_tokens, size)
    common = (ours & marked).total()
    return Score(
        precision=common / max(1, ours.total()),
        recall=common / marked.total(),
        f1=2 * common / (ours.total() + marked.total()),
    )


def _tokens(text: str) -> str:
    return "".join(_WORD_CHARACTER.findall(text))


def _shingles(tokens: str, size: int) -> Counter[str]:
    return Counter(tokens[start : start + size] for start in range(len(tokens) - size + 1))


def choose_pages(folder: Path, wanted: Mapping[str, int] = PAGES_PER_PACKAGE) -> list[str]:
    """The Japanese pages to mark: a package's pages, sorted by length, are cut into as many equal
    parts as pages are wanted, and a seeded hash picks one of each, so that short and long ones come in.

    Args:
        wanted: pages by subfolder of `folder`.

    Raises:
        TsumuguError: a subfolder has not enough pages.
    """
    chosen = []
    for package, count in wanted.items():
        sizes = []
        for path in (folder / package).rglob("*.htm*"):
            if not path.is_file() or path.stat().st_size > _MOST_BYTES:
                continue
            html = decode_page(path.read_bytes())
            lines = len(visible_lines(html))
            if _LEAST_LINES <= lines <= _MOST_LINES and kana_share(html) >= _LEAST_KANA:
                sizes.append((lines, path.relative_to(folder).as_posix()))
        if len(sizes) < count:
            raise TsumuguError(f"{folder / package} holds {len(sizes)} pages to choose from, not {count}.")
        sizes.sort()
        for part in range(count):
            some = sizes[part * len(sizes) // count : (part + 1) * len(sizes) // count]
            chosen.append(min((path for _, path in some), key=_draw))
    return chosen


def _draw(path: str) -> str:
    return hashlib.sha256(f"{_SEED}:{path}".encode()).hexdigest()


def main() -> None:
    """`choose` or `show PAGE`, for whoever marks pages."""
    match sys.argv[1:]:
        case ["choose"]:
            for name in choose_pages(PAGES):
                raw = (PAGES / name).read_bytes()
                print(name, hashlib.sha256(raw).hexdigest(), len(visible_lines(decode_page(raw))))
        case ["show", name]:
            marked = {page.path: page.main for page in read_gold()}.get(name, ())
            lines = visible_lines(decode_page((PAGES / name).read_bytes()))
            for number, line in enumerate(lines, start=1):
                inside = any(first <= number <= last for first, last in marked)
                print(f"{number:4} {'|' if inside else ' '} {line}")
        case _:
            sys.exit(__doc__)


if __name__ == "__main__":
    main()
