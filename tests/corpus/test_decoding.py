"""Pages in every encoding that Japanese text has come in."""

import pytest

from tsumugu.corpus.decoding import Undecodable, decode_page

TEXT = "<html><body>吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。テスト①</body></html>"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32", "cp932", "iso2022_jp_2004"])
def test_undeclared_encodings_are_found(encoding: str) -> None:
    assert decode_page(TEXT.encode(encoding)) == TEXT


def test_euc_jp_is_not_taken_for_shift_jis() -> None:
    text = TEXT.replace("①", "")
    assert decode_page(text.encode("euc_jp")) == text


def test_a_wrong_declaration_does_not_win() -> None:
    text = TEXT.replace("<html>", '<html><meta charset="euc-jp">')
    assert decode_page(text.encode("cp932")) == text
    assert decode_page(text.encode("utf-8")) == text


def test_a_declared_foreign_encoding_is_used() -> None:
    text = '<html><meta charset="windows-1251"><body>Это страница на русском языке</body></html>'
    assert decode_page(text.encode("cp1251")) == text


@pytest.mark.parametrize("name", ["zlib", "rot13", "no-such-charset", "idna"])
def test_a_declaration_that_is_no_encoding_is_harmless(name: str) -> None:
    text = TEXT.replace("<html>", f'<html><meta charset="{name}">')
    assert decode_page(text.encode("cp932")) == text


@pytest.mark.parametrize("encoding", ["utf-8", "cp932", "euc_jis_2004"])
def test_a_page_cut_inside_a_character_keeps_the_rest(encoding: str) -> None:
    raw = ("あ" * 500).encode(encoding)[:-1]
    assert decode_page(raw) == "あ" * 499


def test_a_few_broken_bytes_are_replaced() -> None:
    raw = bytearray(("これは長い日本語の文章です。" * 300).encode())
    raw[600] = 0xFF
    assert decode_page(bytes(raw)).count("\ufffd") in (1, 2, 3)


@pytest.mark.parametrize(
    "raw",
    [
        bytes(range(256)) * 40,
        b"\x89PNG\r\n\x1a\n" + bytes(2000),
        b"\x7fELF\x02\x01\x01" + bytes(500),
    ],
)
def test_binary_data_is_refused(raw: bytes) -> None:
    with pytest.raises(Undecodable):
        decode_page(raw)


def test_an_escape_of_iso_2022_jp_in_utf_8_is_a_stray_character() -> None:
    assert decode_page(f"{TEXT}\x1b$B".encode()) == f"{TEXT}\x1b$B"


def test_a_codec_that_no_page_is_written_in_is_not_asked() -> None:
    raw = b"<meta charset=raw_unicode_escape><p>\\ud800 \\u3042\\u3042\\u3042\xff abcdefgh"
    decode_page(raw).encode()


@pytest.mark.parametrize("encoding", ["utf-8", "cp932", "euc_jp", "iso2022_jp"])
@pytest.mark.parametrize("hint", ["utf-8", "Shift_JIS", "euc-jp", "ISO-8859-1", "koi8-r", "no-such", ""])
def test_a_wrong_header_does_not_win(encoding: str, hint: str) -> None:
    text = TEXT.replace("①", "")
    assert decode_page(text.encode(encoding), hint=hint) == text


def test_a_header_decides_where_the_page_says_nothing() -> None:
    text = "<html><body>Это страница на русском языке</body></html>"
    assert decode_page(text.encode("koi8-r"), hint="KOI8-R") == text
    assert decode_page(text.encode("cp1251"), hint="windows-1251") == text


@pytest.mark.parametrize("encoding", ["utf-8", "cp932", "euc_jp"])
@pytest.mark.parametrize("hint", ["iso-8859-1", "windows-1251"])
def test_a_broken_byte_does_not_make_japanese_western(encoding: str, hint: str) -> None:
    raw = bytearray(("<p>これは長い日本語の文章です。" * 300).encode(encoding))
    raw[600:602] = b"\xff\xff"
    text = decode_page(bytes(raw), hint=hint)
    assert text.count("これは長い日本語の文章です。") >= 298


def test_shift_jis_means_windows_superset_as_in_browsers() -> None:
    text = "<meta charset=shift_jis><p>①～－∥ 髙﨑さん</p>"
    assert decode_page(text.encode("cp932")) == text


@pytest.mark.parametrize("name", ["unicode_escape", "utf-7", "raw_unicode_escape", "punycode", "undefined"])
def test_codecs_that_are_no_encodings_of_pages_are_not_asked(name: str) -> None:
    raw = f'<meta charset="{name}">'.encode() + b"\\ud800 +2AA- " + "日本語です。".encode("cp932")
    text = decode_page(raw, hint=name)
    assert "日本語です。" in text
    text.encode()


def test_japanese_after_a_long_beginning_in_ascii_is_found() -> None:
    text = "<p>English</p>" * 5000 + "<p>日本語の文章がここから始まります。</p>" * 50
    for encoding in ("cp932", "euc_jp"):
        assert decode_page(text.encode(encoding)) == text
