"""Bytes to text: the encodings that Japanese pages have come in for thirty years.

UTF-8 is asked first, since text in another encoding is almost never valid UTF-8. Then come the
encoding that the page declares, the one that its server claims, and the Japanese ones; among those
that decode without an error, the one that yields the most kana in two samples wins, since Shift_JIS
bytes read as EUC-JP (and the reverse) give rare kanji and half-width katakana. What fits nowhere is
decoded with replacement characters while they are few, and refused otherwise:
half-destroyed text teaches a model noise.
"""

import codecs
import re

import numpy as np
from resiliparse.parse.encoding import detect_encoding, map_encoding_to_html5

_DECLARED = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9._:-]+)""", re.I
)
_DECLARATION_BYTES = 4096
_SNIFFED_BYTES = 65536
_BINARY_BYTES = 16384
_ISO_2022_JP = re.compile(rb"\x1b\$[@B]")
_JAPANESE = ("cp932", "euc_jp", "euc_jis_2004")
# What pages say and browsers do not know.
_ALIASES = {"cp932": "shift_jis", "shift-jis-2004": "shift_jis", "eucjp": "euc-jp", "euc_jp": "euc-jp"}
# Browsers, too, take these names to mean their supersets.
_SUPERSETS = {"shift_jis": "cp932", "gbk": "gb18030"}
# Behind a byte that ends no character in any of the encodings, one outside ASCII begins.
_CHARACTER = re.compile(rb"(?<![\x40-\xff])[\x80-\xff]")
_UTF8_KANA = re.compile(rb"\xe3[\x81-\x83][\x80-\xbf]")
_SAMPLE_BYTES = 2048
_JAPANESE_SHARE = 0.02
_CERTAIN_SHARE = 0.1
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_CONTROL_BYTES = bytes(set(range(32)) - set(b"\t\n\f\r\x1b"))
_MOST_CONTROLS = 0.01
_MOST_REPLACED = 0.002


class Undecodable(ValueError):
    """The bytes are not text in any encoding that we know."""


def decode_page(raw: bytes, *, hint: str | None = None) -> str:
    """The text of a page.

    Args:
        hint: the encoding that the HTTP header names. It is often wrong, so it counts no more than
            any other candidate.

    Raises:
        Undecodable: the bytes are binary, or too many of them fit no encoding.
    """
    for bom, encoding in _BOMS:
        if raw.startswith(bom):
            return _decode_leniently(raw[len(bom) :], encoding)
    head = raw[:_BINARY_BYTES]
    if len(head) - len(head.translate(None, _CONTROL_BYTES)) > _MOST_CONTROLS * len(head):
        raise Undecodable("binary data, not a page")
    # ISO-2022-JP is ASCII bytes throughout, and thus valid UTF-8.
    utf8 = None if raw.isascii() and _ISO_2022_JP.search(raw) else _decode_strictly(raw, "utf-8")
    if utf8 is not None:
        return utf8
    if _ISO_2022_JP.search(raw):
        return _decode_leniently(raw, "iso2022_jp_2004")
    shares = _kana_shares(raw, ["utf-8", *_declared(raw), *_text_encoding(hint or ""), *_JAPANESE])
    ranked = sorted(shares, key=lambda encoding: -shares[encoding])
    japanese = shares[ranked[0]] >= _JAPANESE_SHARE
    if japanese and ranked[0] == "utf-8":
        return _decode_leniently(raw, "utf-8")
    for encoding in ranked:
        # Encodings of single bytes decode anything. Where one of them would win although the bytes
        # look Japanese, a few bytes are broken.
        if japanese and shares[encoding] == 0 and _is_single_byte(encoding):
            continue
        text = _decode_strictly(raw, encoding)
        if text is not None:
            return text
    if japanese:
        return _decode_leniently(raw, ranked[0])
    detected = _text_encoding(detect_encoding(raw, max_len=_SNIFFED_BYTES) or "")
    return _decode_leniently(raw, *(detected or ["utf-8"]))


def _kana_shares(raw: bytes, encodings: list[str]) -> dict[str, float]:
    """The share of kana that each encoding finds at the beginning and in the middle of the page.

    Ends at the first that finds so much that no wrong reading could.
    """
    sample = b"\n".join(_from_character(raw, start) for start in (0, len(raw) // 2))
    shares = {}
    for encoding in dict.fromkeys(encodings):
        # Python takes half a microsecond for each broken byte, and other encodings are broken UTF-8.
        hopeless = encoding == "utf-8" and not _UTF8_KANA.search(sample)
        shares[encoding] = 0.0 if hopeless else _kana_share(sample.decode(encoding, errors="replace"))
        if shares[encoding] >= _CERTAIN_SHARE:
            break
    return shares


def _from_character(raw: bytes, start: int) -> bytes:
    first = _CHARACTER.search(raw, start)
    return raw[first.start() : first.start() + _SAMPLE_BYTES] if first else b""


def _is_single_byte(encoding: str) -> bool:
    return len(bytes(range(256)).decode(encoding, errors="replace")) == 256


def _declared(raw: bytes) -> list[str]:
    match = _DECLARED.search(raw[:_DECLARATION_BYTES])
    return _text_encoding(match[1].decode("ascii")) if match else []


def _text_encoding(label: str) -> list[str]:
    """The codec for a label, or nothing.

    Only labels that browsers know, since Python's codecs include some that are no encodings of text
    (rot13, idna) or give half surrogate pairs (unicode_escape, utf-7).
    """
    label = label.strip().lower()
    name = map_encoding_to_html5(_ALIASES.get(label, label), fallback_utf8=False)
    return [_SUPERSETS.get(name, name)] if name else []


def _decode_strictly(raw: bytes, encoding: str) -> str | None:
    try:
        return raw.decode(encoding)
    except UnicodeDecodeError as error:
        # A page that was cut off may end inside a character.
        if error.start >= len(raw) - 4 and error.start > 0:
            return raw[: error.start].decode(encoding)
        return None
    except (ValueError, LookupError):
        return None


def _decode_leniently(raw: bytes, encoding: str) -> str:
    try:
        text = raw.decode(encoding, errors="replace")
    except (ValueError, LookupError) as error:
        raise Undecodable(f"not text in {encoding}: {error}") from error
    replaced = text.count("\ufffd")
    if replaced > max(4, _MOST_REPLACED * len(text)):
        raise Undecodable(f"not text in any known encoding ({replaced} undecodable places as {encoding})")
    return text


def _kana_share(text: str) -> float:
    points = np.frombuffer(text.encode("utf-32-le", errors="replace"), dtype="<u4")
    kana = ((points >= 0x3041) & (points <= 0x3096)) | ((points >= 0x30A1) & (points <= 0x30FA))
    return float(np.count_nonzero(kana)) / max(1, len(points))
