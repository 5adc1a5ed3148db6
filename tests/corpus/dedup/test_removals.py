"""What is cut from texts: repeated lines and paragraphs, and repeated passages."""

import itertools
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dedup_texts import decisions

from conftest import japanese_text
from tsumugu.corpus.config import DedupConfig, RepeatedLines, RepeatedSubstrings
from tsumugu.corpus.dedup.removing import cut_spans
from tsumugu.corpus.dedup.substrings import mark_substrings
from tsumugu.corpus.signals.batch import code_points

MENU = "[ << 基礎となるコンセプト ] [トップ][目次][インデックス][ 次へ >> ]"


def config(**changes: Any) -> DedupConfig:
    return DedupConfig(urls=False, contained_share=None, **{"repeated_lines": None, **changes})


def cut(texts: list[str], decided: list[dict[str, Any]]) -> list[str]:
    return [cut_spans(text, row["removals"]) for text, row in zip(texts, decided, strict=True)]


def test_navigation_goes_from_all_documents_but_the_first(tmp_path: Path) -> None:
    bodies = [japanese_text(number, sentences=6) for number in range(60)]
    texts = [f"{MENU}\n{body}\n{MENU.replace('[', '［')}" for body in bodies]
    decided = decisions(tmp_path, texts, config(repeated_lines=RepeatedLines(max_documents=50)), per_shard=7)
    result = cut(texts, decided)
    assert result[0] == texts[0]
    assert result[1:] == [f"{body}\n" for body in bodies[1:]]
    assert all(row["reason"] is None for row in decided)


def test_lines_in_just_enough_documents_stay(tmp_path: Path) -> None:
    texts = [f"{MENU}\n{japanese_text(number, sentences=6)}" for number in range(50)]
    # Twice in a document counts once.
    texts[3] = f"{MENU}\n{texts[3]}"
    decided = decisions(tmp_path, texts, config(repeated_lines=RepeatedLines(max_documents=50)))
    assert not any(row["removals"] for row in decided)


def test_short_lines_and_the_lines_of_dropped_documents_do_not_count(tmp_path: Path) -> None:
    texts = [f"目次へ戻る\n{MENU}\n{japanese_text(number, sentences=6)}" for number in range(12)]
    reasons = ["too_short" if number % 2 else "" for number in range(12)]
    decided = decisions(
        tmp_path,
        texts,
        config(repeated_lines=RepeatedLines(max_documents=6)),
        columns={"reason": reasons},
    )
    assert not any(row["removals"] for row in decided)
    assert [row["reason"] or "" for row in decided] == reasons


def test_paragraphs_are_cut_with_the_empty_lines_after_them(tmp_path: Path) -> None:
    notice = "この文書は自由に複製できます。\n詳しくは付録を見てください。"
    bodies = [japanese_text(number, sentences=6) for number in range(10)]
    texts = [f"題名\n\n{notice}\n\n\n{body}" for body in bodies]
    # One line of the paragraph alone is not the paragraph.
    texts[5] = f"題名\n\n{notice.splitlines()[0]}\n\n{bodies[5]}"
    lines = RepeatedLines(unit="paragraph", max_documents=4)
    result = cut(texts, decisions(tmp_path, texts, config(repeated_lines=lines)))
    assert [result[0], result[5]] == [texts[0], texts[5]]
    assert result[1] == f"題名\n\n{bodies[1]}"


def test_a_document_of_which_nothing_is_left_is_dropped(tmp_path: Path) -> None:
    others = [f"{MENU}\n{japanese_text(number, sentences=6)}" for number in range(10)]
    texts = [*others, f"{MENU}\n \n{MENU}"]
    decided = decisions(tmp_path, texts, config(repeated_lines=RepeatedLines(max_documents=5)))
    assert decided[-1]["reason"] == "only_repeats"
    assert decided[-1]["removals"] == []


def by_definition(texts: list[str], size: int) -> list[str]:
    """Every window that equals one further ahead, not overlapping it, is cut."""
    everything = [
        (document, place) for document, text in enumerate(texts) for place in range(len(text) - size + 1)
    ]
    first: dict[str, tuple[int, int]] = {}
    marked = [[False] * len(text) for text in texts]
    for document, place in everything:
        window = texts[document][place : place + size]
        where = first.setdefault(window, (document, place))
        if where[0] < document or where[1] + size <= place:
            marked[document][place : place + size] = [True] * size
    return [
        "".join(character for character, gone in zip(text, marks, strict=True) if not gone)
        for text, marks in zip(texts, marked, strict=True)
    ]


@pytest.mark.parametrize("seed", range(20))
def test_substrings_against_the_definition(seed: int) -> None:
    draw = random.Random(seed)
    texts = ["".join(draw.choices("あい𠮷", k=draw.randrange(60))) for _ in range(12)]
    texts += [draw.choice(texts) + draw.choice(texts) for _ in range(6)]
    for size in (4, 7, 15):
        codes, offsets = code_points(texts)
        marks = np.zeros(len(codes), dtype=np.bool_)
        mark_substrings(codes, offsets, size=size, cut=marks)
        kept = [
            codes[start:end][~marks[start:end]].tobytes().decode("utf-32-le")
            for start, end in itertools.pairwise(offsets)
        ]
        assert kept == by_definition(texts, size)


def test_a_quoted_passage_stays_where_it_stood_first(tmp_path: Path) -> None:
    passage = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 4
    texts = [f"始め{passage}終わり", f"引用すると、{passage}と書いてある。", japanese_text(1)]
    settings = config(repeated_substrings=RepeatedSubstrings(min_characters=100))
    decided = decisions(tmp_path, texts, settings, per_shard=1)
    assert cut(texts, decided) == [texts[0], "引用すると、と書いてある。", texts[2]]
    assert decided[1]["removals"] == [{"start": 6, "end": 6 + len(passage)}]


def test_copies_in_other_groups_of_shards_are_not_seen(tmp_path: Path) -> None:
    passage = "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。" * 4
    texts = [f"始め{passage}終わり", f"引用すると、{passage}と書いてある。"]
    settings = config(repeated_substrings=RepeatedSubstrings(min_characters=100, group_characters=10))
    assert not any(row["removals"] for row in decisions(tmp_path, texts, settings, per_shard=1))


def test_every_repeated_line_still_stands_somewhere(tmp_path: Path) -> None:
    draw = random.Random(0)
    sentences = [line for number in range(40) for line in japanese_text(number, sentences=3).split("\n")]
    texts = ["\n".join(draw.sample(sentences, 8)) for _ in range(80)]
    decided = decisions(tmp_path, texts, config(repeated_lines=RepeatedLines(max_documents=2)))
    assert sum(len(row["removals"]) for row in decided) > 50
    left = {line for text in cut(texts, decided) for line in text.split("\n")}
    assert {line for text in texts for line in text.split("\n")} <= left
