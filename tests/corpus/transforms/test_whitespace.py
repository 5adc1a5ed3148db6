"""White space is tidied where nobody would miss it."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsumugu.corpus.transforms.whitespace import tidy_whitespace


def tidy(text: str) -> str:
    return tidy_whitespace(text)[0]


def test_ideographic_spaces_indent_paragraphs_and_stay() -> None:
    assert tidy("　吾輩は猫である。\n　名前　は") == "　吾輩は猫である。\n　名前　は"


@pytest.mark.parametrize("space", [" ", "\t", "\u3000", "\xa0", "\u2003", " \t\u3000 "])
def test_spaces_at_line_ends_go(space: str) -> None:
    assert tidy(f"一行目{space}\n二行目{space}") == "一行目\n二行目"


@pytest.mark.parametrize("run", ["\t", " \t", "\t ", "  \t\t  \t "])
def test_a_run_with_a_tab_is_one_space(run: str) -> None:
    assert tidy(f"品名{run}値段    円") == "品名 値段    円"


def test_at_most_one_line_in_a_row_is_empty() -> None:
    assert tidy("\n\n一\n\n\n\n二\n \n\u3000\n三\n") == "一\n\n二\n\n三"


@settings(max_examples=300)
@given(st.text("あa \t\n\u3000\xa0", max_size=60))
def test_only_white_space_is_ever_changed(text: str) -> None:
    assert "".join(tidy(text).split()) == "".join(text.split())


@settings(max_examples=300, deadline=None)
@given(st.text("あ \n\u3000\xa0\x1c", max_size=60))
def test_lines_are_tidied_as_a_pattern_would(text: str) -> None:
    stripped = re.sub(r"[^\S\n]+(?=\n|\Z)", "", text)
    assert tidy(text) == re.sub(r"\n{3,}", "\n\n", stripped).strip("\n")
