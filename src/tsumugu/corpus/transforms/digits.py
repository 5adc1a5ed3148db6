"""What the masks of telephone, identity and card numbers share: digits of both widths."""

import re

DIGIT = "[0-9０-９]"
HYPHEN = "[-‐‑‒–—―−－ｰー]"
"""Everything that stands for a hyphen between digits: the long vowel mark is the commonest mistake."""

_NARROW = str.maketrans("０１２３４５６７８９", "0123456789")
_NOT_A_DIGIT = re.compile("[^0-9]")

_LONG_NUMBER = re.compile(rf"{DIGIT}(?:[-‐‑‒–—―−－ｰー \u3000.()（）]{{0,3}}{DIGIT}){{8}}")


def digits(text: str) -> str:
    """The digits of `text`, in ASCII.

    >>> digits("０９０－1234 5678")
    '09012345678'
    """
    return _NOT_A_DIGIT.sub("", text.translate(_NARROW))


def has_long_number(text: str) -> bool:
    """Whether nine digits stand somewhere with little between them: none of the numbers is shorter."""
    return _LONG_NUMBER.search(text) is not None
