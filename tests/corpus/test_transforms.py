"""What is changed in a text, and what is left alone."""

import doctest

import pytest

from tsumugu.corpus import transforms
from tsumugu.corpus.transforms import comparable, remove_foreign_paragraphs, transform


def test_examples_in_docstrings() -> None:
    assert doctest.testmod(transforms).failed == 0


def test_the_author_s_characters_are_not_normalised() -> None:
    text = "ｶﾀｶﾅ　①㍿ﬁ Ｔｓｕｍｕｇｕ e\u0301 「引用」～"
    assert transform(text).text == text


def test_invisible_characters_and_empty_lines_go() -> None:
    assert transform("あ\u200bい\x00う \t\r\n\r\n\r\n\r\nえ\ufeff").text == "あいう\n\nえ"


@pytest.mark.parametrize(
    "phone", ["03-1234-5678", "090-1234-5678", "0120-123-456", "(03) 1234-5678", "+81-3-1234-5678"]
)
def test_telephone_numbers_are_masked(phone: str) -> None:
    result = transform(f"電話は{phone}まで。")
    assert phone not in result.text
    assert result.masked_phone_numbers == 1


@pytest.mark.parametrize("text", ["2023-08-14", "1-2-3", "10.0.0.1", "ISBN 978-4-00-310101-8", "12345-678"])
def test_other_numbers_are_not_telephone_numbers(text: str) -> None:
    assert transform(text).text == text


def test_addresses_are_masked_and_counted() -> None:
    result = transform("taro.yamada+web@mail.example.co.jp へ、または a@b へ")
    assert result.text == "xxxx@example.jp へ、または a@b へ"
    assert result.masked_emails == 1


def test_untranslated_paragraphs_go_and_code_stays() -> None:
    text = (
        "設定の方法を説明します。はじめに、必要なパッケージを入れてください。うまくいかないときは、次の章を見てください。\n"
        "This paragraph has not been translated yet and it will therefore be removed.\n"
        "$ sudo apt-get install --no-install-recommends foo=1.2 bar=3.4 baz qux\n"
        "Debian のインストール"
    )
    kept, removed = remove_foreign_paragraphs(text)
    assert removed == 1
    assert "This paragraph" not in kept
    assert "apt-get" in kept


def test_a_page_that_is_hardly_japanese_is_left_for_the_rules() -> None:
    text = "日本語\nThis page is written in English from the first to the last of its many words."
    assert remove_foreign_paragraphs(text) == (text, 0)


def test_comparable_texts_ignore_width_case_and_spaces() -> None:
    assert comparable("ＡＢＣ　ｶﾅ\n\n x") == comparable("abc カナ\nX")


def test_hostile_text_takes_linear_time() -> None:
    for text in (
        "a" * 200_000 + "@",
        "0" * 200_000,
        "a.b-" * 50_000,
        "\t" * 200_000 + "x",
        "a@" + "b." * 100_000,
        " " * 200_000 + "x",
        "　" * 200_000 + "x",
        " \t" * 100_000 + "x",
    ):
        transform(text)
