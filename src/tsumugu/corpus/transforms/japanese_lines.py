"""Text in a Japanese page that is not Japanese: foreign paragraphs, lines without kana, ASCII runs.

All three work on lines and leave alone what they cannot judge: a page in another language is the
rules' business, not theirs.
"""

import re

from tsumugu.corpus.transforms.whitespace import collapse_empty_lines

_JAPANESE = "\u3041-\u30ff\u3400-\u9fff"
_JAPANESE_RUN = re.compile(f"[{_JAPANESE}]+")
_FOREIGN_WORDS = 8
_FOREIGN_LINE = re.compile(rf"\n[^\n{_JAPANESE}]{{{4 * _FOREIGN_WORDS},}}+(?=\n|\Z)")
_AFTER_WORDS = ",.;:!?)"
_JAPANESE_PAGE = 0.2

_KANA = "\u3041-\u3096\u309d-\u309f\u30a1-\u30fa\u30fc-\u30ff\u31f0-\u31ff\uff66-\uff9f"
_HAS_KANA = re.compile(f"[{_KANA}]")

_URL = re.compile(r"https?://[A-Za-z0-9_/:%#$&?()~.=+\-]+")
# From the first character of a run only, so that runs of 99 are not measured 99 times.
_ASCII_RUN = re.compile(r"[\x00-\x09\x0b-\x7f](?<![\x00-\x09\x0b-\x7f].)[\x00-\x09\x0b-\x7f]{99,}")


def remove_foreign_paragraphs(text: str) -> tuple[str, tuple[int, ...]]:
    """Remove lines of prose in other languages from a Japanese page; counted: those lines.

    Such lines are untranslated paragraphs and licence notices: at least 32 characters, none of
    them Japanese, and at least eight plain words. Source code stays: its lines seldom hold eight
    plain words. So does a page of which less than a fifth is Japanese.

    >>> page = "この節では、設定の方法を順に説明します。" * 3
    >>> remove_foreign_paragraphs(page + "\\nThis paragraph has not been translated into Japanese yet.")[1]
    (1,)
    """
    if text.isascii():
        return text, (0,)
    pieces: list[str] = []
    end = 0
    # Every line begins after a line end, so that the search can leap from one to the next.
    lines = "\n" + text
    for match in _FOREIGN_LINE.finditer(lines):
        if not _is_prose(match[0]):
            continue
        if not pieces and _japanese_characters(text) < _JAPANESE_PAGE * len(text):
            return text, (0,)
        pieces.append(lines[end : match.start()])
        end = match.end()
    removed = len(pieces)
    if removed == 0:
        return text, (0,)
    pieces.append(lines[end:])
    return collapse_empty_lines("".join(pieces)), (removed,)


def _is_prose(line: str) -> bool:
    """Whether a line holds at least eight words of two letters or more."""
    words = 0
    if line.count(" ") < _FOREIGN_WORDS - 1:
        return False
    for word in line.split():
        word = word.rstrip(_AFTER_WORDS)
        words += len(word) > 1 and word.isalpha()
    return words >= _FOREIGN_WORDS


def _japanese_characters(text: str) -> int:
    return len(text) - len(_JAPANESE_RUN.sub("", text))


def remove_lines_without_kana(text: str) -> tuple[str, tuple[int, ...]]:
    """Keep only lines with kana, as llm-jp-corpus v1 does; counted: the lines that go.

    >>> remove_lines_without_kana("見出しです\\n2024-01-01\\n中国語文\\nおわり")
    ('見出しです\\nおわり', (2,))
    """
    lines = text.split("\n")
    kept = [line for line in lines if _HAS_KANA.search(line)]
    if len(kept) == len(lines):
        return text, (0,)
    return "\n".join(kept), (sum(1 for line in lines if line.strip()) - len(kept),)


def remove_ascii_runs(text: str) -> tuple[str, tuple[int, ...]]:
    """Remove URLs, then runs of at least 100 ASCII characters in a line, from texts with kana.

    The numbers are llm-jp-corpus v1's, which also drops the lines without kana. Its pattern for
    URLs takes the Japanese that follows along; this one does not. Counted: URLs and runs.

    >>> remove_ascii_runs("詳細はhttps://example.org/a?b=1を見てください。")
    ('詳細はを見てください。', (1,))
    """
    if not _HAS_KANA.search(text):
        return text, (0,)
    urls = 0
    if "://" in text:
        text, urls = _URL.subn("", text)
    text, runs = _ASCII_RUN.subn("", text)
    return text, (urls + runs,)
