"""HojiChar's own transforms, byte for byte.

`hojichar_mask` is its MaskPersonalInformation, `nfkc` its DocumentNormalizer (HojiChar 0.18.1;
the tests compare with the installed library). They are here for profiles that must reproduce
HojiChar; `personal_information` is the better mask.

HojiChar looks for e-mail addresses with a pattern whose time grows with the square of a long
run of letters. The search here begins at the `@` instead and takes linear time.
"""

import re
import unicodedata

# The digits before the last four: those of the area code and of the exchange. The order is the
# order in which HojiChar tries them. \d takes every decimal digit of Unicode, as there.
_AREA_AND_EXCHANGE = ((2, 4), (1, 4), (2, 3), (3, 2), (4, 1))
_PHONE = re.compile(
    r"((?:0|\+\d{1,3}[- ]?)(?:"
    + "|".join(rf"\d{{{area}}}[- ]?\d{{{exchange}}}[- ]?" for area, exchange in _AREA_AND_EXCHANGE)
    + r"))\d{4}"
)
_ADDRESS_CHARACTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-/=?^_`{|}~."
_FROM_AT_SIGN = re.compile(rf"@[{re.escape(_ADDRESS_CHARACTERS)}]+(\.[A-Za-z0-9\-]+)")


def nfkc(text: str) -> tuple[str, tuple[int, ...]]:
    """Unicode normal form KC.

    >>> nfkc("ﾂﾑｸﾞ㍿　①")[0]
    'ツムグ株式会社 1'
    """
    return unicodedata.normalize("NFKC", text), ()


def hojichar_mask(text: str) -> tuple[str, tuple[int, ...]]:
    """Mask the last four digits of phone numbers, and e-mail addresses; counted: both.

    >>> hojichar_mask("電話は090-1234-5678、メールは taro@example.ne.jp まで。")
    ('電話は090-1234-XXXX、メールは xxxx@yyy.jp まで。', (1, 1))

    Known false positives, as in HojiChar: any long number with a zero in the right place.

    >>> hojichar_mask("注文番号 20190012345678")[0]
    '注文番号 20190012XXXX78'
    """
    text, phones = _PHONE.subn(r"\1XXXX", text)
    if "@" not in text:
        return text, (0, phones)
    pieces = []
    end = 0
    for match in _FROM_AT_SIGN.finditer(text):
        at = match.start()
        if at == end or text[at - 1] not in _ADDRESS_CHARACTERS:
            continue
        before = text[end:at]
        pieces += [before.rstrip(_ADDRESS_CHARACTERS), "xxxx@yyy", match[1]]
        end = match.end()
    pieces.append(text[end:])
    return "".join(pieces), (len(pieces) // 3, phones)
