"""From pieces to documents: text, address, metadata and signals, for every kind of input."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives import http_response, members, page_record, warc_record

from conftest import html_page, japanese_text
from tsumugu.corpus import extracting
from tsumugu.corpus.config import CorpusConfig
from tsumugu.corpus.extracting import READING_SIGNALS, Extracted, extract_pieces
from tsumugu.corpus.inputs import find_files, plan_shards
from tsumugu.corpus.quality_tier import NoAnswer
from tsumugu.corpus.records import Failure, Skipped

Result = Extracted | Failure | Skipped


def extract(path: Path, *, extraction: dict[str, Any] | None = None, **settings: Any) -> list[Result]:
    config = CorpusConfig.model_validate(
        {
            "inputs": ({"path": str(path), "source": "test", "license": "CC0-1.0", **settings},),
            "extraction": extraction or {},
        }
    )
    shards = plan_shards(find_files(config.inputs), shard_bytes=10**9)
    return [result for pieces in shards for result in extract_pieces(pieces, config)]


def documents(results: list[Result]) -> list[Extracted]:
    return [result for result in results if isinstance(result, Extracted)]


def test_every_kind_of_input_gives_documents_with_all_signals(tmp_path: Path) -> None:
    text = japanese_text(1)
    (tmp_path / "a.html").write_text(html_page(text), encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": text}), encoding="utf-8")
    pq.write_table(pa.table({"text": [text]}), tmp_path / "c.parquet")
    (tmp_path / "d.txt").write_text(text, encoding="utf-8")
    response = http_response(html_page(text).encode())
    (tmp_path / "e.warc.gz").write_bytes(members(warc_record(b"", kind="warcinfo"), warc_record(response)))
    (tmp_path / "f.warc.wet.gz").write_bytes(members(warc_record(text.encode(), kind="conversion")))
    results = extract(tmp_path)
    found = documents(results)
    assert [document.file.kind for document in found] == ["html", "jsonl", "parquet", "text", "warc", "wet"]
    assert [type(result) for result in results if not isinstance(result, Extracted)] == [Skipped]
    for document in found:
        assert all(line in document.text for line in text.split("\n"))
        assert "ホーム" not in document.text
        assert tuple(document.signals) == READING_SIGNALS
        assert all(isinstance(value, str) for value in document.metadata.values())


def test_provenance_travels_with_the_page(tmp_path: Path) -> None:
    page = html_page(japanese_text(1)).replace(
        "<footer>",
        '<footer><a rel="license" href="https://creativecommons.org/licenses/by/4.0/deed.ja">CC</a>',
    )
    response = http_response(page.encode(), headers={"Content-Type": "text/html", "X-Robots-Tag": "noai"})
    (tmp_path / "a.warc").write_bytes(warc_record(response, url="https://example.jp/旅"))
    (document,) = documents(extract(tmp_path))
    assert document.url == "https://example.jp/旅"
    assert document.metadata == {
        "fetched": "2024-05-06T07:08:09Z",
        "language": "ja",
        "license_declared": "CC-BY-4.0",
        "license_linked": "CC-BY-4.0",
        "robots": "noai",
        "extractor": "resiliparse",
    }
    assert document.signals == {
        "opt_out_noai": 1.0,
        "opt_out_noindex": 0.0,
        "opt_out_tdm": 0.0,
        "creative_commons": 1.0,
        "extraction_fallback": 0.0,
    }


def test_a_file_of_html_has_its_canonical_address(tmp_path: Path) -> None:
    head = '<head><link rel="canonical" href="https://example.jp/a">'
    (tmp_path / "a.html").write_text(html_page(japanese_text(1)).replace("<head>", head), encoding="utf-8")
    assert documents(extract(tmp_path))[0].url == "https://example.jp/a"


def test_a_page_nested_without_end_is_a_failure_in_both_tiers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extracting, "shared_tier", Tier)
    (tmp_path / "a.html").write_text("<div>" * 300_000 + "あ", encoding="utf-8")
    for extractor in ("resiliparse", "trafilatura"):
        (failure,) = extract(tmp_path, extraction={"extractor": extractor})
        assert isinstance(failure, Failure)
        assert "nested" in failure.error


class Tier:
    """A quality tier that marks what it saw and refuses some pages."""

    def __init__(self, config: object) -> None:
        pass

    def __enter__(self) -> "Tier":
        return self

    def __exit__(self, *details: object) -> None:
        pass

    def main_text(self, html: str) -> str | NoAnswer:
        return NoAnswer("it hung") if "難しい" in html else "良い本文"


def test_only_pages_that_can_be_japanese_reach_the_quality_tier_and_none_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extracting, "shared_tier", Tier)
    english = "The quick brown fox jumps over the lazy dog. " * 20
    entities = "".join(f"&#x{ord(character):x};" for character in japanese_text(2))
    (tmp_path / "a.html").write_text(html_page(japanese_text(1)), encoding="utf-8")
    (tmp_path / "b.html").write_text(f"<p>{english}</p>", encoding="utf-8")
    (tmp_path / "c.html").write_text(f"<p>{entities}</p>", encoding="utf-8")
    (tmp_path / "d.html").write_text(html_page("難しい頁です。" + japanese_text(3)), encoding="utf-8")
    (tmp_path / "e.txt").write_text(japanese_text(4), encoding="utf-8")
    good, gated, encoded, refused, plain = documents(
        extract(tmp_path, extraction={"extractor": "trafilatura"})
    )
    assert good.text == encoded.text == "良い本文"
    assert good.metadata["extractor"] == "trafilatura"
    assert english.strip() in gated.text
    assert gated.metadata["extractor_note"] == "language gate"
    assert "難しい頁です。" in refused.text
    assert refused.metadata["extractor_note"] == "it hung"
    assert "extractor" not in plain.metadata
    fallbacks = [
        document.signals["extraction_fallback"] for document in (good, gated, encoded, refused, plain)
    ]
    assert fallbacks == [0, 0, 0, 1, 0]


def test_trafilatura_gives_the_same_documents_every_time(tmp_path: Path) -> None:
    for number in range(5):
        (tmp_path / f"{number}.html").write_text(html_page(japanese_text(number)), encoding="utf-8")
    once = extract(tmp_path, extraction={"extractor": "trafilatura"})
    assert once == extract(tmp_path, extraction={"extractor": "trafilatura", "pages_per_process": 1})
    for number, document in enumerate(documents(once)):
        assert all(line in document.text for line in japanese_text(number).split("\n"))


def test_an_archive_is_read_in_a_stream(tmp_path: Path) -> None:
    import tracemalloc

    filler = "<p>" + "本日は晴天なり。" * 2000 + "</p>"
    record = warc_record(http_response(filler.encode()))
    with gzip.open(tmp_path / "a.warc.gz", "wb", compresslevel=1) as stream:
        for _ in range(600):
            stream.write(record)
    config = CorpusConfig.model_validate(
        {"inputs": ({"path": str(tmp_path), "source": "test", "license": "CC0-1.0"},)}
    )
    (pieces,) = plan_shards(find_files(config.inputs), shard_bytes=10**9)
    tracemalloc.start()
    assert sum(1 for _ in extract_pieces(pieces, config)) == 600
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # Of 29 MB.
    assert peak < 5e6


def test_offsets_are_unique_within_every_file(tmp_path: Path) -> None:
    data = b"".join(page_record(number) for number in range(50))
    (tmp_path / "a.warc.gz").write_bytes(gzip.compress(data) + members(page_record(50), page_record(51)))
    found = documents(extract(tmp_path))
    assert len({document.offset for document in found}) == len(found) == 52
