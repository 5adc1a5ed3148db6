"""Telephone numbers: those of Japan in all their forms, and international ones.

Japan's numbering plan (MIC, 電気通信番号計画) fixes the digits: area code and exchange have six
together, the subscriber's number has four; mobile (070, 080, 090, from 2024 060) and IP (050)
numbers have eleven; 0120, 0570 and their like have ten, 0800 has eleven. A number without any
separator is taken for one only where the prefix leaves no doubt, or where a word such as TEL
stands before it.
"""

import re

from tsumugu.corpus.transforms.digits import DIGIT, HYPHEN

PHONE_MASK = "00-0000-0000"

_D = DIGIT
_ZERO = "[0０]"
_HYPHEN = rf"[ \u3000]?{HYPHEN}[ \u3000]?"
_OPEN, _CLOSE = "[(（]", "[)）]"


def _number(*lengths: int) -> list[str]:
    return [_D if length == 1 else rf"{_D}{{{length}}}" for length in lengths]


# Area code (or prefix), exchange, subscriber. The first digit is a zero.
_FIXED = [
    (rf"{_ZERO}[346３４６]", *_number(4, 4)),
    (rf"{_ZERO}[1-9１-９][1-9１-９]", *_number(3, 4)),
    (rf"{_ZERO}[1-9１-９]{_D}{{2}}", *_number(2, 4)),
    (rf"{_ZERO}[1-9１-９]{_D}{{3}}", *_number(1, 4)),
]
_MOBILE = [(rf"{_ZERO}[25-9２５-９]{_ZERO}", *_number(4, 4))]
_SERVICE = [
    (rf"{_ZERO}(?:[1１][2２]|[5５][7７]|[9９][9９]|[1１][78７８]){_ZERO}", *_number(3, 3)),
    (rf"{_ZERO}[8８]{_ZERO}{{2}}", *_number(3, 4)),
]
_UNMISTAKABLE = [*_MOBILE, *_SERVICE, _FIXED[0]]

_SEPARATED = [
    # 03-1234-5678, 03(1234)5678
    *(
        f"{area}(?:{_HYPHEN}{exchange}{_HYPHEN}|{_OPEN}{exchange}{_CLOSE}{HYPHEN}?){last}"
        for area, exchange, last in [*_FIXED, *_MOBILE, *_SERVICE]
    ),
    # 090 1234 5678, 0120.123.456
    *(f"{area}[ \\u3000]{exchange}[ \\u3000]{last}" for area, exchange, last in _UNMISTAKABLE),
    *(f"{area}[.．]{exchange}[.．]{last}" for area, exchange, last in _UNMISTAKABLE),
    # 090-12345678
    *(f"{area}{HYPHEN}{exchange}{last}" for area, exchange, last in _UNMISTAKABLE),
]
# (03)1234-5678
_AREA_IN_BRACKETS = [
    rf"{_OPEN}{area}{_CLOSE}[ \u3000]?{HYPHEN}?{exchange}{HYPHEN}{last}"
    for area, exchange, last in [*_FIXED, *_MOBILE, *_SERVICE]
]
_UNSEPARATED = [
    rf"{_ZERO}[5-9５-９]{_ZERO}{_D}{{8}}(?![A-Za-z_])",
    rf"{_ZERO}[1１][2２]{_ZERO}{_D}{{6}}(?![A-Za-z_])",
    rf"{_ZERO}[8８]{_ZERO}{{2}}{_D}{{7}}(?![A-Za-z_])",
]
_BARE = rf"{_ZERO}[1-9１-９]{_D}{{8}}(?![A-Za-z_])(?P<bare>)"

# The first character is matched before anything is asked about it, so that the search can leap to it.
# It follows neither a digit, nor a hyphen or a point that ties it to something before, nor a plus.
_START = rf"[0０(（](?<!{_D}.)(?<![0-9０-９A-Za-z][-‐‑‒–—―−－ー].)(?<![0-9０-９][.].)(?<![+＋].)"
_END = rf"(?!{_D})(?!{HYPHEN}[0-9０-９A-Za-z])"
_AFTER_BRACKET = "|".join(pattern.removeprefix(_OPEN) for pattern in _AREA_IN_BRACKETS)
_AFTER_ZERO = "|".join(pattern.removeprefix(_ZERO) for pattern in [*_SEPARATED, *_UNSEPARATED, _BARE])
_DOMESTIC = re.compile(rf"{_START}(?:(?<={_OPEN})(?:{_AFTER_BRACKET})|(?<={_ZERO})(?:{_AFTER_ZERO})){_END}")
# Country codes in use (ITU-T E.164 and its list of assigned codes), except those with their own rule.
_COUNTRY = (
    r"(?:2[07]|3[0-469]|4[013-9]|5[1-8]|6[0-6]|8[1246]|9[0-58]"
    r"|2[1-689]\d|3[578]\d|42\d|5[09]\d|6[789]\d|8[035-9]\d|9[679]\d)"
)
_BETWEEN = rf"(?:{HYPHEN}|[ \u3000.()（）]){{0,2}}"
_INTERNATIONAL = re.compile(
    r"[+＋](?<![\w)\]+＋=].)(?:"
    # Japan: nine digits or ten, with or without the zero of the area code.
    rf"[8８][1１]{_BETWEEN}(?:[(（][0０][)）]{_BETWEEN})?{_D}(?:{_BETWEEN}{_D}){{8,9}}"
    # North America and Russia: ten digits. Elsewhere, up to fifteen in all.
    r"|[17](?:[-. ()]{0,2}[0-9]){10}"
    rf"|(?!81){_COUNTRY}(?:[-. ()]{{0,2}}[0-9]){{7,12}}"
    rf")(?!{_D})(?![-.][0-9A-Za-z])",
    re.ASCII,
)
_CUE = re.compile(
    r"(?:tel|fax|ｔｅｌ|ｆａｘ|電話|℡|☎|携帯|ファックス|ファクス|フリーダイヤル)[^0-9０-９\n]{0,8}\Z",
    re.IGNORECASE,
)
_LETTER_BEFORE = re.compile(r"[A-Za-zＡ-Ｚａ-ｚ]\Z")
_CUE_CHARACTERS = 16


def mask_phone_numbers(text: str) -> tuple[str, int]:
    """Replace telephone numbers by `PHONE_MASK`; also how many there were.

    >>> mask_phone_numbers("電話は03-1234-5678、０９０－１２３４－５６７８、(045) 123-4567まで。")
    ('電話は00-0000-0000、00-0000-0000、00-0000-0000まで。', 3)
    >>> mask_phone_numbers("TEL:0312345678 FAX:03(1234)5679 携帯09012345678 +81-3-1234-5678 +1 650-555-0123")
    ('TEL:00-0000-0000 FAX:00-0000-0000 携帯00-0000-0000 00-0000-0000 00-0000-0000', 5)

    Not telephone numbers: dates, codes of other lengths, book numbers, ten digits on their own.

    >>> mask_phone_numbers("2023-08-14、ISBN 978-4-00-310101-8、〒012-3456、0123456789、AB-03-1234-5678")[1]
    0

    A known false positive: a part number that is written like a telephone number.

    >>> mask_phone_numbers("品番 052-123-4567")[0]
    '品番 00-0000-0000'
    """
    masked = 0

    def mask_domestic(match: re.Match[str]) -> str:
        nonlocal masked
        start = match.start()
        before = match.string[max(0, start - _CUE_CHARACTERS) : start]
        if (match["bare"] is not None or _LETTER_BEFORE.search(before)) and not _CUE.search(before):
            return match[0]
        masked += 1
        return PHONE_MASK

    text = _DOMESTIC.sub(mask_domestic, text)
    if "+" in text or "＋" in text:
        text, count = _INTERNATIONAL.subn(PHONE_MASK, text)
        masked += count
    return text, masked
