"""What every other threshold would drop: exact counts over a grid, and a histogram to move in.

For each bound of each rule, documents are counted at some 200 values between the smallest and
the 99th percentile, so the page can say "would drop N of M" for any position of its slider without
holding one number per document. Documents that another rule drops anyway are told apart from
those for which this bound decides.
"""

import math
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

from tsumugu.corpus.decisions import FinishedCorpus, Threshold, signal_columns

_POSITIONS = 200
_BINS = 60
WIDTH, HEIGHT, FLOOR = 720.0, 190.0, 118.0
"""The drawing; bars stand on FLOOR, and hang from it."""


@dataclass(frozen=True)
class Axis:
    """From signal values to places, 0 (`low`) to 1 (`high`)."""

    low: float
    high: float
    logarithmic: bool

    def place(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        """Where values stand; beyond the ends they stand at the ends."""
        above = np.clip(values, self.low, self.high) - self.low
        whole = self.high - self.low
        places: NDArray[np.float64] = np.log1p(above) / np.log1p(whole) if self.logarithmic else above / whole
        return places

    def value(self, places: NDArray[np.float64]) -> NDArray[np.float64]:
        """The inverse of `place`."""
        whole = self.high - self.low
        above: NDArray[np.float64] = (
            np.expm1(places * np.log1p(whole)) if self.logarithmic else places * whole
        )
        return self.low + above


@dataclass(frozen=True)
class Sweep:
    """One bound of one rule, and what other values of it would do."""

    rule: Threshold
    bound: str
    """`at_least` or `at_most`."""
    threshold: float
    axis: Axis
    grid: tuple[float, ...]
    """Ascending; the threshold is one of them."""
    places: tuple[float, ...]
    fails: tuple[int, ...]
    """Documents that a bound of this value drops."""
    decides: tuple[int, ...]
    """Those of them that no other rule drops."""
    documents: int
    """All that could be read."""
    deciding: tuple[int, ...]
    """Histogram of documents that no other rule drops, in equal parts of the axis."""
    others: tuple[int, ...]

    @property
    def position(self) -> int:
        """Where the threshold stands in the grid."""
        return self.grid.index(self.threshold)


def sweeps(corpus: FinishedCorpus) -> list[Sweep]:
    """Every bound of every rule, in the order in which they are asked.

    Memory: one signal's column at a time, and two bytes for every document.
    """
    rules = [rule for rule in corpus.rules if rule.signal in corpus.signals]
    failures = np.zeros(0, dtype=np.int16)
    for rule in rules:
        fails = rule.fails(_column(corpus, rule.signal))
        failures = fails.astype(np.int16) if len(failures) == 0 else failures + fails
    found = []
    for rule in rules:
        values = _column(corpus, rule.signal)
        decided = (failures - rule.fails(values)) > 0
        measured = ~np.isnan(values)
        for bound, threshold in (("at_least", rule.at_least), ("at_most", rule.at_most)):
            if threshold is not None:
                found.append(
                    _sweep(rule, bound, threshold, values=values[measured], decided=decided[measured])
                )
    return found


def histogram(sweep: Sweep) -> Markup:
    """The drawing: what this bound decides upward, what other rules drop anyway downward.

    Bars are drawn twice, once for each side of the threshold, and clipped at it; moving the
    threshold moves the clips. Heights are square roots, so that the few can be seen beside the many.
    """
    clip = escape(f"{sweep.rule.reason}-{sweep.bound}")
    tallest = math.sqrt(max(1, *sweep.deciding))
    deepest = math.sqrt(max(1, *sweep.others))
    step = WIDTH / _BINS
    up, down = [], []
    for index, (deciding, others) in enumerate(zip(sweep.deciding, sweep.others, strict=True)):
        x = f'x="{index * step + 0.5:.1f}" width="{step - 1:.1f}"'
        height = math.sqrt(deciding) / tallest * (FLOOR - 16)
        up.append(f'<rect {x} y="{FLOOR - height:.1f}" height="{height:.1f}"/>')
        depth = math.sqrt(others) / deepest * 40
        down.append(f'<rect {x} y="{FLOOR + 1:.0f}" height="{depth:.1f}"/>')
    at = sweep.places[sweep.position] * WIDTH
    left, right = ("dropped", "kept") if sweep.bound == "at_least" else ("kept", "dropped")
    parts = [
        f'<svg class="sweep" viewBox="0 -14 {WIDTH:.0f} {HEIGHT:.0f}" role="img" aria-label="histogram">',
        f'<clipPath id="{clip}-l"><rect class="left" x="0" y="0" width="{at:.1f}" height="{HEIGHT:.0f}"/>'
        f'</clipPath><clipPath id="{clip}-r"><rect class="right" x="{at:.1f}" y="0" '
        f'width="{WIDTH - at:.1f}" height="{HEIGHT:.0f}"/></clipPath>',
        f'<g class="others">{"".join(down)}</g>',
        f'<g class="{left}" clip-path="url(#{clip}-l)">{"".join(up)}</g>',
        f'<g class="{right}" clip-path="url(#{clip}-r)">{"".join(up)}</g>',
        f'<line class="grid" x1="0" x2="{WIDTH:.0f}" y1="{FLOOR + 0.5:.1f}" y2="{FLOOR + 0.5:.1f}"/>',
        f'<line class="recipe" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{FLOOR + 42:.0f}"/>',
        f'<g class="handle" transform="translate({at:.1f} 0)"><line y1="0" y2="{FLOOR + 42:.0f}"/>'
        f'<circle cy="0" r="7"/></g>',
    ]
    for tick in _ticks(sweep.axis):
        middle = float(sweep.axis.place(np.array([tick]))[0]) * WIDTH
        anchor = "start" if middle < 12 else "end" if middle > WIDTH - 24 else "middle"
        parts.append(
            f'<text x="{middle:.1f}" y="{FLOOR + 56:.0f}" text-anchor="{anchor}">{_number(tick)}</text>'
        )
    return Markup("".join(parts) + "</svg>")


def _column(corpus: FinishedCorpus, signal: str) -> NDArray[np.float64]:
    """One signal of all documents; what was quarantined, or dropped before rules were asked, is NaN."""
    parts = [signal_columns(rows, [signal])[signal] for rows in corpus.tables([signal])]
    return np.concatenate(parts)


def _sweep(
    rule: Threshold,
    bound: str,
    threshold: float,
    *,
    values: NDArray[np.float64],
    decided: NDArray[np.bool_],
) -> Sweep:
    axis = _axis(values, threshold)
    whole = bool(np.all(values == np.floor(values))) and threshold == int(threshold)
    grid = _grid(axis, threshold, whole=whole)
    places = axis.place(grid)
    counts = [_count_failing(np.sort(part), grid, bound) for part in (values, values[~decided])]
    bins = np.minimum((axis.place(values) * _BINS).astype(np.int64), _BINS - 1)
    deciding, others = (np.bincount(bins[part], minlength=_BINS) for part in (~decided, decided))
    return Sweep(
        rule=rule,
        bound=bound,
        threshold=threshold,
        axis=axis,
        grid=tuple(grid.tolist()),
        places=tuple(places.tolist()),
        fails=tuple(counts[0].tolist()),
        decides=tuple(counts[1].tolist()),
        documents=len(values),
        deciding=tuple(deciding.tolist()),
        others=tuple(others.tolist()),
    )


def _count_failing(values: NDArray[np.float64], grid: NDArray[np.float64], bound: str) -> NDArray[np.int64]:
    """How many of the sorted `values` each bound in `grid` drops: a value equal to it passes."""
    if bound == "at_least":
        return np.searchsorted(values, grid, side="left").astype(np.int64)
    return (len(values) - np.searchsorted(values, grid, side="right")).astype(np.int64)


def _axis(values: NDArray[np.float64], threshold: float) -> Axis:
    """From the smallest value to the 99th percentile, and past the threshold in any case."""
    smallest, most = (float(values.min()), float(np.percentile(values, 99))) if len(values) else (0.0, 1.0)
    low = min(0.0, smallest, threshold)
    high = max(most, low + 1.2 * (threshold - low), low + 1e-6)
    # Shares stand on a straight axis. Counts reach over many powers of ten: a logarithmic one.
    logarithmic = high - low > 20
    if threshold == low and most == low:
        high = low + 1.0
    return Axis(low=low, high=high, logarithmic=logarithmic)


def _grid(axis: Axis, threshold: float, *, whole: bool) -> NDArray[np.float64]:
    """Round values at equal distances on the axis; the threshold takes the place of the nearest."""
    values = axis.value(np.linspace(0.0, 1.0, _POSITIONS + 1))
    if axis.logarithmic:
        rounded = np.array([float(f"{value:.3g}") for value in values])
    else:
        # As many digits as a step needs, so that nobody reads 0.15000000000000002.
        rounded = values.round(2 - math.floor(math.log10(axis.high - axis.low)))
    rounded = np.unique(np.clip(rounded.round() if whole else rounded, axis.low, None))
    rounded[int(np.argmin(np.abs(axis.place(rounded) - axis.place(np.array([threshold])))))] = threshold
    return np.unique(rounded)


def _ticks(axis: Axis) -> list[float]:
    """Powers of ten, or some five multiples of 1, 2 or 5 of a power of ten."""
    if axis.logarithmic:
        powers = [10.0**power for power in range(0, 12)]
        return [axis.low, *(power for power in powers if axis.low + 1 < power < axis.high * 0.9), axis.high]
    power = 10.0 ** math.floor(math.log10((axis.high - axis.low) / 5))
    step = next(power * part for part in (1, 2, 5, 10) if (axis.high - axis.low) / (power * part) <= 6)
    first, last = math.ceil(axis.low / step), math.floor(axis.high / step + 1e-9)
    return [step * multiple for multiple in range(first, last + 1)]


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
