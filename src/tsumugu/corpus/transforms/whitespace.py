"""White space that no reader would miss: trailing spaces, tabs, runs of empty lines.

Spaces inside a line stay, ideographic ones among them: they indent paragraphs and set names
apart.
"""

import re

# The first character of a run of spaces and tabs, so that a long run is walked over only once.
_RUN_WITH_TAB = re.compile(r"(?:\t| (?<![ \t] ) *+\t)[ \t]*+")
_SPACE_BEFORE_LINE_END = re.compile(r"\n(?<=[^\S\n]\n)")


def tidy_whitespace(text: str) -> tuple[str, tuple[int, ...]]:
    r"""Tabs become one space, spaces at line ends go, and at most one line in a row is empty.

    >>> tidy_whitespace("\n氏名\t 山田　太郎　\n\n \n\n　住所 \n")[0]
    '氏名 山田　太郎\n\n　住所'
    """
    if "\t" in text:
        text = _RUN_WITH_TAB.sub(" ", text)
    if _SPACE_BEFORE_LINE_END.search(text) or text[-1:].isspace():
        text = "\n".join([line.rstrip() for line in text.split("\n")])
    return collapse_empty_lines(text), ()


def collapse_empty_lines(text: str) -> str:
    """At most one empty line in a row, and none at either end."""
    # Each round leaves two thirds of a run.
    while "\n\n\n" in text:
        text = text.replace("\n\n\n", "\n\n")
    return text.strip("\n")
