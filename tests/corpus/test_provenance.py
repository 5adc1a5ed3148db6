"""What a page says about its origin, its licence and its use."""

from pathlib import Path

import pytest

from tsumugu.corpus.config import Input
from tsumugu.corpus.inputs import InputFile
from tsumugu.corpus.provenance import PROVENANCE_SIGNALS, license_id, provenance
from tsumugu.corpus.records import Page

FILE = InputFile(Input(path="x", source="x", license="x"), "x", "x", "html", 1, "1")


def marks(
    head: str = "", body: str = "", *, url: str = "", metadata: dict[str, str] | None = None, **headers: str
) -> tuple[dict[str, str], dict[str, float]]:
    text = f"<html><head>{head}</head><body>{body}</body></html>"
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return provenance(Page(FILE, 0, text, url, is_html=True, metadata=metadata or {}, headers=names))


def opted_out(head: str = "", **headers: str) -> set[str]:
    _, signals = marks(head, "", url="", metadata=None, **headers)
    assert tuple(signals) == PROVENANCE_SIGNALS
    assert set(signals.values()) <= {0.0, 1.0}
    return {name.removeprefix("opt_out_") for name, value in signals.items() if value}


def test_a_page_that_says_nothing_has_no_marks() -> None:
    metadata, signals = marks("<title>猫</title>", "<p>吾輩は猫である。</p>")
    assert metadata == {}
    assert signals == dict.fromkeys(PROVENANCE_SIGNALS, 0.0)


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        ('<meta name="robots" content="index, follow">', set()),
        ('<meta name="robots" content="noindex">', {"noindex"}),
        ('<META NAME="ROBOTS" CONTENT="NOINDEX,NOFOLLOW">', {"noindex"}),
        ("<meta content='none' name='robots'>", {"noindex"}),
        ("<meta name=robots content=noai>", {"noai"}),
        ('<meta name="robots" content="noai, noimageai">', {"noai"}),
        ('<meta name="robots" content="noimageai">', {"noai"}),
        ('<meta name="GPTBot" content="noindex">', {"noai"}),
        ('<meta name="CCBot" content="none">', {"noai"}),
        ('<meta name="CCBot" content="nofollow">', set()),
        ('<meta name="googlebot" content="noindex">', set()),
        ('<meta name="tdm-reservation" content="1">', {"tdm"}),
        ('<meta name="tdm-reservation" content="0">', set()),
        ('<!-- <meta name="robots" content="noai,noindex"> -->', set()),
        ('<script>var x = \'<meta name="robots" content="noindex">\';</script>', set()),
        ('<meta name="description" content="noindex と noai について">', set()),
        ('<div></div><meta name="robots" content="noindex">', {"noindex"}),
    ],
)
def test_opt_outs_in_the_page(head: str, expected: set[str]) -> None:
    assert opted_out(head) == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("noindex", {"noindex"}),
        ("NoAI", {"noai"}),
        ("noindex, nofollow, noai", {"noai", "noindex"}),
        ("googlebot: noindex, nofollow", set()),
        ("gptbot: noindex", {"noai"}),
        ("otherbot: noindex, nofollow\nnoai", {"noai"}),
        ("unavailable_after: 25 Jun 2040 15:00:00 PST, noindex", {"noindex"}),
        ("max-snippet:-1, max-image-preview: large", set()),
    ],
)
def test_opt_outs_in_the_robots_header(value: str, expected: set[str]) -> None:
    assert opted_out(x_robots_tag=value) == expected


def test_a_reservation_of_text_and_data_mining_in_the_header() -> None:
    assert opted_out(tdm_reservation="1") == {"tdm"}
    assert opted_out(tdm_reservation="0") == set()
    metadata, _ = marks(tdm_reservation="1", tdm_policy="https://example.jp/policy.json")
    assert metadata["tdm_policy"] == "https://example.jp/policy.json"


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://creativecommons.org/licenses/by/4.0/", "CC-BY-4.0"),
        ("http://creativecommons.org/licenses/by-sa/4.0/deed.ja", "CC-BY-SA-4.0"),
        ("https://creativecommons.org/licenses/by/4.0/legalcode.ja", "CC-BY-4.0"),
        ("//www.creativecommons.org/licenses/BY-NC-ND/3.0", "CC-BY-NC-ND-3.0"),
        ("http://creativecommons.org/licenses/by-nd-nc/1.0/", "CC-BY-NC-ND-1.0"),
        ("http://creativecommons.org/licenses/by/2.1/jp/", "CC-BY-2.1-JP"),
        ("http://creativecommons.org/licenses/by-nc-sa/3.0/igo/", "CC-BY-NC-SA-3.0-IGO"),
        ("https://creativecommons.org/publicdomain/zero/1.0/deed.ja", "CC0-1.0"),
        ("https://creativecommons.org/publicdomain/mark/1.0/", "CC-PDM-1.0"),
        ("https://www.apache.org/licenses/LICENSE-2.0.html", "Apache-2.0"),
        ("https://opensource.org/licenses/MIT", "MIT"),
        ("https://creativecommons.org/", None),
        ("https://creativecommons.org/licenses/", None),
        ("https://creativecommons.org/licenses/gibberish/4.0/", None),
        ("https://example.jp/?u=creativecommons.org/licenses/by/4.0", None),
        ("https://notcreativecommons.org/licenses/by/4.0", None),
        ("all rights reserved", None),
    ],
)
def test_licences_become_spdx_ids_where_there_is_no_doubt(url: str, name: str | None) -> None:
    assert license_id(url) == name


CC = "https://creativecommons.org/licenses/by/4.0/"


@pytest.mark.parametrize(
    ("head", "body", "declared", "linked"),
    [
        ("", f'<a rel="license" href="{CC}">CC</a>', "CC-BY-4.0", "CC-BY-4.0"),
        ("", f"<a href='{CC}' rel='noopener license'>CC</a>", "CC-BY-4.0", "CC-BY-4.0"),
        (f'<link rel=license href="{CC}">', "", "CC-BY-4.0", "CC-BY-4.0"),
        (f'<meta name="DC.rights" content="{CC}">', "", "CC-BY-4.0", ""),
        (f'<script type="application/ld+json">{{"license": "{CC}"}}</script>', "", "CC-BY-4.0", ""),
        ('<meta name="dcterms.rights" content="© 猫 出版">', "", "©_猫_出版", ""),
        ("", f'<p>写真: <a href="{CC}deed.ja">CC BY</a></p>', "", "CC-BY-4.0"),
        ("", f"<p>{CC} という文字</p>", "", ""),
        ("", '<a href="https://creativecommons.org/about">CC とは</a>', "", ""),
        ("", "<p>License: rel=license と書く</p>", "", ""),
        ("", '<a rel="license" href="/licenses.html">利用条件</a>', "/licenses.html", ""),
    ],
)
def test_what_is_declared_and_what_is_only_linked_stand_apart(
    head: str, body: str, declared: str, linked: str
) -> None:
    metadata, signals = marks(head, body)
    assert metadata.get("license_declared", "") == declared
    assert metadata.get("license_linked", "") == linked
    assert signals["creative_commons"] == float("CC-" in declared + linked)


def test_dates_are_iso_in_utc() -> None:
    metadata, _ = marks(
        '<meta property="article:published_time" content="2024-01-02T03:04:05+09:00">',
        last_modified="Fri, 09 Aug 2013 23:54:35 GMT",
        date="Sat, 10 Aug 2013 00:00:00 GMT",
    )
    assert metadata["published"] == "2024-01-01T18:04:05Z"
    assert metadata["modified"] == "2013-08-09T23:54:35Z"
    assert metadata["fetched"] == "2013-08-10T00:00:00Z"


def test_the_archives_date_comes_before_the_servers() -> None:
    metadata, _ = marks(metadata={"fetched": "2024-05-06T07:08:09Z"}, date="Sat, 10 Aug 2013 00:00:00 GMT")
    assert metadata["fetched"] == "2024-05-06T07:08:09Z"


@pytest.mark.parametrize(
    "date", ["昨日", "2024-13-45", "", "9999999999", "Mon, 99 Foo 2013 00:00:00 GMT", "\0"]
)
def test_a_date_that_is_none_is_left_out(date: str) -> None:
    metadata, _ = marks(f'<meta name="date" content="{date}">', last_modified=date, date=date)
    assert not {"published", "modified", "fetched"} & set(metadata)


def test_the_language_is_the_declared_one() -> None:
    page = Page(FILE, 0, '<html lang="ja-JP"><p>x</p>', "", is_html=True)
    assert provenance(page)[0]["language"] == "ja-JP"
    assert marks('<meta http-equiv="Content-Language" content="ja">')[0]["language"] == "ja"
    assert marks(content_language="ja")[0]["language"] == "ja"
    assert "language" not in marks(content_language='"><script>')[0]


def test_the_pages_own_address() -> None:
    def canonical(href: str) -> str | None:
        link = f'<link rel="canonical" href="{href}">'
        return marks(link, url="https://example.jp/a/b?c=1")[0].get("canonical_url")

    assert canonical("https://example.jp/x?a=1&amp;b=2") == "https://example.jp/x?a=1&b=2"
    assert canonical("/b") == "https://example.jp/b"
    assert canonical("javascript:alert(1)") is None
    assert canonical("http://[broken") is None


@pytest.mark.parametrize(
    "unit",
    [
        "<",
        "<meta ",
        "<meta content=",
        "<!--",
        "<script",
        'rel="license',
        "icense",
        '<a rel="license" href="',
        "creativecommons.org/",
        'href="//creativecommons.org/licenses/by/4.0',
        "&#x3042;",
        "<link rel=canonical href=",
        "rel='",
    ],
)
def test_hostile_repetition_costs_linear_time(unit: str, tmp_path: Path) -> None:
    import time

    text = unit * (2_000_000 // len(unit))
    started = time.process_time()
    provenance(Page(FILE, 0, text, "", is_html=True))
    assert time.process_time() - started < 2
