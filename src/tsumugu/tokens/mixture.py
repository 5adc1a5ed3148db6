"""Which source a sample comes from, as arithmetic.

`resolve_mixture` turns the recipe's words (epochs, weights, caps) into whole shares. `split_samples`
then says, for any sample number, which source it comes from and which of that source's samples it
is: a chain of splits in two, each after Bresenham. Of the first n samples that reach a source with
share `num` of `den`, exactly L(n) = (n * num + den // 2) // den are its own; so sample n is its own
if L(n + 1) > L(n), and goes on along the chain as number n - L(n) otherwise. No block, no table, no
random number: after any n samples the count is off by at most half a sample at each source.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from tsumugu.errors import TsumuguError
from tsumugu.tokens.config import SourceShare

MAX_SAMPLES = 2**41
"""So far the arithmetic of `split_samples` stays within 63 bits: two trillion sequences."""
_LOW_BITS = 20


@dataclass(frozen=True)
class Mixture:
    """Sources with their shares of the samples."""

    names: tuple[str, ...]
    sizes: NDArray[np.int64]
    """Samples in one epoch of each source."""
    shares: NDArray[np.int64]
    """Shares in proportion to each other; their sum is at most `MAX_SAMPLES`."""

    def counts(self, samples: int) -> list[int]:
        """How many of the first `samples` samples each source gives."""
        counts, left, share_left = [], samples, int(self.shares.sum())
        for share in self.shares.tolist():
            own = (left * share + share_left // 2) // share_left if share_left else 0
            counts.append(own)
            left, share_left = left - own, share_left - share
        return counts

    def epochs(self, samples: int) -> list[float]:
        """The same, as passes over each source."""
        return [count / size for count, size in zip(self.counts(samples), self.sizes.tolist(), strict=True)]


def resolve_mixture(
    sizes: Mapping[str, int], mixture: Mapping[str, SourceShare], *, samples: int, batch_size: int
) -> Mixture:
    """The shares of a run of `samples` samples.

    Sources with `epochs` are read so often; the others share what is left by weight, and what one
    of them may not take because of its `max_epochs` goes to the rest of them. If all have
    `epochs`, the run must be as long as they say, up to less than one batch.

    Args:
        sizes: samples in one epoch of each source of the mixture.
        mixture: the recipe's `data.mixture`.

    Raises:
        TsumuguError: a source without a sample, or shares that cannot fill this run; the
            message says with which numbers they could.
    """
    if samples > MAX_SAMPLES:
        raise TsumuguError(f"pretrain reads {samples} sequences; the loader counts to {MAX_SAMPLES}")
    if empty := [name for name in mixture if sizes[name] < 1]:
        raise TsumuguError(
            f"data.mixture: the source {empty[0]!r} is too short for a single sequence; leave it out, or "
            f"choose a smaller pretrain.sequence_length"
        )
    # By name: the order of keys in a recipe means nothing.
    mixture = {name: mixture[name] for name in sorted(mixture)}
    names = tuple(mixture)
    if any(share.epochs or share.max_epochs for share in mixture.values()):
        shares = _whole_run(sizes, mixture, samples=samples, batch_size=batch_size)
    else:
        # Weights alone: the same order of samples however long the run is.
        shares = _portions(MAX_SAMPLES // 2, {name: _weight(mixture[name]) for name in names})
    return Mixture(
        names=names,
        sizes=np.array([sizes[name] for name in names], dtype=np.int64),
        shares=np.array([shares[name] for name in names], dtype=np.int64),
    )


def _whole_run(
    sizes: Mapping[str, int], mixture: Mapping[str, SourceShare], *, samples: int, batch_size: int
) -> dict[str, int]:
    """Exactly how many samples of the run each source gives."""
    fixed = {
        name: max(1, round(_exact(share.epochs) * sizes[name]))
        for name, share in mixture.items()
        if share.epochs is not None
    }
    taken = sum(fixed.values())
    weights = {name: _weight(share) for name, share in mixture.items() if share.weight is not None}
    if not weights:
        if abs(samples - taken) >= batch_size:
            raise TsumuguError(
                f"data.mixture: the epochs come to {taken} sequences, but pretrain reads {samples}; set "
                f"pretrain.steps = {math.ceil(taken / batch_size)}, or give one source a weight instead"
            )
        return fixed
    if samples <= taken:
        raise TsumuguError(
            f"data.mixture: the epochs come to {taken} sequences of the {samples} that pretrain reads, "
            f"which leaves none for {', '.join(weights)}; lower the epochs, or set pretrain.steps to at "
            f"least {taken // batch_size + 1}"
        )
    caps = {
        name: math.floor(_exact(mixture[name].max_epochs) * sizes[name])
        for name in weights
        if mixture[name].max_epochs is not None
    }
    return fixed | _capped(samples - taken, weights, caps, samples=samples, batch_size=batch_size)


def _capped(
    left: int,
    weights: dict[str, Fraction],
    caps: Mapping[str, int],
    *,
    samples: int,
    batch_size: int,
) -> dict[str, int]:
    """Divide `left` samples by weight; what is above a cap goes to those that are below theirs."""
    shares: dict[str, int] = {}
    while weights:
        total = sum(weights.values())
        full = [name for name in weights if name in caps and left * weights[name] > caps[name] * total]
        if not full:
            return shares | _portions(left, weights)
        for name in full:
            shares[name] = caps[name]
            left -= caps[name]
        weights = {name: weight for name, weight in weights.items() if name not in full}
    if left:
        raise TsumuguError(
            f"data.mixture: every source reaches its max_epochs, and {left} of the {samples} sequences that "
            f"pretrain reads are left over; set pretrain.steps = {(samples - left) // batch_size} or lower, "
            f"or raise a max_epochs ({', '.join(f'{name}: {caps[name]} sequences' for name in shares)})"
        )
    return shares


def _portions(total: int, weights: Mapping[str, Fraction]) -> dict[str, int]:
    """`total` divided in proportion to `weights`, rounded by largest remainder."""
    whole = sum(weights.values())
    exact = {name: total * weight / whole for name, weight in weights.items()}
    portions = {name: math.floor(value) for name, value in exact.items()}
    by_remainder = sorted(weights, key=lambda name: portions[name] - exact[name])
    for name in by_remainder[: total - sum(portions.values())]:
        portions[name] += 1
    return portions


def _exact(value: float | None) -> Fraction:
    """0.7 as seven tenths, not as the nearest binary number."""
    return Fraction(str(value))


def _weight(share: SourceShare) -> Fraction:
    return _exact(share.weight)


def split_samples(
    numbers: NDArray[np.int64], shares: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where samples come from.

    Args:
        numbers: of samples, `int64 [n]`, below `MAX_SAMPLES`.
        shares: `int64 [sources]`, with a sum of at most `MAX_SAMPLES`.

    Returns:
        the source of each, `int64 [n]`, and its number among that source's samples, `int64 [n]`.
    """
    sources = np.empty(len(numbers), dtype=np.int64)
    own_numbers = np.empty(len(numbers), dtype=np.int64)
    going_on, whole = np.arange(len(numbers)), int(shares.sum())
    for source, share in enumerate(shares.tolist()):
        if not len(going_on):
            break
        before = _own(numbers, share, whole)
        own = _own(numbers + 1, share, whole) > before
        sources[going_on[own]] = source
        own_numbers[going_on[own]] = before[own]
        going_on, numbers = going_on[~own], (numbers - before)[~own]
        whole -= share
    return sources, own_numbers


def _own(samples: NDArray[np.int64], share: int, whole: int) -> NDArray[np.int64]:
    """(samples * share + whole // 2) // whole, for numbers up to 2**41, within 63 bits.

    The product has up to 82 bits, so the samples are divided in two: first their high bits, then
    what these leave together with the low ones.
    """
    high, left = np.divmod((samples >> _LOW_BITS) * share, whole)
    low = (left << _LOW_BITS) + (samples & ((1 << _LOW_BITS) - 1)) * share + whole // 2
    own: NDArray[np.int64] = (high << _LOW_BITS) + low // whole
    return own
