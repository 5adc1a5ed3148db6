"""When two addresses are one, and how old a document is."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsumugu.corpus.dedup.urls import NO_DATE, canonical, timestamp


@pytest.mark.parametrize(
    "other",
    [
        "http://example.jp/a?id=3",
        "HTTPS://EXAMPLE.jp:443/a?id=3#top",
        "https://example.jp./%61?utm_source=mail&id=3&fbclid=x",
        " https://example.jp/a?id=3 ",
    ],
)
def test_what_does_not_change_the_page_is_left_out(other: str) -> None:
    assert canonical(other) == canonical("https://example.jp/a?id=3") == "example.jp/a?id=3"


@pytest.mark.parametrize(
    "other",
    [
        "https://example.jp/a",
        "https://example.jp/A?id=3",
        "https://www.example.jp/a?id=3",
        "https://example.jp:8080/a?id=3",
        "https://example.jp/a%2F?id=3",
        "https://example.jp/a?id=3&page=2",
    ],
)
def test_other_pages_stay_apart(other: str) -> None:
    assert canonical(other) != canonical("https://example.jp/a?id=3")


@pytest.mark.parametrize(
    "name", ["", "index.html", "/pages/a.html", "file:///a", "urn:x", "http://", "http://[x", "http://a:b/"]
)
def test_names_of_files_and_broken_addresses_are_no_addresses(name: str) -> None:
    assert canonical(name) is None


def test_japanese_paths_equal_their_escapes() -> None:
    assert canonical("http://例え.jp/日記") == canonical("http://例え.jp/%e6%97%a5%E8%A8%98")


def test_dates_are_compared_in_utc_and_may_be_missing() -> None:
    assert timestamp('{"date": "2024-01-31T09:00:00+09:00"}', "date") == timestamp(
        '{"date": "2024-01-31T00:00:00Z"}', "date"
    )
    assert timestamp('{"d": "2024-01-31"}', "d") < timestamp('{"d": "2024-02-01"}', "d")
    for metadata in ("{}", '{"date": "昨日"}', '{"date": 5}', None):
        assert timestamp(metadata, "date") == NO_DATE


@settings(max_examples=300, deadline=None)
@given(st.text("aZ0.-~/:@!;=%é日?&", max_size=20))
def test_a_plain_address_is_what_the_parser_makes_of_it(rest: str) -> None:
    # The empty fragment changes nothing, but only the parser knows that.
    address = "https://example.jp" + rest
    assert canonical(address) == canonical(address + "#")
