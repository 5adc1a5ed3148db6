"""My Number and credit card numbers, only with a valid check digit."""

import re
from datetime import datetime

from tsumugu.corpus.transforms.digits import DIGIT, HYPHEN, digits

MY_NUMBER_MASK = "000000000000"
CREDIT_CARD_MASK = "0000-0000-0000-0000"

_D = DIGIT
# No other digit, letter, or decimal point beside the number.
_NOT_BEFORE = r"(?<![0-9０-９A-Za-z_].)(?<![0-9０-９A-Za-z][-.,:/].)"
_NOT_AFTER = rf"(?![0-9０-９A-Za-z_])(?![-.,:/ ]{_D})"
_SEPARATOR = rf"[ \u3000]|{HYPHEN}"
_MY_NUMBER = re.compile(
    rf"{_D}{_NOT_BEFORE}{_D}{{3}}(?P<s>{_SEPARATOR}|){_D}{{4}}(?P=s){_D}{{4}}{_NOT_AFTER}"
)
_CREDIT_CARD = re.compile(
    rf"[2-6２-６]{_NOT_BEFORE}{_D}{{3}}(?:"
    rf"(?P<s>{_SEPARATOR})(?:{_D}{{4}}(?P=s){_D}{{4}}(?P=s){_D}{{4}}|{_D}{{6}}(?P=s){_D}{{4,5}})"
    rf"|{_D}{{10,15}}){_NOT_AFTER}"
)


def mask_my_numbers(text: str) -> tuple[str, int]:
    """Replace valid My Numbers (個人番号) by `MY_NUMBER_MASK`; also how many there were.

    Twelve digits, unseparated or in fours, that are no time of day written as yyyymmddHHMM.

    >>> mask_my_numbers("マイナンバーは 1234 5678 9018、またはマイナンバー：１２３４５６７８９０１８")
    ('マイナンバーは 000000000000、またはマイナンバー：000000000000', 2)
    >>> mask_my_numbers("123456789012、1234567890180、202301011212")[1]
    0

    A known false positive: of other numbers with twelve digits, one in ten has a valid check digit.

    >>> mask_my_numbers("伝票番号 100000000013")[0]
    '伝票番号 000000000000'
    """
    masked = 0

    def mask(match: re.Match[str]) -> str:
        nonlocal masked
        number = digits(match[0])
        if number == MY_NUMBER_MASK or not is_my_number(number) or (not match["s"] and _is_time(number)):
            return match[0]
        masked += 1
        return MY_NUMBER_MASK

    return _MY_NUMBER.sub(mask, text), masked


def is_my_number(number: str) -> bool:
    """Whether the last of twelve digits is the check digit of the eleven before it.

    11 - (sum of P_n Q_n mod 11), where P_n is the n-th of the eleven digits from the right and Q_n is
    n + 1 for n up to 6, n - 5 from 7 on; 0 where the remainder is 0 or 1 (行政手続における特定の個人を識別
    するための番号の利用等に関する法律の規定による通知カード及び個人番号カード…総務省令, 2014, article 5).

    >>> is_my_number("123456789018"), is_my_number("123456789012")
    (True, False)
    """
    total = sum(
        int(digit) * (n + 1 if n <= 6 else n - 5) for n, digit in enumerate(reversed(number[:11]), start=1)
    )
    remainder = total % 11
    return int(number[11]) == (0 if remainder <= 1 else 11 - remainder)


def _is_time(number: str) -> bool:
    try:
        time = datetime.strptime(number, "%Y%m%d%H%M")
    except ValueError:
        return False
    return 1900 <= time.year < 2100


def mask_credit_cards(text: str) -> tuple[str, int]:
    """Replace valid credit card numbers by `CREDIT_CARD_MASK`; also how many there were.

    Unseparated, in fours, or as 4-6-5 and 4-6-4 digits; the issuer must be known and Luhn's sum right.

    >>> mask_credit_cards("VISA 4111 1111 1111 1111、JCB 3530-1113-3330-0000、AMEX 378282246310005")
    ('VISA 0000-0000-0000-0000、JCB 0000-0000-0000-0000、AMEX 0000-0000-0000-0000', 3)

    Japanese article numbers (JAN, 13 digits from 45 and 49) look like the Visa numbers of old; they stay.

    >>> mask_credit_cards("4111 1111 1111 1112、4901234567894、9784003101018")[1]
    0

    A known false positive: a parcel number that happens to begin and to add up like a card number.

    >>> mask_credit_cards("お問い合わせ番号 4000000000000002")[0]
    'お問い合わせ番号 0000-0000-0000-0000'
    """
    masked = 0

    def mask(match: re.Match[str]) -> str:
        nonlocal masked
        number = digits(match[0])
        if not (has_known_issuer(number) and is_luhn(number)):
            return match[0]
        masked += 1
        return CREDIT_CARD_MASK

    return _CREDIT_CARD.sub(mask, text), masked


def has_known_issuer(number: str) -> bool:
    """Whether prefix and length are those of a card network (ISO/IEC 7812 as the networks publish it)."""
    length, two, three, four = len(number), int(number[:2]), int(number[:3]), int(number[:4])
    visa = length == 16 and number[0] == "4"
    mastercard = length == 16 and (51 <= two <= 55 or 2221 <= four <= 2720)
    jcb = length == 16 and 3528 <= four <= 3589
    discover = length == 16 and (four == 6011 or two == 65 or 644 <= three <= 649)
    american_express = length == 15 and two in (34, 37)
    diners_club = length == 14 and (300 <= three <= 305 or two in (36, 38, 39))
    union_pay = 16 <= length <= 19 and two == 62
    return visa or mastercard or jcb or discover or american_express or diners_club or union_pay


def is_luhn(number: str) -> bool:
    """Luhn's check (ISO/IEC 7812-1, annex B).

    >>> is_luhn("4111111111111111"), is_luhn("4111111111111112")
    (True, False)
    """
    total = 0
    for position, digit in enumerate(reversed(number)):
        value = int(digit) * (1 + position % 2)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
