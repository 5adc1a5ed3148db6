"""Main text out of HTML, whatever the HTML."""

import contextlib
import time

import pytest

from conftest import html_page, japanese_text
from tsumugu.corpus.bombs import DEEPEST_NESTING, TooDeep
from tsumugu.corpus.extraction import canonical_address, extract_text
from tsumugu.corpus.markup import head_tags


def test_the_text_stays_and_the_navigation_goes() -> None:
    text = extract_text(html_page(japanese_text(3), title="旅の記録"))
    assert "旅の記録" in text
    assert all(line in text for line in japanese_text(3).split("\n"))
    assert "ホーム" not in text
    assert "Copyright" not in text


def test_a_truncated_page_gives_what_it_has() -> None:
    page = html_page(japanese_text(3))
    text = extract_text(page[: len(page) // 2])
    assert japanese_text(3).split("\n")[0] in text


def test_an_empty_anchor_of_xhtml_does_not_make_the_rest_of_the_page_a_link() -> None:
    steps = [f"手順{number}では設定を確かめてから次へ進みます。" for number in range(6)]
    sections = "".join(
        f'<div><h3><a class="t" id="s{number}" />題</h3><div><ul><li><p>{step}</p></li></ul></div></div>'
        for number, step in enumerate(steps)
    )
    text = extract_text(f"<html><body><div>{sections}</div></body></html>")
    assert [step for step in steps if step not in text] == []


def test_the_text_of_a_link_to_an_address_that_ends_in_a_slash_stays() -> None:
    line = "この章の本文です。<a href=http://example.jp/>港町の図書館</a>をご覧ください。"
    assert "港町の図書館をご覧ください。" in extract_text(f"<body><p>{line * 3}</p></body>")


@pytest.mark.parametrize("tag", ["div", "span", "blockquote", "x-custom"])
def test_a_page_nested_without_end_is_refused_at_once(tag: str) -> None:
    with pytest.raises(TooDeep, match="nested"):
        extract_text(f"<{tag}>" * 300_000 + "あ")


def test_many_elements_side_by_side_are_no_nesting() -> None:
    page = "<div><p>段落<br><li>" * 3 + "<div>文です。</div>" * (2 * DEEPEST_NESTING)
    assert "文です。" in extract_text(page)


def test_a_long_single_line_is_read() -> None:
    text = extract_text("<p>" + "日本語の文です。" * 200_000 + "</p>")
    assert len(text) == 1_600_000


def test_the_page_names_its_own_address() -> None:
    page = '<head><link href="https://example.jp/a?b=1&amp;c=2" rel="canonical"></head>'
    assert canonical_address(head_tags(page)) == "https://example.jp/a?b=1&c=2"
    assert canonical_address(head_tags("<head></head>")) == ""


def test_many_closed_elements_are_not_deep() -> None:
    svg = "<svg>" + "<path d='M0 0'/>" * 2500 + "</svg>"
    comment = "<!-- " + "<div>" * 2500 + " -->"
    script = "<script>" + "x = '<div>';" * 2500 + "</script>"
    for clutter in (svg, comment, script):
        assert "本文です。" in extract_text(f"<body>{clutter}<p>{'本文です。' * 20}</p></body>")


def test_formatting_that_is_left_open_over_many_blocks_is_refused() -> None:
    bomb = "<p>" + "".join(f"<font color=c{n}>" for n in range(1900)) + "<p>x</p>" * 5000
    with pytest.raises(TooDeep, match="left open"):
        extract_text(bomb)


def test_hostile_tags_take_linear_time() -> None:
    began = time.perf_counter()
    anchors = ("<a x='' " * 100_000, "<a" + " x=''" * 200_000, "<a" + " " * 1_000_000)
    tags = ("<!--" * 200_000, "<link rel=canonical " * 50_000, "<script>" * 100_000, "<" * 1_000_000)
    for page in (*anchors, *tags):
        canonical_address(head_tags(page))
        with contextlib.suppress(TooDeep):
            extract_text(page)
    assert time.perf_counter() - began < 20
