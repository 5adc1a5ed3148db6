"""Archives: whole records come out, damaged ones are quarantined, and what is no page is counted."""

import bz2
import gzip
import io
import random
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from archives import divided, html, http_response, members, page_record, warc_record, whole
from fastwarc.stream_io import Lz4Writer

from tsumugu.corpus import record_places
from tsumugu.corpus.config import Input
from tsumugu.corpus.inputs import find_files, plan_shards
from tsumugu.corpus.records import Failure, Page, Record, Skipped
from tsumugu.corpus.warc import read_warc

LIMIT = 100_000


def read(path: Path, data: bytes, *, limit: int = LIMIT, format: str = "auto") -> list[Record]:
    path.write_bytes(data)
    entry = Input.model_validate({"path": str(path), "source": "t", "license": "CC0-1.0", "format": format})
    (file,) = find_files([entry])
    records = list(read_warc(whole(file), max_page_bytes=limit))
    assert len({record.offset for record in records}) == len(records), "offsets make ids"
    for parts in (2, 5, 31) if file.divisible else ():
        assert divided(file, piece_bytes=1 + len(data) // parts, limit=limit) == records
    return records


def numbers(records: list[Record]) -> list[int]:
    """Which pages came out whole."""
    return [int(record.text.split("第")[1].split("頁")[0]) for record in records if isinstance(record, Page)]


def errors(records: list[Record]) -> list[str]:
    return [record.error for record in records if isinstance(record, Failure)]


def skipped(records: list[Record]) -> list[str]:
    return [record.why for record in records if isinstance(record, Skipped)]


def lz4(data: bytes) -> bytes:
    buffer = io.BytesIO()
    with Lz4Writer(buffer) as writer:
        writer.write(data)
    return buffer.getvalue()


def zstd(data: bytes) -> bytes:
    return bytes(pa.compress(data, codec="zstd", asbytes=True))


@pytest.mark.parametrize(
    ("suffix", "compress"),
    [("", bytes), (".gz", gzip.compress), (".zst", zstd), (".lz4", lz4), (".bz2", bz2.compress)],
)
@pytest.mark.parametrize("separate", [True, False])
def test_every_compression_is_read_by_record_or_as_one(
    tmp_path: Path, suffix: str, compress: Callable[[bytes], bytes], separate: bool
) -> None:
    records = [page_record(number) for number in range(20)]
    data = b"".join(map(compress, records)) if separate else compress(b"".join(records))
    assert numbers(read(tmp_path / f"a.warc{suffix}", data)) == list(range(20))


def test_a_page_comes_with_address_headers_and_date(tmp_path: Path) -> None:
    head = {"Content-Type": "text/html; charset=Shift_JIS", "X-Robots-Tag": "noai"}
    body = "<p>吾輩は猫である。名前はまだ無い。</p>".encode("cp932")
    record = warc_record(http_response(body, headers=head), url="<https://example.jp/猫>")
    (page,) = read(tmp_path / "a.warc", record)
    assert isinstance(page, Page)
    assert page.text == "<p>吾輩は猫である。名前はまだ無い。</p>"
    assert page.url == "https://example.jp/猫"
    assert page.is_html
    assert page.headers["x-robots-tag"] == "noai"
    assert page.metadata == {"fetched": "2024-05-06T07:08:09Z"}


def test_offsets_are_those_of_a_cdx_index(tmp_path: Path) -> None:
    records = [page_record(number) for number in range(3)]
    found = read(tmp_path / "a.warc.gz", members(*records))
    starts = [0, len(members(records[0])), len(members(*records[:2]))]
    assert [record.offset for record in found] == starts


@pytest.mark.parametrize(
    ("record", "why"),
    [
        (warc_record(b"", kind="warcinfo"), "warcinfo record"),
        (warc_record(b"GET / HTTP/1.1\r\n\r\n", kind="request"), "request record"),
        (warc_record(b"", kind="revisit"), "revisit record"),
        (warc_record(b"x", kind="metadata"), "metadata record"),
        (warc_record("猫".encode(), kind="conversion"), "conversion record"),
        (warc_record(b"x", kind="something-new"), "unknown record"),
        (warc_record(http_response(html(1), status="404 Not Found")), "HTTP status 404"),
        (warc_record(http_response(b"", status="301 Moved")), "HTTP status 301"),
        (warc_record(http_response(b"\x89PNG", headers={"Content-Type": "image/png"})), "not HTML: image"),
        (warc_record(http_response(b"%PDF", headers={"Content-Type": "x-odd/\x7f"})), "not HTML: other"),
        (warc_record(http_response(b"plain text", headers={})), "not HTML: other"),
        (
            warc_record(b"20240101\n1.2.3.4", url="dns:example.jp", headers={"Content-Type": "text/dns"}),
            "not an HTTP response",
        ),
    ],
)
def test_what_is_no_page_is_skipped_with_a_reason(tmp_path: Path, record: bytes, why: str) -> None:
    found = read(tmp_path / "a.warc.gz", members(page_record(1), record, page_record(2)))
    assert skipped(found) == [why]
    assert numbers(found) == [1, 2]


def test_html_is_known_by_its_looks_when_nobody_says(tmp_path: Path) -> None:
    body = b"<!-- x -->\n<!DOCTYPE html>" + html(1)
    assert numbers(read(tmp_path / "a.warc", warc_record(http_response(body, headers={})))) == [1]


def test_resource_records_with_html_are_pages(tmp_path: Path) -> None:
    assert numbers(read(tmp_path / "a.warc", warc_record(html(1), kind="resource"))) == [1]


def test_wet_archives_give_plain_text(tmp_path: Path) -> None:
    records = [
        warc_record(b"", kind="warcinfo"),
        warc_record(
            "吾輩は猫である。\n".encode(),
            kind="conversion",
            headers={"WARC-Identified-Content-Language": "jpn,eng"},
        ),
        warc_record(b"\xff\xfe\xff", kind="conversion"),
    ]
    info, page, broken = read(tmp_path / "a.warc.wet.gz", members(*records))
    assert isinstance(info, Skipped)
    assert isinstance(page, Page)
    assert (page.text, page.is_html, page.metadata["language"]) == ("吾輩は猫である。\n", False, "jpn,eng")
    assert isinstance(broken, Failure)


@pytest.mark.parametrize("missing", [1, 8, 40, 100, 200])
@pytest.mark.parametrize("pack", [members, lambda *records: b"".join(records)])
def test_an_archive_that_breaks_off_keeps_what_is_whole(
    tmp_path: Path, missing: int, pack: Callable[..., bytes]
) -> None:
    draw = random.Random(0)
    records = []
    for number in range(5):
        filler = "".join(draw.choices("あいうえおかきくけこ", k=300))
        body = f"<p>第{number}頁{filler}</p>".encode()
        records.append(warc_record(http_response(body)))
    found = read(tmp_path / "a.warc", pack(*records)[:-missing])
    whole = numbers(found)
    assert whole in ([0, 1, 2, 3], [0, 1, 2, 3, 4])
    # The last record may be whole although what follows it is missing.
    assert len(whole) + len(errors(found)) == 5


def test_a_damaged_member_costs_itself_alone(tmp_path: Path) -> None:
    parts = [gzip.compress(page_record(number)) for number in range(5)]
    parts[2] = parts[2][:100] + bytes(60) + parts[2][160:]
    found = read(tmp_path / "a.warc.gz", b"".join(parts))
    assert numbers(found) == [0, 1, 3, 4]
    assert len(errors(found)) == 1


@pytest.mark.parametrize("garbage", [b"garbage!" * 10_000, bytes(100_000), b"\x1f\x8b\x08\x00" * 50])
def test_garbage_between_records_is_passed_over(tmp_path: Path, garbage: bytes) -> None:
    data = members(page_record(0), page_record(1)) + garbage + members(page_record(2))
    found = read(tmp_path / "a.warc.gz", data)
    assert numbers(found) == [0, 1, 2]
    assert len(errors(found)) <= 1


@pytest.mark.parametrize("length", ["-5", "99999999999999", "abc", "10", "99999999999999999999999999"])
def test_a_wrong_length_costs_its_record_alone(tmp_path: Path, length: str) -> None:
    bad = warc_record(http_response(html(1)), headers={"Content-Length": length})
    for data in (members(page_record(0), bad, page_record(2)), page_record(0) + bad + page_record(2)):
        found = read(tmp_path / "a.warc", data)
        assert numbers(found)[0] == 0
        assert numbers(found)[-1] == 2
        assert errors(found)


def test_a_header_without_end_is_not_held_in_memory(tmp_path: Path) -> None:
    bomb = gzip.compress(b"WARC/1.0\r\nX: " + b"a" * 60_000_000, compresslevel=1)
    tracemalloc.start()
    found = read(tmp_path / "a.warc.gz", members(page_record(0)) + bomb + members(page_record(1)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert numbers(found) == [0, 1]
    assert len(errors(found)) == 1
    assert peak < 20 * 2**20


def test_a_page_larger_than_the_limit_is_not_read(tmp_path: Path) -> None:
    big = warc_record(http_response(b"<html>" + b"a" * 200_000))
    image = warc_record(http_response(b"a" * 200_000, headers={"Content-Type": "image/png"}))
    bomb = warc_record(
        http_response(
            gzip.compress(bytes(10**7)), headers={"Content-Type": "text/html", "Content-Encoding": "gzip"}
        )
    )
    found = read(tmp_path / "a.warc.gz", members(big, image, bomb, page_record(1)), limit=LIMIT)
    assert [error.split(" ")[0] for error in errors(found)] == ["larger", "unpacks"]
    assert skipped(found) == ["not HTML: image"]
    assert numbers(found) == [1]


def test_a_response_that_is_none_is_quarantined(tmp_path: Path) -> None:
    for content in (b"\x00\x01\x02", b"HTTP/1.1 200 OK\r\nno end", http_response(b"")):
        found = read(tmp_path / "a.warc.gz", members(warc_record(content), page_record(1)))
        assert len(errors(found)) == 1
        assert numbers(found) == [1]


@pytest.mark.parametrize("data", [b"filedesc://a.arc 0.0.0.0 2008 text/plain 77\n", b""])
def test_arc_and_empty_files_are_refused_with_a_reason(tmp_path: Path, data: bytes) -> None:
    for packed in (data, gzip.compress(data)):
        (failure,) = read(tmp_path / "a.arc.gz", packed)
        assert isinstance(failure, Failure)


def test_arc_says_what_to_do(tmp_path: Path) -> None:
    assert "warcio recompress" in errors(read(tmp_path / "a.arc", b"filedesc://a.arc 0.0.0.0\n"))[0]


def test_random_bytes_never_raise(tmp_path: Path) -> None:
    draw = random.Random(1)
    good = members(*[page_record(number) for number in range(3)])
    plain = b"".join(page_record(number) for number in range(3))
    for _ in range(150):
        data = bytearray(draw.choice([good, plain]))
        for _ in range(draw.randrange(1, 12)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        if draw.random() < 0.3:
            del data[draw.randrange(len(data)) :]
        read(tmp_path / "a.warc", bytes(data))
    for _ in range(50):
        read(tmp_path / "a.warc", draw.randbytes(draw.randrange(3000)), format="warc")


def test_gzip_members_are_divided_wherever_one_likes(tmp_path: Path) -> None:
    """Also inside of a magic number, and where records share members."""
    data = members(*(page_record(number) for number in range(4)), page_record(4) + page_record(5))
    data += gzip.compress(page_record(6), compresslevel=0)
    records = read(tmp_path / "pages.warc.gz", data)
    assert numbers(records) == list(range(7))
    (file,) = find_files([Input(path=str(tmp_path / "pages.warc.gz"), source="t", license="CC0-1.0")])
    for size in (1, 2, 3, *range(50, len(data), 83)):
        assert divided(file, piece_bytes=size, limit=LIMIT) == records


@pytest.mark.parametrize("block", [100, 1000])
def test_members_that_begin_anywhere_belong_to_a_piece_that_can_read_them(tmp_path: Path, block: int) -> None:
    """Blocks of equal size, as bgzip writes them: most begin in the middle of a record."""
    plain = b"".join(page_record(number) for number in range(12))
    blocks = members(*(plain[start : start + block] for start in range(0, len(plain), block)))
    for data in (blocks, gzip.compress(plain)):
        assert numbers(read(tmp_path / "pages.warc.gz", data)) == list(range(12))


def test_damage_is_met_once_however_the_archive_is_divided(tmp_path: Path) -> None:
    draw = random.Random(3)
    whole_archive = members(*(page_record(number) for number in range(8)))
    for _ in range(150):
        data = bytearray(whole_archive)
        for _ in range(draw.randrange(1, 4)):
            start = draw.randrange(len(data))
            match draw.randrange(4):
                case 0:
                    data[start : start + draw.randrange(1, 40)] = draw.randbytes(20)
                case 1:
                    del data[start : start + draw.randrange(1, 300)]
                case 2:
                    data[start] ^= 1 << draw.randrange(8)
                case 3:
                    data[start:start] = b"\x1f\x8b\x08\x00" + draw.randbytes(9)
        # Divides it, too.
        read(tmp_path / "pages.warc.gz", bytes(data))


def test_records_that_share_the_first_member_are_all_read(tmp_path: Path) -> None:
    data = members(b"".join(page_record(number) for number in range(3)), *map(page_record, range(3, 9)))
    assert numbers(read(tmp_path / "pages.warc.gz", data)) == list(range(9))


@pytest.mark.parametrize(("size", "page_bytes"), [(50, 100), (300, 1500)])
def test_an_archive_inside_of_a_record_is_not_divided(tmp_path: Path, size: int, page_bytes: int) -> None:
    """Its members lie there as they are, since gzip stores what it cannot shrink; the longer one would prove
    a place, were it not stored in blocks."""
    draw = random.Random(5)
    inner = members(*(warc_record(http_response(draw.randbytes(page_bytes))) for _ in range(size)))
    assert (len(inner) > record_places._PROOF_BYTES) == (size == 300)
    record = warc_record(http_response(inner, headers={"Content-Type": "application/gzip"}))
    stored = gzip.compress(record, compresslevel=0)
    data = members(page_record(0)) + stored + members(page_record(1)) + stored
    assert numbers(read(tmp_path / "pages.warc.gz", data)) == [0, 1]


def test_a_long_archive_is_divided_although_its_end_is_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(record_places, "_PROOF_BYTES", 1)
    monkeypatch.setattr(record_places, "_INFLATED_AT_ONCE", 64)
    draw = random.Random(4)
    whole_archive = members(*(page_record(number) for number in range(12)))
    for _ in range(50):
        data = bytearray(whole_archive)
        start = draw.randrange(len(data) // 2, len(data))
        data[start : start + 30] = draw.randbytes(draw.randrange(60))
        path = tmp_path / "pages.warc.gz"
        read(path, bytes(data))
        (file,) = find_files([Input(path=str(path), source="t", license="CC0-1.0")])
        first, *_ = plan_shards([file], shard_bytes=len(data) // 3)
        assert len(list(read_warc(first[0], max_page_bytes=LIMIT))) < 6


def test_an_archive_that_cannot_be_opened_is_one_failure_for_each_piece(tmp_path: Path) -> None:
    path = tmp_path / "pages.warc.gz"
    path.write_bytes(members(*map(page_record, range(9))))
    (file,) = find_files([Input(path=str(path), source="t", license="CC0-1.0")])
    path.unlink()
    found = divided(file, piece_bytes=1000, limit=LIMIT)
    assert len(errors(found)) == len(found) > 1
    assert len({record.offset for record in found}) == len(found), "offsets make ids"
