"""Fit many scaling laws at once: from many starts, or to many resamplings of the same runs.

Levenberg-Marquardt on Huber's loss by reweighting (Holland & Welsch 1977), in numpy, all problems side by
side. What is minimized is Hoffmann et al.'s (arXiv 2203.15556, equation 3): the difference of
log-sum-exp(log A - alpha log N, log B - beta log D, log E) and the logarithm of the loss.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HUBER = 1e-3
"""Differences of logarithms beyond this count linearly, not squared, as in Hoffmann et al."""
STEEPEST = 3.0
"""Exponents are kept between 0 and this; further out, terms of a law are the same for all runs but one."""
_GIVEN_UP = 1e10
"""A damping at which no direction is downhill any more."""


@dataclass(frozen=True)
class Points:
    """What runs have come to, `[runs]` each."""

    log_parameters: Floats
    log_tokens: Floats
    log_loss: Floats


def minimize(points: Points, starts: Floats, weights: Floats, *, iterations: int) -> tuple[Floats, Floats]:
    """The constants that each start leads to.

    Args:
        points: the runs.
        starts: `[problems, 5]`: log A, log B, log E, alpha, beta.
        weights: `[problems, runs]` or `[1, runs]`: how often each run counts.
        iterations: steps at most; those that find nothing lower stop earlier.

    Returns:
        `[problems, 5]`, and Huber's loss of each, `[problems]`.
    """
    # Around their middle, sizes and exponents hardly depend on each other.
    middle_n, middle_d = float(np.mean(points.log_parameters)), float(np.mean(points.log_tokens))
    n, d = points.log_parameters - middle_n, points.log_tokens - middle_d
    weights = np.broadcast_to(weights, (len(starts), len(n)))
    found = starts.copy()
    found[:, 0] -= found[:, 3] * middle_n
    found[:, 1] -= found[:, 4] * middle_d
    values = _huber(_differences(found, n, d, points.log_loss)[0], weights)
    damping = np.full(len(found), 1e-2)
    active = np.arange(len(found))
    for _ in range(iterations):
        if not len(active):
            break
        here, weight = found[active], weights[active]
        off, parts = _differences(here, n, d, points.log_loss)
        first, second, third = parts
        slopes = np.stack([first, second, third, -first * n, -second * d], axis=2)
        pull = weight * np.minimum(1.0, HUBER / np.maximum(np.abs(off), 1e-300))
        curvature = np.einsum("srp,sr,srq->spq", slopes, pull, slopes)
        downhill = -np.einsum("srp,sr,sr->sp", slopes, pull, off)
        diagonal = np.einsum("spp->sp", curvature)
        diagonal += damping[active, None] * (diagonal + 1e-12) + 1e-14
        tried = here + np.linalg.solve(curvature, downhill[:, :, None])[:, :, 0]
        tried[:, 3:] = tried[:, 3:].clip(0.0, STEEPEST)
        reached = _huber(_differences(tried, n, d, points.log_loss)[0], weight)
        before = values[active]
        better = reached < before
        found[active[better]], values[active[better]] = tried[better], reached[better]
        damping[active] *= np.where(better, 0.2, 5.0)
        settled = better & (before - reached <= 1e-12 * before)
        active = active[~settled & (damping[active] < _GIVEN_UP)]
    found[:, 0] += found[:, 3] * middle_n
    found[:, 1] += found[:, 4] * middle_d
    return found, values


def _differences(found: Floats, n: Floats, d: Floats, log_loss: Floats) -> tuple[Floats, Floats]:
    """Of logarithms, `[problems, runs]`, and what share of the loss each of the three terms is."""
    log_a, log_b, log_e, alpha, beta = found.T[:, :, None]
    terms = np.stack(np.broadcast_arrays(log_a - alpha * n, log_b - beta * d, log_e))
    largest = terms.max(axis=0)
    sizes = np.exp(terms - largest)
    total = sizes.sum(axis=0)
    return np.log(total) + largest - log_loss, sizes / total


def _huber(off: Floats, weights: Floats) -> Floats:
    size = np.abs(off)
    each = np.where(size <= HUBER, size**2 / 2, HUBER * (size - HUBER / 2))
    total: Floats = np.einsum("sr,sr->s", weights, each)
    return total
