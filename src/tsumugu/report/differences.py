"""What differs between two texts, character by character, short enough to look at.

The greedy algorithm of Myers (An O(ND) Difference Algorithm and Its Variations, 1986) finds a
shortest script of deletions and insertions. Its time and memory grow with the square of the
number of differences, so it gives up at a limit: what stands between the common beginning and the
common end then counts as replaced. Crumbs of a few equal characters between two changes are read
as changed too, and long equal passages are left out.
"""

from dataclasses import dataclass
from typing import Literal

Kind = Literal["same", "deleted", "inserted", "omitted"]

_MOST_DIFFERENCES = 800
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
    path = _shortest_script(old, new, limit=_MOST_DIFFERENCES)
    if path is None:
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


def _shortest_script(old: str, new: str, *, limit: int) -> list[tuple[int, int]] | None:
    """Points (characters of `old`, of `new`) after every step and the equal characters behind it.

    The first is that of no step. None if more than `limit` steps are needed.
    """
    # On the diagonal k = x - y, how far in `old` the furthest path came with the steps so far;
    # `trace` remembers it for every number of steps.
    furthest = {1: 0}
    trace: list[dict[int, int]] = []
    for steps in range(min(limit, len(old) + len(new)) + 1):
        here: dict[int, int] = {}
        for k in range(-steps, steps + 1, 2):
            x = furthest[k + 1] if _inserts(furthest, k, steps) else furthest[k - 1] + 1
            y = x - k
            while x < len(old) and y < len(new) and old[x] == new[y]:
                x, y = x + 1, y + 1
            here[k] = x
            if x >= len(old) and y >= len(new):
                return _walk_back([*trace, here], k)
        trace.append(here)
        furthest = here
    return None


def _inserts(furthest: dict[int, int], k: int, steps: int) -> bool:
    """Whether the furthest path to diagonal `k` comes from above (an insertion) or the left."""
    return k == -steps or (k != steps and furthest[k - 1] < furthest[k + 1])


def _walk_back(trace: list[dict[int, int]], k: int) -> list[tuple[int, int]]:
    path = []
    for steps in range(len(trace) - 1, -1, -1):
        path.append((trace[steps][k], trace[steps][k] - k))
        if steps > 0:
            k += 1 if _inserts(trace[steps - 1], k, steps) else -1
    return path[::-1]
