"""What to do about a step whose loss or gradient jumps.

A step is not applied when its loss or its gradient norm is no number, or when either lies more than
`spike_sigmas` standard deviations above the mean of the last `window` steps that were applied; the rule is
OLMo-core's `SkipStepOptimizer` (https://github.com/allenai/OLMo-core), except that a skipped step never
enters the statistics here. What such a step read is remembered. After several in a row the weights
themselves are suspect: training goes back to a checkpoint and leaves out what the failed steps read, as
PaLM's did (Chowdhery et al. 2022, section 5.1). When rewinds bring it no further, it stops.

Everything is a function of the numbers given, which are the same on all processes; so is the verdict.
"""

import math
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple

from tsumugu.training.config import StabilityConfig


class Verdict(NamedTuple):
    """What to do about a step."""

    action: Literal["apply", "skip", "rewind", "stop"]
    """`skip`: do not apply it. `rewind`: nor that, and go back to a checkpoint. `stop`: give up."""
    reason: str = ""
    """What is wrong with the step, for a person; empty if nothing is."""


class SpikeGuard:
    """Judges every step, counts failures, and keeps the samples that failed steps read."""

    def __init__(self, config: StabilityConfig) -> None:
        self._config = config
        self._losses: list[float] = []
        self._grad_norms: list[float] = []
        self._failures = 0
        self._furthest = 0
        self._offending: list[range] = []
        self.rewinds = 0
        """In a row that brought training no further."""

    def judge(self, loss: float, grad_norm: float, *, step: int, samples: Sequence[range]) -> Verdict:
        """The verdict on a step whose gradients are computed and not yet applied.

        Args:
            loss: mean loss of its batch.
            grad_norm: before clipping.
            step: its number, from 1.
            samples: what it read, as `next_samples` gave it.
        """
        reason = self._fault("loss", loss, self._losses) or self._fault(
            "gradient norm", grad_norm, self._grad_norms
        )
        if not reason:
            self._accept(loss, grad_norm, step)
            return Verdict("apply")
        self._offending = _merged([*self._offending, *samples])
        self._furthest = max(self._furthest, step)
        self._failures += 1
        if self._failures < self._config.skips_before_rewind:
            return Verdict("skip", reason)
        if self.rewinds >= self._config.rewinds_before_stop:
            return Verdict("stop", reason)
        self.rewinds += 1
        return Verdict("rewind", reason)

    def next_samples(self, consumed: int, size: int) -> list[range]:
        """The next `size` samples after the first `consumed`, those of failed steps left out.

        Returns:
            Numbers of samples, in order; the `stop` of the last range is `consumed` for the step after.
        """
        found = []
        for known in self._offending:
            if known.stop <= consumed:
                continue
            free = min(size, known.start - consumed)
            if free > 0:
                found.append(range(consumed, consumed + free))
                size -= free
            if not size:
                return found
            consumed = known.stop
        return [*found, range(consumed, consumed + size)]

    @property
    def offending(self) -> tuple[range, ...]:
        """The samples that failed steps read, in order."""
        return tuple(self._offending)

    def state(self) -> dict[str, Any]:
        """All of it, for JSON: to be kept with every checkpoint."""
        return {
            "losses": list(self._losses),
            "grad_norms": list(self._grad_norms),
            "failures": self._failures,
            "furthest": self._furthest,
            "offending": [[known.start, len(known)] for known in self._offending],
            "rewinds": self.rewinds,
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from `state()`."""
        self._losses = list(state["losses"])
        self._grad_norms = list(state["grad_norms"])
        self._failures = state["failures"]
        self._furthest = state["furthest"]
        self._offending = [range(first, first + count) for first, count in state["offending"]]
        self.rewinds = state["rewinds"]

    def rewind(self, state: dict[str, Any] | None) -> None:
        """Go back to the statistics of a checkpoint's `state()`, None being the very beginning.

        The offending samples and the count of rewinds stay.
        """
        self._losses = list(state["losses"]) if state else []
        self._grad_norms = list(state["grad_norms"]) if state else []
        self._failures = 0

    def _accept(self, loss: float, grad_norm: float, step: int) -> None:
        window = self._config.window
        self._losses = [*self._losses, loss][-window:]
        self._grad_norms = [*self._grad_norms, grad_norm][-window:]
        self._failures = 0
        if step >= self._furthest + window:
            self.rewinds = 0

    def _fault(self, name: str, value: float, last: list[float]) -> str:
        if not math.isfinite(value):
            return f"the {name} is {value}"
        sigmas = self._config.spike_sigmas
        if sigmas is None or len(last) < self._config.window // 2:
            return ""
        mean = math.fsum(last) / len(last)
        deviation = math.sqrt(math.fsum((x - mean) ** 2 for x in last) / (len(last) - 1))
        if value - mean <= sigmas * deviation:
            return ""
        return (
            f"the {name} is {value:.4g}, more than {sigmas:g} standard deviations ({deviation:.2g}) above "
            f"{mean:.4g}, the mean of the last {len(last)} steps"
        )


def _merged(ranges: list[range]) -> list[range]:
    """The same numbers in as few ranges as possible, in order."""
    merged: list[range] = []
    for known in sorted(ranges, key=lambda known: known.start):
        if merged and known.start <= merged[-1].stop:
            merged[-1] = range(merged[-1].start, max(merged[-1].stop, known.stop))
        else:
            merged.append(known)
    return merged
