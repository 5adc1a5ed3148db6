"""The one-page manual goes and its chapters stay, however many lines are compared at a time."""

import random
from pathlib import Path

import numpy as np
import pytest
from dedup_texts import measure

from tsumugu.corpus.config import DedupConfig
from tsumugu.corpus.dedup.contained import find_contained
from tsumugu.corpus.dedup.keys import SHORTEST_LINE
from tsumugu.corpus.dedup.normalising import comparable
from tsumugu.engine import Resources


def contained(
    folder: Path,
    texts: list[str],
    *,
    at_once: int = 10_000,
    block: int = 10**6,
    alive: list[bool] | None = None,
) -> list[bool]:
    measured = measure(folder, texts, DedupConfig(), per_shard=7)
    living = np.array([True] * len(texts) if alive is None else alive)
    found = find_contained(
        measured,
        living,
        share=0.6,
        work=folder / "work",
        resources=Resources(1),
        at_once=at_once,
        block_characters=block,
    )
    return [bool(one) for one in found]


def by_definition(texts: list[str], share: float, alive: list[bool]) -> list[bool]:
    """One pass over all documents from the shortest to the longest, with all lines in memory."""
    lines = [[line for line in comparable(text).split("\n") if len(line) >= SHORTEST_LINE] for text in texts]
    totals = [sum(map(len, own)) for own in lines]
    seen: set[str] = set()
    found = [False] * len(texts)
    for row in sorted(range(len(texts)), key=lambda row: (totals[row], row)):
        if not alive[row] or not totals[row]:
            continue
        known = sum(len(line) for line in lines[row] if line in seen)
        found[row] = known >= share * totals[row]
        if not found[row]:
            seen.update(lines[row])
    return found


def test_the_one_page_manual_goes_and_its_chapters_stay(tmp_path: Path) -> None:
    chapters = ["\n".join(f"第{n}章の{i}番目の文です。" for i in range(9)) for n in range(4)]
    assert contained(tmp_path, ["\n".join(chapters), *chapters]) == [True, False, False, False, False]


def test_a_document_that_shares_little_stays(tmp_path: Path) -> None:
    common = "共通の注意書きがここに入ります。\n"
    assert contained(tmp_path, [common + "a" * 40, common + "b" * 40, ""]) == [False, False, False]


@pytest.mark.parametrize(("at_once", "block"), [(40, 10**6), (40, 300), (10_000, 1), (10_000, 10**6)])
@pytest.mark.parametrize("seed", range(4))
def test_divided_lines_give_what_one_memory_gives(
    tmp_path: Path, seed: int, at_once: int, block: int
) -> None:
    draw = random.Random(seed)
    lines = [f"これは{number}番目の行であり、どこかで繰り返される。" for number in range(60)]
    texts = ["\n".join(draw.choices(lines, k=draw.randrange(12))) for _ in range(60)]
    alive = [draw.random() < 0.9 for _ in texts]
    expected = by_definition(texts, 0.6, alive)
    assert 5 < sum(expected) < 55
    assert contained(tmp_path, texts, at_once=at_once, block=block, alive=alive) == expected


def test_what_is_contained_itself_contains_nothing(tmp_path: Path) -> None:
    parts = ["\n".join(f"部品{n}の{i}行目の説明文です。" for i in range(10)) for n in range(3)]
    extra = "\n".join(f"追記の{i}行目の説明文です。" for i in range(12))
    # The middle one is contained in the first two; the last has only the extra lines of it.
    middle = parts[0] + "\n" + parts[1] + "\n" + extra[: len(extra) // 2]
    last = extra + "\n" + "\n".join(f"固有の{i}行目の説明文です。" for i in range(14))
    texts = [*parts, middle, last]
    assert (
        contained(tmp_path, texts)
        == by_definition(texts, 0.6, [True] * 5)
        == [False, False, False, True, False]
    )
