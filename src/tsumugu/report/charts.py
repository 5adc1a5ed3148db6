"""Charts as inline SVG: a histogram, a line chart, and bars with intervals.

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


def histogram(
    kept: NDArray[np.float64],
    dropped: NDArray[np.float64],
    *,
    thresholds: Sequence[float],
    bins: int = 40,
) -> Markup:
    """Kept documents upward, dropped ones downward, and a line at every threshold.

    Values beyond the 99th percentile are counted in the outermost bins.
    """
    width, half = 320.0, 55.0
    both = np.concatenate([kept, dropped])
    if len(both) == 0:
        return Markup("")
    low = min(0.0, float(both.min()))
    high = max(float(np.percentile(both, 99)), *(t * 1.15 for t in thresholds), low + 1e-9)
    edges = np.linspace(low, high, bins + 1)
    up, down = (np.histogram(np.clip(values, low, high), edges)[0] for values in (kept, dropped))
    # Square roots, so that the few kept of many documents can still be seen.
    tallest = math.sqrt(max(up.max(initial=1), down.max(initial=1), 1))
    parts = [f'<svg viewBox="0 0 {width:.0f} {2 * half + 20:.0f}" role="img">']
    step = width / bins
    for counts, css, sign in ((up, "kept", -1), (down, "dropped", 1)):
        for index, count in enumerate(counts):
            height = math.sqrt(count) / tallest * (half - 4)
            hint = f"{int(count)} {css}, from {_number(edges[index])}"
            y = half - height if sign < 0 else half
            parts.append(
                f'<rect class="{css}" x="{index * step:.1f}" y="{y:.1f}" width="{step - 0.6:.1f}" '
                f'height="{height:.1f}"><title>{hint}</title></rect>'
            )
    for threshold in thresholds:
        x = (threshold - low) / (high - low) * width
        parts.append(f'<line class="threshold" x1="{x:.1f}" x2="{x:.1f}" y1="0" y2="{2 * half:.0f}"/>')
        parts.append(f'<text class="threshold" x="{min(x + 3, width - 40):.1f}" y="10">{threshold:g}</text>')
    parts.append(f'<text x="0" y="{2 * half + 14:.0f}">{_number(low)}</text>')
    parts.append(
        f'<text x="{width:.0f}" y="{2 * half + 14:.0f}" text-anchor="end">{_number(high)}</text></svg>'
    )
    return Markup("".join(parts))


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


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
