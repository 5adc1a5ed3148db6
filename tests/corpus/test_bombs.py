"""Bombs: one walk over bytes finds what the same rules written as patterns find."""

import random
import re

import pytest

from tsumugu.corpus import bombs
from tsumugu.corpus.bombs import TooDeep, refuse_bombs

_TAG = re.compile(r"<(?:(!--)|(/?)([a-zA-Z][^\x00-\x20/<>]*)([^<>]*))")
_NAMES = ("div", "DIV", "x-custom", "font", "B", "p", "br", "script", "title")
_PARTS = (
    *(mark + name for name in _NAMES for mark in ("<", "</")), "<!--", "-->", "<!doctype html>",
    "<", "</", ">", "/", " ", "\n", ' class="a/"', "あ", "<p　>", "<spanあ>", "-", "!",
)  # fmt: skip


def by_pattern(html: str, deepest: int, most_repeated: int) -> str | None:
    """What is wrong with a page, by the rules as a few regular expressions say them."""
    depth = formatting = repeated = position = 0
    while tag := _TAG.search(html, position):
        comment, closing, name, rest = tag.groups()
        position = tag.end()
        if comment:
            end = html.find("-->", position)
            position = len(html) if end < 0 else end
            continue
        name = name.lower()
        step = -1 if closing else 1
        if name in bombs._FORMATTING:
            formatting = max(0, formatting + step)
        elif name in bombs._VERBATIM and not closing:
            end = html.lower().find(f"</{name}", position)
            position = len(html) if end < 0 else end
        elif name not in bombs._UNNESTED and not rest.endswith("/"):
            depth = max(0, depth + step)
        repeated += formatting
        if max(depth, formatting) > deepest:
            return "nested"
        if repeated > most_repeated:
            return "left open"
    return None


def test_the_walk_agrees_with_the_patterns(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    found = []
    for _ in range(3000):
        deepest, most = draw.randrange(1, 6), draw.randrange(1, 40)
        monkeypatch.setattr(bombs, "DEEPEST_NESTING", deepest)
        monkeypatch.setattr(bombs, "MOST_REPEATED_FORMATTING", most)
        html = "".join(draw.choices(_PARTS, k=draw.randrange(1, 60)))
        wrong = by_pattern(html, deepest, most) if html.count("<") > deepest else None
        found.append(wrong)
        if wrong is None:
            refuse_bombs(html)
        else:
            with pytest.raises(TooDeep, match=wrong):
                refuse_bombs(html)
    assert {None, "nested", "left open"} == set(found)


def test_every_known_name_is_recognised_in_any_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bombs, "DEEPEST_NESTING", 3)
    for name in (*bombs._UNNESTED, *bombs._VERBATIM):
        refuse_bombs(f"<{name}>" * 9)
        refuse_bombs(f"<{name.upper()} title='あ'>" * 9)
        with pytest.raises(TooDeep):
            refuse_bombs(f"<{name}x>" * 9)
