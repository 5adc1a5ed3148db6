"""Any list of transforms over a batch: names, counters, order, idempotence, hostile text."""

import re
import subprocess
import sys
import time
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsumugu.corpus.signals.batch import code_points
from tsumugu.corpus.transforms import (
    COUNTERS,
    DEFAULT_TRANSFORMS,
    CounterName,
    TransformName,
    apply,
    applying,
)
from tsumugu.corpus.transforms.applying import TRANSFORMS
from tsumugu.corpus.transforms.digits import has_long_number

NAMES: tuple[TransformName, ...] = get_args(TransformName)

# Pieces that transforms look for, so that hypothesis puts them beside each other.
PIECES = [
    *"あ漢ア。、，．aZ0９ \t\n\r\u3000@＠.-ー+(（)）[]<>:/〒|_ã‚縺ゅ｡\u00ad\u0081\x00\u200b\ufffd\ufeff",
    "0", "03", "090", "0120", "-1234-5678", "(045)", "+81-3-", "+1 650 555 0123", "TEL", "0312345678",
    "taro@example.org", "a@b", ".c_d@e.fg", "＠ｅｘａｍｐｌｅ．ｊｐ", "153.120.44.18",
    "2400:8500:1301::a1",
    "123456789018", "1234 5678 9018", "4111 1111 1111 1111", "378282246310005",
    "〒604-8571 京都府京都市中京区488番地", "１丁目", "ホーム", "検索", " > ", "トップページへ戻る",
    "[ < 前 ] [ 上へ ] []",
    "Copyright 2020", "All rights reserved", "[D]", "\xa0 \xa0", "https://example.org/a", "x" * 60,
    "This paragraph has not been translated into Japanese yet.", "x = y[1];\n" * 3, "}\n",
    "これは日本語の文です。",
    "ã\x81“ã‚“", "縺薙ｓ縺ｫ縺｡縺ｯ", "Ã©", "一．", "３．１４", "\U0001f3f4\U000e0067\U000e007f",
    "xxxx@yyy.jp",
]  # fmt: skip
TEXTS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=40).map("".join), st.text(max_size=60))


def test_every_name_has_a_transform_and_its_counters() -> None:
    assert set(NAMES) == set(TRANSFORMS) == set(COUNTERS)
    assert {counter for counters in COUNTERS.values() for counter in counters} == set(get_args(CounterName))
    assert set(DEFAULT_TRANSFORMS) <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_each_transform_returns_as_many_counts_as_it_names(name: TransformName) -> None:
    for text in ("", "あ", "\n", "電話は03-1234-5678、taro@example.org"):
        assert len(TRANSFORMS[name](text)[1]) == len(COUNTERS[name])


def test_columns_belong_to_the_named_transforms_and_to_their_documents() -> None:
    texts, columns = apply(
        ["03-1234-5678", "なし", "a@example.org と b@example.org"], ["personal_information"]
    )
    assert texts == ["00-0000-0000", "なし", "xxxx@example.jp と xxxx@example.jp"]
    assert set(columns) == set(COUNTERS["personal_information"])
    assert columns["masked_emails"].tolist() == [0, 0, 2]
    assert columns["masked_phone_numbers"].tolist() == [1, 0, 0]


def test_transforms_run_in_the_order_given() -> None:
    assert apply(["090－1234－5678"], ["hojichar_mask"])[0] == ["090－1234－5678"]
    assert apply(["090－1234－5678"], ["nfkc", "hojichar_mask"])[0] == ["090-1234-XXXX"]
    assert apply(["090－1234－5678"], ["hojichar_mask", "nfkc"])[0] == ["090-1234-5678"]


def test_counts_of_the_same_thing_are_added() -> None:
    _, columns = apply(["a@example.org"], ["personal_information", "hojichar_mask"])
    assert columns["masked_emails"].tolist() == [2]


def test_no_documents_and_no_transforms() -> None:
    texts, columns = apply([], DEFAULT_TRANSFORMS)
    assert texts == []
    assert all(column.shape == (0,) for column in columns.values())
    assert apply(["　あ "], []) == (["　あ "], {})


@pytest.mark.parametrize("name", [name for name in NAMES if name != "hojichar_mask"])
def test_twice_is_once(name: TransformName) -> None:
    transform = TRANSFORMS[name]

    @settings(max_examples=150)
    @given(TEXTS)
    def check(text: str) -> None:
        once, _ = transform(text)
        assert transform(once)[0] == once

    check()


def test_hojichar_s_mask_is_the_exception() -> None:
    once = TRANSFORMS["hojichar_mask"]("taro@example.org.c_d@e.fgtaro@example.org")[0]
    assert TRANSFORMS["hojichar_mask"](once)[0] != once


@settings(max_examples=150)
@given(TEXTS)
def test_a_text_for_which_nothing_is_counted_by_masks_is_unchanged(text: str) -> None:
    masked, counts = TRANSFORMS["personal_information"](text)
    assert (masked == text) or sum(counts) > 0


def test_the_names_cost_no_import_of_machinery() -> None:
    program = (
        "import sys, tsumugu.corpus.transforms as t; t.DEFAULT_TRANSFORMS; "
        "assert not {'numba', 'ftfy', 'numpy'} & set(sys.modules), sys.modules.keys()"
    )
    subprocess.run([sys.executable, "-c", program], check=True)


SIZE = 200_000
HOSTILE = {
    "letters": "a",
    "digits": "0",
    "at signs": "@",
    "dots": "a.",
    "addresses": "a@",
    "address without end": "a@b.",
    "spaces and tabs": " \t",
    "brackets": "(",
    "full-width brackets": "（0",
    "square brackets": "[",
    "links": "[ < ",
    "links in brackets": "[ < x ]",
    "empty lines": "\n",
    "blank lines": " \n",
    "carriage returns": "\r",
    "ideographic spaces": "\u3000",
    "no-break spaces": "\xa0 ",
    "mojibake": "ã‚’",
    "half mojibake": "Ã",
    "Windows-31J mojibake": "縺",
    "replacement characters": "\ufffd",
    "soft hyphens": "\xad",
    "nested mojibake": "ã\x00\x81\x00",
    "commas": "あ，",
    "periods": "一．",
    "full-width numbers": "３．",
    "URLs": "あhttp://",
    "section numbers": "1.",
    "IPv6": "2001:",
    "colons": ":",
    "country codes": "+81",
    "zeros and hyphens": "0-",
    "phones without end": "03-1234-",
    "long vowels": "0ー",
    "cards": "4111 ",
    "postal marks": "〒",
    "addresses without number": "〒100-0001東京都あ",
    "flags": "\U0001f3f4\U000e0061",
    "code": "{\n",
    "words": "ab ",
    "breadcrumbs": "ホーム > ",
    "copyright": "copyright ",
}


@pytest.mark.parametrize("name", NAMES)
def test_hostile_text_takes_linear_time(name: TransformName) -> None:
    """200,000 characters: quadratic time would be hours; here, milliseconds of CPU per text."""
    transform = TRANSFORMS[name]
    transform("あ\n" * 10)  # numba compiles
    transform("ã‚’")  # ftfy is imported
    slow: dict[str, float] = {}
    for title, piece in HOSTILE.items():
        text = piece * (SIZE // len(piece))
        for variant in (text, "あ" + text, text + "x"):
            start = time.process_time()
            transform(variant)
            slow[title] = max(slow.get(title, 0.0), time.process_time() - start)
    assert max(slow.values()) < 3, {title: seconds for title, seconds in slow.items() if seconds >= 3}


@pytest.mark.parametrize("piece", ["a", "0", "@", "a.", " \t", "(", "（0", "あ"])
def test_a_megabyte_of_one_thing_passes_all_default_transforms_in_seconds(piece: str) -> None:
    text = piece * (1_000_000 // len(piece)) + "x"
    start = time.process_time()
    apply([text], DEFAULT_TRANSFORMS)
    assert time.process_time() - start < 10


@pytest.mark.parametrize("name", list(applying._MAY_CHANGE))
@settings(max_examples=200, deadline=None)
@given(texts=st.lists(TEXTS, min_size=1, max_size=5))
def test_a_transform_changes_no_text_that_it_is_not_shown(name: TransformName, texts: list[str]) -> None:
    shown = applying._MAY_CHANGE[name](*code_points(texts))
    for text, is_shown in zip(texts, shown.tolist(), strict=True):
        assert is_shown or TRANSFORMS[name](text)[0] == text


def test_plain_texts_are_not_shown() -> None:
    codes, offsets = code_points(["これは日本語の文です。"])
    assert not any(may_change(codes, offsets)[0] for may_change in applying._MAY_CHANGE.values())


@settings(max_examples=500, deadline=None)
@given(st.text("0123４５６-ー (）.a\n", max_size=40))
def test_long_numbers_are_those_of_a_pattern(text: str) -> None:
    found = re.search(r"[0-9０-９](?:[-‐‑‒–—―−－ｰー \u3000.()（）]{0,3}[0-9０-９]){8}", text)
    assert has_long_number(text) == (found is not None)
