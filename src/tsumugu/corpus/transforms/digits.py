"""What the masks of telephone, identity and card numbers share: digits of both widths."""

import re
import sys
from functools import cache

import numpy as np
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.signals.batch import code_points
from tsumugu.corpus.signals.classes import matching

DIGIT = "[0-9０-９]"
HYPHEN = "[-‐‑‒–—―−－ｰー]"
"""Everything that stands for a hyphen between digits: the long vowel mark is the commonest mistake."""

_NARROW = str.maketrans("０１２３４５６７８９", "0123456789")
_NOT_A_DIGIT = re.compile("[^0-9]")

_BETWEEN = "[-‐‑‒–—―−－ｰー \u3000.()（）]"
_FEWEST_DIGITS, _MOST_BETWEEN = 9, 3
_OTHER, _A_DIGIT, _SEPARATOR = range(3)


def digits(text: str) -> str:
    """The digits of `text`, in ASCII.

    >>> digits("０９０－1234 5678")
    '09012345678'
    """
    return _NOT_A_DIGIT.sub("", text.translate(_NARROW))


def has_long_number(text: str) -> bool:
    """Whether nine digits stand somewhere with at most three characters that numbers are written with
    between each two: no telephone, identity or card number is shorter."""
    return bool(long_numbers(*code_points([text]))[0])


def long_numbers(codes: NDArray[np.uint32], offsets: NDArray[np.int64]) -> NDArray[np.bool_]:
    """`has_long_number` of every text of a batch: `bool [texts]`."""
    found: NDArray[np.bool_] = _long_numbers(codes, offsets, _kinds())
    return found


@cache
def _kinds() -> NDArray[np.uint8]:
    kinds = np.full(sys.maxunicode + 1, _OTHER, dtype=np.uint8)
    kinds[matching(_BETWEEN)] = _SEPARATOR
    kinds[matching(DIGIT)] = _A_DIGIT
    return kinds


@njit(cache=True)
def _long_numbers(codes, offsets, kinds):  # type: ignore[no-untyped-def]
    found = np.zeros(len(offsets) - 1, dtype=np.bool_)
    for text in range(len(found)):
        digits = between = 0
        for position in range(offsets[text], offsets[text + 1]):
            kind = kinds[codes[position]]
            if kind == _OTHER:
                digits = 0
            elif kind == _A_DIGIT:
                digits += 1
                between = 0
                if digits == _FEWEST_DIGITS:
                    found[text] = True
                    break
            elif between < _MOST_BETWEEN:
                between += 1
            else:
                digits = 0
    return found
