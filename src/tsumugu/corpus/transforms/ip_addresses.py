"""Public IP addresses; private, loopback and documentation ones stay, and so do version numbers."""

import re
from ipaddress import IPv4Address, IPv6Address

import numpy as np
from numba import njit

IP_MASK = "0.0.0.0"

_POINT, _COLON = ord("."), ord(":")
_FAR = 1 << 60
_MAY_BE_IPV4 = re.compile(r"\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]")
_IPV4 = re.compile(
    r"[0-9](?<![0-9A-Za-z_./-].)[0-9]{0,2}(?:\.[0-9]{1,3}){3}(?![0-9A-Za-z_])(?!\.[0-9])(?!-[0-9A-Za-z])"
)
_MAY_BE_IPV6 = re.compile(r":[0-9A-Fa-f]{0,4}:")
# Global unicast is 2000::/3.
_IPV6 = re.compile(
    r"[23](?<![0-9A-Za-z:.].)[0-9A-Fa-f]{3}(?:::?[0-9A-Fa-f]{1,4}){1,7}(?:::)?(?![0-9A-Za-z:])", re.ASCII
)
_VERSION = re.compile(
    r"(?:version|ver\.?|\bv|release|firmware|バージョン|リリース|ファームウェア|章|節|項|条|第|図|表|§)[\s:：]{0,2}\Z",
    re.IGNORECASE,
)
_LARGE_PART = 32
"""At least two parts of an address are as large as this; of random addresses, 99.4 % are like that."""


def mask_ip_addresses(text: str) -> tuple[str, int]:
    """Replace public IPv4 and IPv6 addresses by `IP_MASK`; also how many there were.

    >>> mask_ip_addresses("153.120.44.18 からのアクセス、2400:8500:1301::a153:44 からも")
    ('0.0.0.0 からのアクセス、0.0.0.0 からも', 2)
    >>> mask_ip_addresses("192.168.1.10、127.0.0.1、255.255.255.0、192.0.2.33、fe80::1、2001:db8::1")[1]
    0

    Numbers in four parts that are no addresses: numbers of sections and versions. At most one of their
    parts is large, or a word before them tells. (So the address of Google's name server stays, too.)

    >>> mask_ip_addresses("第6.34.2.1節、Firefox/3.6.28.1、ver. 91.0.44.124、8.8.8.8")[1]
    0

    A known false positive: the version of a program, without such a word.

    >>> mask_ip_addresses("Skype 8.65.0.78")[0]
    'Skype 0.0.0.0'
    """
    masked = 0

    def mask(match: re.Match[str]) -> str:
        nonlocal masked
        address = match[0]
        if not (_is_public_ipv6(address) if ":" in address else _is_public_ipv4(address)):
            return address
        start = match.start()
        if _VERSION.search(match.string[max(0, start - 12) : start]):
            return address
        masked += 1
        return IP_MASK

    if _MAY_BE_IPV4.search(text):
        text = _IPV4.sub(mask, text)
    if _MAY_BE_IPV6.search(text):
        text = _IPV6.sub(mask, text)
    return text, masked


@njit(cache=True)
def may_hold_ip_addresses(codes, offsets):  # type: ignore[no-untyped-def]
    """Which texts of a batch hold three points with one to three digits between each two, or two colons
    with up to four hexadecimal digits between them: `bool [texts]`."""
    found = np.zeros(len(offsets) - 1, dtype=np.bool_)
    for text in range(len(found)):
        # Characters since the last point or colon; far where others than digits stand between.
        since_point = since_colon = _FAR
        points = 0
        for position in range(offsets[text], offsets[text + 1]):
            code = codes[position]
            if code == _POINT:
                points = points + 1 if 1 <= since_point <= 3 else 1
                if points == 3:
                    found[text] = True
                    break
                since_point = 0
                since_colon = _FAR
            elif code == _COLON:
                if since_colon <= 4:
                    found[text] = True
                    break
                since_colon = 0
                since_point = _FAR
            elif 0x30 <= code <= 0x39:
                since_point += 1
                since_colon += 1
            else:
                since_point = _FAR
                since_colon = since_colon + 1 if 0x41 <= (code & ~0x20) <= 0x46 else _FAR
    return found


def _is_public_ipv4(text: str) -> bool:
    try:
        address = IPv4Address(text)
    except ValueError:
        return False
    large = sum(part >= _LARGE_PART for part in address.packed)
    return address.is_global and large >= 2 and not address.is_multicast


def _is_public_ipv6(text: str) -> bool:
    try:
        return IPv6Address(text).is_global
    except ValueError:
        return False
