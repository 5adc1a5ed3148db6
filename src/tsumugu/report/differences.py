"""What differs between two texts, character by character, short enough to look at.

The greedy algorithm of Myers (An O(ND) Difference Algorithm and Its Variations, 1986) finds a
shortest script of deletions and insertions. Its time and memory grow with the square of the
number of differences, so it gives up at a limit: what stands between the common beginning and the
common end then counts as replaced. Crumbs of a few equal characters between two changes are read
as changed too, and long equal passages are left out.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numba import njit

Kind = Literal["same", "deleted", "inserted", "omitted"]

_MOST_DIFFERENCES = 2000
_CRUMB = 3
"""Characters. Equal runs up to this length between two changes say nothing to a reader."""
_CONTEXT = 60
"""Equal characters that are shown before and after a change."""


@dataclass(frozen=True)
class Passage:
    """A run of characters of one kind; an omitted one stands for `text` without showing it."""

    kind: Kind
    text: str


def differences(old: str, new: str) -> list[Passage]:
    """From `old` to `new`: same and deleted passages make up `old`, same and inserted ones `new`."""
    start = _common(old, new)
    end = _common(old[start:][::-1], new[start:][::-1])
    middle_old, middle_new = old[start : len(old) - end], new[start : len(new) - end]
    passages = [Passage("same", old[:start]), *_middle(middle_old, middle_new)]
    return _tidy([*passages, Passage("same", old[len(old) - end :])])


def shortened(passages: list[Passage], *, open_end: bool = False) -> list[Passage]:
    """The same with long equal passages left out but for the characters around changes.

    Args:
        open_end: both texts were cut, so a change at the very end may come from the cut alone.
    """
    if open_end:
        while passages and passages[-1].kind != "same":
            passages = passages[:-1]
    found = []
    for index, passage in enumerate(passages):
        before = _CONTEXT if index > 0 else 0
        after = _CONTEXT if index < len(passages) - 1 else 0
        if passage.kind != "same" or len(passage.text) <= before + after + _CONTEXT:
            found.append(passage)
            continue
        hidden = passage.text[before : len(passage.text) - after]
        found += [Passage("same", passage.text[:before]), Passage("omitted", hidden)]
        found.append(Passage("same", passage.text[len(passage.text) - after :] if after else ""))
    return [passage for passage in found if passage.text]


def _middle(old: str, new: str) -> list[Passage]:
    replaced = [Passage("deleted", old), Passage("inserted", new)]
    if not old or not new:
        return replaced
    codes = [np.frombuffer(text.encode("utf-32-le"), dtype=np.uint32) for text in (old, new)]
    path = _shortest_script(*codes, min(_MOST_DIFFERENCES, len(old) + len(new)))
    if len(path) == 0:
        return replaced
    passages = []
    x = y = 0
    for next_x, next_y in path:
        # A step is one deletion or one insertion, and then as many equal characters as follow.
        if next_x - x > next_y - y:
            passages.append(Passage("deleted", old[x]))
            x += 1
        elif next_y - y > next_x - x:
            passages.append(Passage("inserted", new[y]))
            y += 1
        passages.append(Passage("same", old[x:next_x]))
        x, y = next_x, next_y
    return passages


def _tidy(passages: list[Passage]) -> list[Passage]:
    """Crumbs swallowed; in every change one deletion, then one insertion; neighbours joined."""
    found: list[Passage] = []
    deleted = inserted = ""
    passages = [passage for passage in passages if passage.text]
    for index, passage in enumerate(passages):
        if passage.kind == "deleted":
            deleted += passage.text
        elif passage.kind == "inserted":
            inserted += passage.text
        elif len(passage.text) <= _CRUMB and 0 < index < len(passages) - 1 and (deleted or inserted):
            deleted, inserted = deleted + passage.text, inserted + passage.text
        else:
            found += [Passage("deleted", deleted), Passage("inserted", inserted), passage]
            deleted = inserted = ""
    found += [Passage("deleted", deleted), Passage("inserted", inserted)]
    return [passage for passage in found if passage.text]


def _common(one: str, other: str) -> int:
    """Length of the common beginning."""
    most = min(len(one), len(other))
    for index in range(most):
        if one[index] != other[index]:
            return index
    return most


@njit(cache=True)
def _shortest_script(old, new, limit):  # type: ignore[no-untyped-def]
    """Points (characters of old, of new) after every step and its diagonal: `int64 [steps + 1, 2]`.

    Empty when more than `limit` steps are needed.
    """
    # furthest[k + limit + 1] is how far in `old` the diagonal k = x - y was followed.
    furthest = np.zeros(2 * limit + 3, dtype=np.int32)
    trace = np.zeros((limit + 1) * (limit + 2) // 2 * 2, dtype=np.int32)
    for steps in range(limit + 1):
        for k in range(-steps, steps + 1, 2):
            place = k + limit + 1
            if k == -steps or (k != steps and furthest[place - 1] < furthest[place + 1]):
                x = furthest[place + 1]
            else:
                x = furthest[place - 1] + 1
            y = x - k
            while x < len(old) and y < len(new) and x >= 0 and y >= 0 and old[x] == new[y]:
                x += 1
                y += 1
            furthest[place] = x
            trace[steps * steps + steps + k] = x
            if x >= len(old) and y >= len(new):
                return _walk_back(trace, steps, k)
    return np.zeros((0, 2), dtype=np.int64)


@njit(cache=True)
def _walk_back(trace, steps, k):  # type: ignore[no-untyped-def]
    path = np.zeros((steps + 1, 2), dtype=np.int64)
    for step in range(steps, -1, -1):
        base = step * step + step
        path[step, 0] = trace[base + k]
        path[step, 1] = trace[base + k] - k
        if step == 0:
            break
        before = (step - 1) * (step - 1) + step - 1
        down = k == -step or (k != step and trace[before + k - 1] < trace[before + k + 1])
        k = k + 1 if down else k - 1
    return path
