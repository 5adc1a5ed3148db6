"""The fast normalisation is the slow one, character by character and in any company."""

import itertools
import random
import unicodedata
from collections.abc import Sequence

from tsumugu.corpus.dedup.normalising import comparable, comparable_codes


def fast(texts: Sequence[str]) -> list[str]:
    codes, offsets = comparable_codes(texts)
    return [
        codes[start:end].tobytes().decode("utf-32-le", "surrogatepass")
        for start, end in itertools.pairwise(offsets)
    ]


def test_every_code_point_becomes_what_python_makes_of_it() -> None:
    texts = [chr(code) for code in range(0x110000)]
    assert fast(texts) == [comparable(text) for text in texts]


def test_characters_that_join_others_do_so() -> None:
    texts = [
        "ﾊﾞﾗとﾊﾟﾝ",
        "か\u3099き\u3099",
        "e\u0301\u0323",
        "\u1100\u1161\u11a8",
        "がａ\u0301",
        "",
        "\n\n",
        "①㌔ﬁ",
    ]
    assert fast(texts) == [comparable(text) for text in texts]
    assert fast(["ﾊﾞﾗ"]) == ["バラ"]


def test_random_strings_from_all_of_unicode() -> None:
    draw = random.Random(0)
    assigned = [code for code in range(0x110000) if unicodedata.category(chr(code)) != "Cn"]
    # Half of them from where most characters change or join.
    strange = [code for code in assigned if code < 0x3400 or 0xF900 <= code <= 0xFFFF]
    texts = [
        "".join(chr(draw.choice(draw.choice((assigned, strange)))) for _ in range(draw.randrange(8)))
        for _ in range(20_000)
    ]
    assert fast(texts) == [comparable(text) for text in texts]


def test_line_ends_stay_and_other_white_space_goes() -> None:
    assert comparable(" 一　行\t目 \r\n\n二\u2028行目") == "一行目\n\n二行目"
