"""64-bit hashes of texts, lines and n-grams, computed on code points.

Not cryptographic: whoever wants two texts to collide can have that. The constants are fixed, so
hashes of different shards, runs and machines can be compared. 0 never comes out: it is the key of
what has nothing to compare, and equals nothing, itself included.
"""

import numpy as np
from numba import njit

NEWLINE = np.uint32(0x0A)
NO_KEY = 0
_ZERO, _ONE = np.uint64(0), np.uint64(1)
_LEFT, _RIGHT = np.uint64(31), np.uint64(33)
_SYMBOL = np.uint64(0x9E3779B97F4A7C15)
_STEP = np.uint64(0xBF58476D1CE4E5B9)
SEED_A = np.uint64(0x243F6A8885A308D3)
SEED_B = np.uint64(0x13198A2E03707344)
BASE = np.uint64(0xD1342543DE82EF95)
"""Of the polynomial over an n-gram: odd, so that every character reaches the upper bits."""


@njit(cache=True, inline="always")
def absorb(state, code):  # type: ignore[no-untyped-def]
    """The hash `state` with one more code point: rotate and multiply, as xxHash and Murmur do."""
    state = (state ^ (np.uint64(code) * _SYMBOL)) * _STEP
    return (state << _LEFT) | (state >> _RIGHT)


@njit(cache=True, inline="always")
def mix(value):  # type: ignore[no-untyped-def]
    """SplitMix64's finaliser (Steele et al. 2014): every input bit reaches every output bit."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit(cache=True, inline="always")
def finish(state, length):  # type: ignore[no-untyped-def]
    """The hash of everything absorbed, `length` code points; never `NO_KEY`."""
    mixed = mix(state ^ np.uint64(length))
    return mixed if mixed != _ZERO else _ONE


@njit(cache=True)
def hash_ngrams(codes, start, end, size, text, hashes):  # type: ignore[no-untyped-def]
    """Hash every window of `size` code points of one text, line ends left out.

    Args:
        text: scratch, at least `end - start` long; holds the code points without line ends after.
        hashes: receives the hashes, mixed.

    Returns:
        How many there are: a text shorter than `size` is one window, an empty one has none.
    """
    length = 0
    for index in range(start, end):
        if codes[index] != NEWLINE:
            text[length] = codes[index]
            length += 1
    if length == 0:
        return 0
    width = min(size, length)
    power = _ONE
    value = _ZERO
    for index in range(width):
        value = value * BASE + np.uint64(text[index]) + _ONE
        power *= BASE
    hashes[0] = mix(value)
    for index in range(width, length):
        value = value * BASE + np.uint64(text[index]) + _ONE - (np.uint64(text[index - width]) + _ONE) * power
        hashes[index - width + 1] = mix(value)
    return length - width + 1
