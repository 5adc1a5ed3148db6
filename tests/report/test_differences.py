"""Differences: nothing lost, nothing invented, and as short as they can be."""

import random
import time
from functools import cache

from tsumugu.report.differences import Passage, _shortest_script, differences, shortened

OLD = "昨日、港町で会った祖母は、古い地図を見せてくれた。とても楽しい時間だった。"
NEW = "昨日、図書館で会った祖母は、白い帆船を見せてくれた。とても楽しい時間だった。"


def sides(passages: list[Passage]) -> tuple[str, str]:
    return (
        "".join(one.text for one in passages if one.kind != "inserted"),
        "".join(one.text for one in passages if one.kind != "deleted"),
    )


def distance(old: str, new: str) -> int:
    """Insertions and deletions, by the textbook's recursion."""

    @cache
    def go(x: int, y: int) -> int:
        if x == 0 or y == 0:
            return x + y
        if old[x - 1] == new[y - 1]:
            return go(x - 1, y - 1)
        return 1 + min(go(x - 1, y), go(x, y - 1))

    return go(len(old), len(new))


def test_changed_words_are_marked() -> None:
    assert differences(OLD, NEW) == [
        Passage("same", "昨日、"),
        Passage("deleted", "港町"),
        Passage("inserted", "図書館"),
        Passage("same", "で会った祖母は、"),
        Passage("deleted", "古い地図"),
        Passage("inserted", "白い帆船"),
        Passage("same", "を見せてくれた。とても楽しい時間だった。"),
    ]


def test_both_texts_can_be_read_back_from_any_pair() -> None:
    draw = random.Random(0)
    for letters in ("あい", "あいうえお紡𠮷😀"):
        for _ in range(300):
            old = "".join(draw.choices(letters, k=draw.randrange(40)))
            new = "".join(draw.choices(letters, k=draw.randrange(40)))
            assert sides(differences(old, new)) == (old, new)


def test_the_script_is_a_shortest_one() -> None:
    draw = random.Random(1)
    for _ in range(200):
        old, new = ("".join(draw.choices("あいう", k=draw.randrange(1, 25))) for _ in range(2))
        path = _shortest_script(old, new, limit=100)
        assert path is not None
        assert len(path) - 1 == distance(old, new)


def test_equal_and_empty_texts() -> None:
    assert differences(OLD, OLD) == [Passage("same", OLD)]
    assert differences("", OLD) == [Passage("inserted", OLD)]
    assert differences(OLD, "") == [Passage("deleted", OLD)]
    assert differences("", "") == []


def test_long_equal_passages_are_left_out_and_can_be_counted() -> None:
    before, after = "あ" * 500, "い" * 500
    passages = shortened(differences(before + "古い" + after, before + "新たな" + after))
    assert [one.kind for one in passages] == ["omitted", "same", "deleted", "inserted", "same", "omitted"]
    assert sum(len(one.text) for one in passages if one.kind in ("same", "omitted")) == 1000
    assert len(passages[1].text) == 60


def test_a_change_at_an_end_that_was_cut_is_not_shown() -> None:
    passages = differences("前文と本文。" + "続きは長い", "本文。" + "続きは長いので切る")
    assert shortened(passages, open_end=True)[-1].kind == "same"


def test_texts_without_anything_in_common_do_not_take_forever() -> None:
    draw = random.Random(2)
    old, new = ("".join(chr(draw.randrange(0x4E00, 0x9000)) for _ in range(4000)) for _ in range(2))
    began = time.perf_counter()
    assert differences(old, new) == [Passage("deleted", old), Passage("inserted", new)]
    assert time.perf_counter() - began < 10
