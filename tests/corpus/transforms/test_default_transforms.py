"""What the default transforms change in a text, and what they leave alone."""

import doctest
import importlib
import pkgutil

import pytest

from tsumugu.corpus import transforms


@pytest.mark.parametrize("module", [module.name for module in pkgutil.iter_modules(transforms.__path__)])
def test_examples_in_docstrings(module: str) -> None:
    assert doctest.testmod(importlib.import_module(f"{transforms.__name__}.{module}")).failed == 0


def test_the_author_s_characters_are_not_normalised() -> None:
    text = "ｶﾀｶﾅ　①㍿ﬁ Ｔｓｕｍｕｇｕ e\u0301 「引用」～ か\u3099"
    assert transforms.apply([text])[0] == [text]


def test_invisible_characters_and_empty_lines_go() -> None:
    assert transforms.apply(["あ\u200bい\x00う \t\r\n\r\n\r\n\r\nえ\ufeff"])[0] == ["あいう\n\nえ"]


def test_what_is_masked_is_counted() -> None:
    text = "taro.yamada+web@mail.example.co.jp へ、または a@b へ、03-1234-5678 へ"
    (changed,), counts = transforms.apply([text])
    assert changed == "xxxx@example.jp へ、または a@b へ、00-0000-0000 へ"
    assert (counts["masked_emails"][0], counts["masked_phone_numbers"][0]) == (1, 1)
