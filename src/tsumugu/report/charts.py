"""Charts as inline SVG: a line chart, and bars with intervals.

Every text that goes into a chart is escaped. Colours are CSS variables of the page, so charts
follow its light and dark themes.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup, escape
from numpy.typing import NDArray

_TICKS = 4


@dataclass(frozen=True)
class Line:
    """A series of a line chart; `css` names its colour in the page's style sheet."""

    label: str
    css: str
    x: Sequence[float]
    y: Sequence[float]


@dataclass(frozen=True)
class Bar:
    """A bar with an optional interval around its value."""

    label: str
    value: float
    low: float | None = None
    high: float | None = None
    css: str = "bar"


def line_chart(lines: Sequence[Line], *, x_label: str, y_label: str) -> Markup:
    """Lines over a common x axis, with a legend."""
    width, height, left, bottom = 720.0, 280.0, 46.0, 34.0
    x_high = max(max(line.x) for line in lines)
    values = [value for line in lines for value in line.y]
    y_low, y_high = min(values), max(values)
    y_high = y_high if y_high > y_low else y_low + 1

    def place(x: float, y: float) -> tuple[float, float]:
        return (
            left + x / x_high * (width - left - 10),
            10 + (y_high - y) / (y_high - y_low) * (height - bottom - 10),
        )

    parts = [f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img">']
    for tick in range(_TICKS + 1):
        value = y_low + (y_high - y_low) * tick / _TICKS
        _, y = place(0, value)
        parts.append(f'<line class="grid" x1="{left:.0f}" x2="{width - 10:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{value:.2f}</text>')
        x_value = x_high * tick / _TICKS
        x, _ = place(x_value, y_low)
        anchor = "end" if tick == _TICKS else "middle"
        parts.append(
            f'<text x="{x:.1f}" y="{height - bottom + 16:.0f}" text-anchor="{anchor}">{x_value:,.0f}</text>'
        )
    for line in lines:
        points = " ".join("{:.1f},{:.1f}".format(*place(x, y)) for x, y in zip(line.x, line.y, strict=True))
        parts.append(f'<polyline class="{escape(line.css)}" points="{points}"/>')
    for index, line in enumerate(lines):
        x = width - 180
        y = 24 + 18 * index
        parts.append(f'<polyline class="{escape(line.css)}" points="{x},{y - 4} {x + 24},{y - 4}"/>')
        parts.append(f'<text x="{x + 30}" y="{y}">{escape(line.label)}</text>')
    parts.append(
        f'<text x="{width / 2:.0f}" y="{height - 4:.0f}" text-anchor="middle">{escape(x_label)}</text>'
    )
    parts.append(f'<text x="{left + 6:.0f}" y="22">{escape(y_label)}</text></svg>')
    return Markup("".join(parts))


def bar_chart(bars: Sequence[Bar], *, high: float, marker: float | None = None, digits: int = 3) -> Markup:
    """Horizontal bars from zero to `high`, with intervals, and a dashed line at `marker`."""
    width, left, row = 720.0, 190.0, 30.0
    scale = (width - left - 90) / high
    tall = row * len(bars) + 4
    parts = [f'<svg viewBox="0 0 {width:.0f} {tall:.0f}" role="img">']
    for index, bar in enumerate(bars):
        y = index * row + 4
        parts.append(
            f'<text x="{left - 8:.0f}" y="{y + 16:.0f}" text-anchor="end">{escape(bar.label)}</text>'
        )
        parts.append(
            f'<rect class="{escape(bar.css)}" x="{left:.0f}" y="{y:.0f}" '
            f'width="{max(0.0, bar.value) * scale:.1f}" height="{row - 8:.0f}"/>'
        )
        end = bar.value
        if bar.low is not None and bar.high is not None:
            end = max(bar.value, bar.high)
            x1, x2, middle = left + bar.low * scale, left + bar.high * scale, y + (row - 8) / 2
            parts.append(
                f'<line class="interval" x1="{x1:.1f}" x2="{x2:.1f}" y1="{middle:.1f}" y2="{middle:.1f}"/>'
            )
        parts.append(f'<text x="{left + end * scale + 8:.1f}" y="{y + 16:.0f}">{bar.value:.{digits}f}</text>')
    if marker is not None:
        x = left + marker * scale
        parts.append(f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{tall:.0f}"/>')
    parts.append("</svg>")
    return Markup("".join(parts))


def rank_chart(counts: NDArray[np.int64], *, x_label: str, y_label: str) -> Markup:
    """Counts over their ranks, both on logarithmic axes, with a dashed line where they become zero.

    Args:
        counts: `int64 [n]`, descending.
    """
    width, height, left, bottom = 720.0, 260.0, 62.0, 34.0
    used = int(np.count_nonzero(counts))
    x_decades = max(1, math.ceil(math.log10(max(2, len(counts)))))
    y_decades = max(1, math.ceil(math.log10(max(2, counts[0] if used else 0))))

    def place(rank: float, count: float) -> tuple[float, float]:
        return (
            left + math.log10(rank) / x_decades * (width - left - 14),
            height - bottom - math.log10(count) / y_decades * (height - bottom - 14),
        )

    parts = [f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img">']
    for decade in range(y_decades + 1):
        _, y = place(1, 10**decade)
        parts.append(f'<line class="grid" x1="{left:.0f}" x2="{width - 14:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{10**decade:,}</text>')
    for decade in range(x_decades + 1):
        x, _ = place(10**decade, 1)
        anchor = "end" if decade == x_decades else "middle"
        parts.append(
            f'<text x="{x:.1f}" y="{height - bottom + 16:.0f}" text-anchor="{anchor}">{10**decade:,}</text>'
        )
    if used:
        ranks = np.unique(np.geomspace(1, used, 300).round().astype(int))
        points = " ".join("{:.1f},{:.1f}".format(*place(rank, counts[rank - 1])) for rank in ranks.tolist())
        parts.append(f'<polyline class="curve2" points="{points}"/>')
    if used < len(counts):
        x, _ = place(used + 1, 1)
        parts.append(
            f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="14" y2="{height - bottom:.0f}"/>'
        )
        parts.append(
            f'<text class="threshold" x="{x - 6:.1f}" y="24" text-anchor="end">'
            f"never used from {used + 1:,} on</text>"
        )
    parts.append(
        f'<text x="{width / 2:.0f}" y="{height - 4:.0f}" text-anchor="middle">{escape(x_label)}</text>'
    )
    parts.append(f'<text x="{left + 6:.0f}" y="12">{escape(y_label)}</text></svg>')
    return Markup("".join(parts))
