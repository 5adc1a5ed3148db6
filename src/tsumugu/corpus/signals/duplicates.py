"""Equal items among hashed lines, sentences or paragraphs; a kernel that others call."""

import numpy as np
from numba import njit


@njit(cache=True)
def count_duplicates(hashes, lengths):  # type: ignore[no-untyped-def]
    """How many items stood in the list before, and the sum of their lengths."""
    order = np.argsort(hashes)
    repeated = characters = 0
    for rank in range(1, len(hashes)):
        if hashes[order[rank]] == hashes[order[rank - 1]]:
            repeated += 1
            characters += lengths[order[rank]]
    return repeated, characters
