"""Menus, headers and footers that extraction left in the text.

Lines are looked up in a dictionary, but only near the two ends of a document, where menus are:
from each end, lines that hold nothing but known phrases go, until `LINES_AT_AN_END` lines that
stay have been passed (the number is that of HojiChar's HeaderFooterTagsRemover). Its keywords
are read from the installed package; ours stand in `boilerplate_ja.txt`. HojiChar asks how a line
begins, and so drops "トップ選手として活躍した。"; here the whole line must consist of phrases. A single
word that may as well be a heading (検索, アクセス) goes only in company: beside other phrases in its
line, or in a run of such lines.
Known forms are looked for beside the dictionary: breadcrumbs, copyright notices, links back,
and, anywhere in the text, lines of bracketed links. What repeats across documents is found by
deduplication, not here.
"""

import re
import unicodedata
from collections.abc import Iterator
from functools import cache, lru_cache
from importlib.util import find_spec
from pathlib import Path

from tsumugu.corpus.transforms.whitespace import collapse_empty_lines

LINES_AT_AN_END = 3
LONGEST_LINE = 100
"""Characters; a longer line is text."""
SHORTEST_MENU = 3
"""So many lines of single words in a row are a menu."""
TEXT, WORD, BOILERPLATE = range(3)

_TOGETHER = "== together"
_DECORATION = " \u3000|/<>«»‹›≪≫《》[]［］【】()（）{}「」『』・•·●○■□▲△▼▽◆◇★☆※→←↑↓⇒⇑^～~―—–-_=*+:;,.、。!?"
_BETWEEN_PHRASES = re.compile(r"[|/<>«»‹›≪≫\[\]【】()・•·●■□▲△▼▽◆◇★☆→←↑↓⇒:,、]+")
_ROOTS = frozenset(["ホーム", "home", "トップ", "top", "トップページ", "topページ", "サイトトップ"])
_PAGES = re.compile(r"(?:前|次|最初|最後|next|prev)")

_SENTENCE_END = re.compile(r"[。！？!?]")
_BREADCRUMB = re.compile(r" ?[>»›≫]")
# On normalised lines: without leading marks, in small letters.
_COPYRIGHT = re.compile(r"(?:copyrights? |c\)|[©ⓒ]).*(?:\d{4}|reserved|無断)|.{0,80}all rights? reserved")
_BACKWARDS = "<＜«‹≪▲△←↑⇑⬆↩^"
_LINK_BACK = re.compile(rf"[{re.escape(_BACKWARDS)}].{{0,40}}(?:戻る|もどる|先頭へ|トップへ|TOPへ)[\s>＞»]*")
# What is left of a table of links to the previous and the next chapter (DocBook's chunked HTML).
_TABLE_OF_LINKS = re.compile("(?:[^\n\xa0]{1,120}\xa0)? \xa0[^\n\xa0]{1,120}|\xa0 (?![-–—―])[^\n\xa0]{1,120}")

_MAY_BE_LINKS = re.compile(r"\[(?: ?[<＜«]|D\]|編集\]|edit\]|トップ\])")
_LINE_OF_LINKS = re.compile(
    # [ << 前の章 ] [トップ][目次] [ 次の章 >> ]
    r"^[ \t]*+(?:\[ ?[<＜«]{1,2} ?[^\[\]\n]{0,200}\]|\[[^\[\]\n]{0,200} ?[>＞»]{1,2} ?\])[ \t]*+"
    r"(?:\[[^\[\]\n]{0,200}\][ \t]*+){1,10}$\n?"
    # What only a browser or an editor can use: a link to an image's description, to an edit form.
    r"|^\[(?:D|編集|edit)\]$\n?",
    re.MULTILINE,
)


def remove_boilerplate_lines(text: str) -> tuple[str, tuple[int, ...]]:
    """`text` without menu lines at its ends and lines of links anywhere; counted: the lines.

    >>> page = "ホーム > 会社概要\\n沿革\\n当社は明治三年に京都で生まれた。\\n以来、紙を漉いてきた。\\n"
    >>> remove_boilerplate_lines(page + "ページトップへ戻る\\nCopyright © 2020 つむぐ堂 All Rights Reserved.")
    ('沿革\\n当社は明治三年に京都で生まれた。\\n以来、紙を漉いてきた。', (3,))
    >>> remove_boilerplate_lines("[ < 前の節 ] [ 上へ : 記譜法 ] [ 次の節 > ]\\n\\n音の高さを入力します。")
    ('音の高さを入力します。', (1,))

    Prose that begins with such a word stays:

    >>> remove_boilerplate_lines("トップ選手として活躍した。\\n検索の結果を見る。")[1]
    (0,)

    A known false positive: a short heading at an end that is also the name of a menu.

    >>> remove_boilerplate_lines("お問い合わせ\\n京都市役所までどうぞ。")[0]
    '京都市役所までどうぞ。'
    """
    original = text
    links = 0
    if _MAY_BE_LINKS.search(text):
        text, links = _LINE_OF_LINKS.subn("", text)
    if "\n\n\n" in text:
        text = collapse_empty_lines(text)
    first, last = _lines_from_start(text), _lines_from_end(text)
    spans = {span for lines in (first, last) for span in _boilerplate(lines, text)}
    if not spans and not links:
        return original, (0,)
    pieces = []
    end = 0
    for start, stop in sorted(spans):
        pieces.append(text[end:start])
        end = min(stop + 1, len(text))
    pieces.append(text[end:])
    return collapse_empty_lines("".join(pieces)), (links + len(spans),)


def _lines_from_start(text: str) -> Iterator[tuple[int, int]]:
    """Begin and end of every line, from the first."""
    start = 0
    while start <= len(text):
        stop = text.find("\n", start)
        stop = len(text) if stop < 0 else stop
        yield start, stop
        start = stop + 1


def _lines_from_end(text: str) -> Iterator[tuple[int, int]]:
    """Begin and end of every line, from the last."""
    stop = len(text)
    while stop >= 0:
        start = text.rfind("\n", 0, stop) + 1
        yield start, stop
        stop = start - 1


def _boilerplate(lines: Iterator[tuple[int, int]], text: str) -> Iterator[tuple[int, int]]:
    """Those of `lines` that are boilerplate, until enough lines have been passed that are not."""
    passed = 0
    run: list[tuple[int, int]] = []
    certain = False
    for start, stop in lines:
        line = text[start : min(stop, start + LONGEST_LINE + 1)].strip(" \t\u3000")
        if not line:
            continue
        kind = kind_of_line(line)
        if kind != TEXT:
            run.append((start, stop))
            certain |= kind == BOILERPLATE
            continue
        if certain or len(run) >= SHORTEST_MENU:
            yield from run
        else:
            passed += len(run)
        run, certain = [], False
        passed += 1
        if passed >= LINES_AT_AN_END:
            return
    if certain or len(run) >= SHORTEST_MENU:
        yield from run


def kind_of_line(line: str) -> int:
    """BOILERPLATE: nothing but phrases of menus, or the form of a header or footer. WORD: a single
    word that menus hold and headings, too. TEXT: everything else.

    >>> kind_of_line("ホーム｜アクセス") == BOILERPLATE, kind_of_line("アクセス") == WORD
    (True, True)
    """
    if len(line) > LONGEST_LINE:
        return TEXT
    # Most lines are prose, and begin with a character that no phrase begins with.
    if (
        not _may_begin_phrase(line.lstrip(_DECORATION)[:2])
        and line[0] not in _BACKWARDS
        and "ights" not in line
        and "\xa0" not in line
    ):
        return TEXT
    alone, together, _ = _phrases()
    phrase = _normal(line)
    if phrase in alone or _COPYRIGHT.match(phrase) or _LINK_BACK.fullmatch(line):
        return BOILERPLATE
    if phrase in together:
        return WORD
    if _SENTENCE_END.search(line):
        return TEXT
    if "\xa0" in line and _TABLE_OF_LINKS.fullmatch(line):
        return BOILERPLATE
    first = _BETWEEN_PHRASES.split(phrase, maxsplit=1)[0].strip()
    if first in _ROOTS and _BREADCRUMB.match(phrase, len(first)):
        return BOILERPLATE
    if first not in together and first.partition(" ")[0] not in together and not first[:1].isdecimal():
        return TEXT
    return BOILERPLATE if _holds_only(phrase, together) else TEXT


def _holds_only(phrase: str, known: frozenset[str]) -> bool:
    """Whether `phrase` is made of two or more known ones; page numbers are known beside 次へ and its like."""
    parts = [part for piece in _BETWEEN_PHRASES.split(phrase) if (part := piece.strip(_DECORATION))]
    if not all(part in known for part in parts):
        parts = [part for piece in " ".join(parts).split() if (part := piece.strip(_DECORATION))]
        paging = any(_PAGES.match(part) for part in parts)
        if not all(part in known or (paging and part.isdecimal() and len(part) < 4) for part in parts):
            return False
    return len(parts) > 1


def _normal(line: str) -> str:
    """NFKC, case-folded, single spaces, without what decorates the ends."""
    return " ".join(unicodedata.normalize("NFKC", line).casefold().split()).strip(_DECORATION)


@lru_cache(maxsize=4096)
def _may_begin_phrase(start: str) -> bool:
    """Whether a line that begins with these two characters may be made of phrases."""
    return _normal(start)[:1] in _phrases()[2]


@cache
def _phrases() -> tuple[frozenset[str], frozenset[str], frozenset[str]]:
    """The phrases that may stand alone, those that may stand beside others (a superset), and the
    characters with which a line of phrases, page numbers or a copyright notice can begin."""
    alone: set[str] = set()
    together = {_normal(keyword) for keyword in hojichar_keywords()}
    target = alone
    for line in Path(__file__).with_name("boilerplate_ja.txt").read_text(encoding="utf-8").splitlines():
        if line == _TOGETHER:
            target = together
        elif line and not line.startswith("#"):
            target.add(_normal(line))
    together |= alone
    together.discard("")
    initials = {phrase[0] for phrase in together} | set("0123456789©ⓒc") | {""}
    return frozenset(alone), frozenset(together), frozenset(initials)


def hojichar_keywords() -> list[str]:
    """The keywords of HojiChar's HeaderFooterTagsRemover, from the installed package.

    Raises:
        FileNotFoundError: HojiChar is not installed, or has moved its dictionary.
    """
    package = find_spec("hojichar")
    if package is None or not package.submodule_search_locations:
        raise FileNotFoundError(
            "boilerplate_lines reads a dictionary of HojiChar, which is not installed: pip install hojichar"
        )
    path = Path(package.submodule_search_locations[0]) / "dict" / "header_footer_keywords_ja.txt"
    return [line.strip() for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
