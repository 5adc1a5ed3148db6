"""The gate lets every page through that can be Japanese."""

import time

import pytest

from conftest import html_page, japanese_text
from tsumugu.corpus.config import ExtractionConfig
from tsumugu.corpus.language_gate import kana_share

GATE = ExtractionConfig().language_gate


def test_japanese_passes_and_other_languages_do_not() -> None:
    assert kana_share(html_page(japanese_text(1))) > 0.3
    assert kana_share("<p>The quick brown fox jumps over the lazy dog.</p>" * 50 + "<a>日本語へ</a>") < GATE
    assert kana_share("<p>这是一个中文网页，没有假名。</p>") == 0
    assert kana_share("<p>이것은 한국어 페이지입니다.</p>") == 0
    assert kana_share("") == 0


@pytest.mark.parametrize("template", ["&#x{:x};", "&#X{:X};", "&#{};"])
def test_japanese_in_numeric_entities_passes(template: str) -> None:
    page = html_page("".join(template.format(ord(character)) for character in japanese_text(1)))
    assert kana_share(page) > 0.3


def test_scripts_styles_and_comments_do_not_count() -> None:
    noise = "<script>" + "var x = 1; " * 5000 + "</script><style>" + "a { b: c } " * 5000 + "</style>"
    page = f"<body>{noise}<p>これは日本語です。</p><!-- {'comment ' * 5000} -->{noise}</body>"
    assert kana_share(page) > 0.5
    assert kana_share("<script>'これは日本語です'</script><p>English</p>") == 0
    assert kana_share("<p>English</p><!-- これは日本語です") == 0


@pytest.mark.parametrize(
    "unit", ["<", "<script", "<script>", "<!--", "<style></style", "&#", "&#x3042", "< >"]
)
def test_hostile_repetition_costs_linear_time(unit: str) -> None:
    started = time.process_time()
    kana_share(unit * (1_000_000 // len(unit)))
    assert time.process_time() - started < 2
