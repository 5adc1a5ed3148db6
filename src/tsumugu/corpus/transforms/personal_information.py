"""Personal information: e-mail addresses, postal addresses, numbers of people, cards and machines.

| what | mask | how it is recognised |
|---|---|---|
| e-mail | `xxxx@example.jp` | `emails.py` |
| postal address | `〒000-0000` | 〒, prefecture, house number: `postal_addresses.py` |
| credit card | `0000-0000-0000-0000` | issuer, length, Luhn: `identity_numbers.py` |
| My Number | `000000000000` | twelve digits, check digit: `identity_numbers.py` |
| telephone | `00-0000-0000` | Japan's numbering plan, E.164: `phone_numbers.py` |
| IP address | `0.0.0.0` | public ones: `ip_addresses.py` |

No mask is itself recognised as what it stands for, except that of e-mail, which is replaced by
itself; so masking twice changes nothing. Names of people are not looked for: that takes a model.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tsumugu.corpus.signals.classes import hold_any, matching
from tsumugu.corpus.transforms.digits import has_long_number, long_numbers
from tsumugu.corpus.transforms.emails import mask_emails
from tsumugu.corpus.transforms.identity_numbers import mask_credit_cards, mask_my_numbers
from tsumugu.corpus.transforms.ip_addresses import mask_ip_addresses, may_hold_ip_addresses
from tsumugu.corpus.transforms.phone_numbers import mask_phone_numbers
from tsumugu.corpus.transforms.postal_addresses import mask_postal_addresses


def mask_personal_information(text: str) -> tuple[str, tuple[int, ...]]:
    """Mask all of it; counted: e-mail, phone, IP, My Number, credit cards, addresses.

    >>> mask_personal_information("連絡先は taro@example.org または 03-1234-5678 です。")
    ('連絡先は xxxx@example.jp または 00-0000-0000 です。', (1, 1, 0, 0, 0, 0))
    """
    # First the one mask that ends in digits where no digit was: beside "taro@..." they would join it.
    text, addresses = mask_postal_addresses(text)
    text, emails = mask_emails(text)
    text, ips = mask_ip_addresses(text)
    cards = my_numbers = phones = 0
    if has_long_number(text):
        text, cards = mask_credit_cards(text)
        text, my_numbers = mask_my_numbers(text)
        text, phones = mask_phone_numbers(text)
    return text, (emails, phones, ips, my_numbers, cards, addresses)


def may_hold_personal_information(codes: NDArray[np.uint32], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which texts of a batch `mask_personal_information` may change: `bool [texts]`."""
    signs: NDArray[np.bool_] = hold_any(codes, offsets, _signs())
    signs |= long_numbers(codes, offsets)
    signs |= may_hold_ip_addresses(codes, offsets)
    return signs


@cache
def _signs() -> NDArray[np.bool_]:
    return matching("[〒@＠]")
