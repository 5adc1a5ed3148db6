"""Bytes to text: the encodings that Japanese pages have come in for thirty years.

UTF-8 is asked first, since text in another encoding is almost never valid UTF-8. Then come the
encoding that the page declares and the Japanese ones; among those that decode without an error,
the one that yields the most kana wins, since Shift_JIS bytes read as EUC-JP (and the reverse)
give rare kanji and half-width katakana. What fits nowhere is decoded with replacement characters
while they are few, and refused otherwise: half-destroyed text teaches a model noise.
"""

import codecs
import re

from resiliparse.parse.encoding import detect_encoding

_DECLARED = re.compile(
    rb"""<(?:meta|\?xml)[^>]{0,200}?(?:charset|encoding)\s*=\s*["']?\s*([A-Za-z0-9._:-]+)""", re.I
)
_WEB_ENCODING = re.compile(r"(?:cp|iso|euc|shift|koi8|big5|gb|mac|johab|hz|utf|ascii|ptcp)[\w-]*$")
_DECLARATION_BYTES = 4096
_SNIFFED_BYTES = 65536
_ISO_2022_JP = re.compile(rb"\x1b\$[@B]")
_JAPANESE = ("cp932", "euc_jis_2004")
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
_KANA = re.compile("[\u3041-\u3096\u30a1-\u30fa]")


class Undecodable(ValueError):
    """The bytes are not text in any encoding that we know."""


def decode_page(raw: bytes) -> str:
    """The text of a page.

    Raises:
        Undecodable: the bytes are binary, or too many of them fit no encoding.
    """
    for bom, encoding in _BOMS:
        if raw.startswith(bom):
            return _decode_leniently(raw[len(bom) :], encoding)
    head = raw[:_SNIFFED_BYTES]
    if len(head) - len(head.translate(None, _CONTROL_BYTES)) > _MOST_CONTROLS * len(head):
        raise Undecodable("binary data, not a page")
    # ISO-2022-JP is a seven-bit encoding; elsewhere its escape is a stray control character.
    if raw.isascii() and _ISO_2022_JP.search(raw):
        return _decode_leniently(raw, "iso2022_jp_2004")
    utf8 = _decode_strictly(raw, "utf-8")
    if utf8 is not None:
        return utf8
    candidates = [*_declared(raw), *_JAPANESE]
    texts = [text for encoding in candidates if (text := _decode_strictly(raw, encoding)) is not None]
    if texts:
        return max(texts, key=_kana_share)
    return _decode_leniently(raw, detect_encoding(raw, max_len=_SNIFFED_BYTES) or "utf-8")


def _declared(raw: bytes) -> list[str]:
    match = _DECLARED.search(raw[:_DECLARATION_BYTES])
    if match is None:
        return []
    try:
        name = codecs.lookup(match[1].decode("ascii")).name
    except LookupError:
        return []
    # Python knows codecs that no page is written in ("unicode_escape", "rot13"); a page may name any.
    return [name] if _WEB_ENCODING.match(name) else []


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
    return len(_KANA.findall(text)) / max(1, len(text))
