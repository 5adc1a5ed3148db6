"""A keyed permutation of `range(size)` that needs no memory: the global shuffle.

A balanced Feistel network on a power of four, walked until it lands inside `range(size)` (Black &
Rogaway 2002, "Ciphers with Arbitrary Finite Domains"): always a bijection, whatever the round
function. The round function is the finalizer of SplitMix64 (Steele, Lea & Flood 2014, with the
constants of Stafford's mix 13) of the right half and a round key. It is a shuffle, not a cipher:
nothing here keeps a secret. Plain numpy: importing numba would take longer than the first batch.
"""

import numpy as np
import xxhash
from numpy.typing import NDArray

Keys = NDArray[np.uint64]

_ROUNDS = 6
_SMALLEST_HALF_BITS = 4
"""With four rounds, or on smaller domains, pairs of positions fail a chi-square test of uniformity."""
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_FIRST = np.uint64(0xBF58476D1CE4E5B9)
_SECOND = np.uint64(0x94D049BB133111EB)


def hash_key(*parts: str | int) -> int:
    """A 64-bit key from words and numbers, such as `hash_key("order", seed, "wikipedia")`."""
    return xxhash.xxh3_64_intdigest("\0".join(map(str, parts)).encode())


def mixed(values: Keys) -> Keys:
    """SplitMix64's finalizer: a bijection of `uint64` that leaves no pattern of its input."""
    values = (values ^ (values >> np.uint64(30))) * _FIRST
    values = (values ^ (values >> np.uint64(27))) * _SECOND
    return values ^ (values >> np.uint64(31))


def derived_keys(keys: Keys, numbers: NDArray[np.int64] | int) -> Keys:
    """Of the keys that belong to each of `keys`, those with these numbers."""
    # At least one dimension: numpy warns when a scalar wraps around.
    return mixed(keys + _GAMMA * (np.atleast_1d(numbers).astype(np.uint64) + np.uint64(1)))


def permuted(positions: NDArray[np.int64], size: int, keys: Keys) -> NDArray[np.int64]:
    """Where permutations of `range(size)` take `positions`: `int64 [n]`.

    Args:
        positions: `int64 [n]`, each in `range(size)`.
        size: at most 2**62.
        keys: `uint64 [n]`, or `[1]` for the same permutation everywhere.
    """
    half = np.uint64(max(_SMALLEST_HALF_BITS, ((size - 1).bit_length() + 1) // 2))
    mask = (np.uint64(1) << half) - np.uint64(1)
    keys = np.broadcast_to(keys, positions.shape)
    round_keys = [derived_keys(keys, number) for number in range(_ROUNDS)]
    walkers = positions.astype(np.uint64)
    places = np.empty(positions.shape, dtype=np.int64)
    outside = np.arange(len(positions))
    # From 65 positions on, at least a quarter of the walkers arrive in each round of the loop.
    while len(outside):
        left, right = walkers >> half, walkers & mask
        for key in round_keys:
            left, right = right, left ^ (mixed(right + key) & mask)
        walkers = (left << half) | right
        arrived = walkers < np.uint64(size)
        places[outside[arrived]] = walkers[arrived]
        outside, walkers = outside[~arrived], walkers[~arrived]
        round_keys = [key[~arrived] for key in round_keys]
    return places
