"""Plots as SVG files, for pages that show them as images.

Own code, as the other charts of this repository: the files are the same bytes wherever they are drawn, so
that a test can hold them to their numbers, and their style sheet follows the reader's light or dark theme.
Two kinds: panels with lines over a common pair of axes, and rows of dots.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

WIDTH = 780.0
_CHARACTER = 6.7
"""Pixels of an average character of 12 pixels, for legends that wrap."""
_LIGHT = ("#2f6db3", "#c2492f", "#2a8554", "#8455b3", "#a87908", "#0b8486", "#b03f7a", "#555d68")
_DARK = ("#7fb2ee", "#f3957c", "#74c998", "#c6a6ec", "#e3bd57", "#5cc9cb", "#ee93c1", "#b9c0c9")


@dataclass(frozen=True)
class Point:
    """A measurement, or the mean of several."""

    x: float
    y: float | None
    """None: there is none, because all trainings diverged."""
    interval: tuple[float, float] | None = None
    each: tuple[float, ...] = ()
    """The measurements of which `y` is the mean; drawn as dots if there are several."""
    off: bool = False
    """Something diverged here; marked at the upper edge."""
    label: str = ""
    """Beside the point."""


@dataclass(frozen=True)
class Series:
    """Points with a line through them, in the order given."""

    label: str
    points: tuple[Point, ...]
    curve: bool = False
    """Marked at its last point alone; what is above the panel is cut off, not marked at its edge."""


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    title: str
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Axis:
    """What is measured along an edge, with its unit."""

    label: str
    log: bool = False
    ticks: tuple[tuple[float, str], ...] = ()
    """Places and what is written there; round numbers unless given."""
    zero: bool = False
    """Begins at 0."""
    most: float | None = None
    """Reaches no further: what is above is marked at the edge."""


@dataclass(frozen=True)
class Dots:
    """A row of dots: what each seed gave, their mean and its interval."""

    label: str
    each: tuple[float, ...]
    interval: tuple[float, float] | None = None
    note: str = ""
    """Written behind the dots."""


@dataclass(frozen=True)
class _Scale:
    """From values to pixels."""

    low: float
    high: float
    start: float
    end: float
    log: bool

    def __call__(self, value: float) -> float:
        low, high, at = self.low, self.high, value
        if self.log:
            low, high, at = math.log(low), math.log(high), math.log(value)
        return self.start + (at - low) / (high - low) * (self.end - self.start)


def panels(
    found: Sequence[Panel], *, x: Axis, y: Axis, lines: str = "", across: int = 2, height: float = 280.0
) -> str:
    """Panels that share their axes, `across` in a row, with one legend below.

    Args:
        found: at least one, with at least one point among them.
        x: of all panels.
        y: of all panels.
        lines: what the lines differ in, for the legend.
        across: panels in a row.
        height: of a panel, in pixels.

    Raises:
        ValueError: no panel has a point.
    """
    points = [point for panel in found for series in panel.series for point in series.points]
    if not points:
        raise ValueError("there is nothing to plot")
    across = min(across, len(found))
    left, gap, top, below = 62.0, 18.0, 26.0, 46.0
    wide = (WIDTH - left - 14 - gap * (across - 1)) / across
    x_low, x_high = _reach([point.x for point in points], x)
    values = [value for point in points for value in (point.y, *point.each, *(point.interval or ()))]
    y_low, y_high = _reach([value for value in values if value is not None], y)
    x_ticks, y_ticks = x.ticks or _ticks(x_low, x_high), y.ticks or _ticks(y_low, y_high)
    labels = list(dict.fromkeys(series.label for panel in found for series in panel.series))
    parts: list[str] = []
    marked = False
    for place, panel in enumerate(found):
        row, column = divmod(place, across)
        begin, under = left + column * (wide + gap), row * (height + top + below) + top
        across_x = _Scale(x_low, x_high, begin, begin + wide, x.log)
        up_y = _Scale(y_low, y_high, under + height, under, y.log)
        parts += _frame(across_x, up_y, x_ticks, y_ticks, first=column == 0)
        parts.append(f'<text class="title" x="{begin:.1f}" y="{under - 10:.1f}">{escape(panel.title)}</text>')
        inside = f"M{begin:.1f} {under:.1f}h{wide:.1f}v{height:.1f}h-{wide:.1f}z"
        parts.append(f'<clipPath id="panel{place}"><path d="{inside}"/></clipPath>')
        for series in panel.series:
            number = labels.index(series.label)
            if series.curve:
                parts += _curve(series, number, across_x, up_y, clip=f"panel{place}")
            else:
                # Marks at the edge stand side by side where several lines leave at the same place.
                drawn, off = _series(
                    series, number, across_x, up_y, aside=7 * (number - (len(labels) - 1) / 2)
                )
                parts += drawn
                marked |= off
    rows = -(-len(found) // across)
    tall = rows * (height + top + below)
    parts.append(_text(left + (WIDTH - left - 14) / 2, tall - 10, x.label, anchor="middle"))
    middle = tall / 2 - 10
    turned = f'<text transform="rotate(-90)" x="{-middle:.1f}" y="14" text-anchor="middle">'
    parts.append(f"{turned}{escape(y.label)}</text>")
    legend, tall = _legend(lines, labels if len(labels) > 1 else [], left, tall + 12, off=marked)
    return _svg(parts + legend, tall, f"{y.label} over {x.label}")


def rows(groups: Sequence[tuple[str, Sequence[Dots]]], *, x: Axis) -> str:
    """Rows of dots along one axis, in groups with a title and a colour each.

    Args:
        groups: title and rows; at least one dot among them.
        x: the axis.

    Raises:
        ValueError: no row has a dot.
    """
    values = [value for _, group in groups for row in group for value in (*row.each, *(row.interval or ()))]
    if not values:
        raise ValueError("there is nothing to plot")
    longest = max(len(row.label) for _, group in groups for row in group)
    left, step = min(330.0, 22 + longest * _CHARACTER), 26.0
    low, high = _reach(values, x)
    scale = _Scale(low, high, left, WIDTH - 110, x.log)
    parts: list[str] = []
    y = 8.0
    for number, (title, group) in enumerate(groups):
        if title:
            y += 20
            parts.append(f'<text class="title" x="10" y="{y:.1f}">{escape(title)}</text>')
        begin = y + 6
        for row in group:
            y += step
            parts.append(
                f'<path class="grid" d="M{left:.1f} {y:.1f}H{WIDTH - 110:.1f}"/>'
                + _text(left - 10, y + 4, row.label, anchor="end")
            )
            if row.interval is not None:
                ends = [scale(value) for value in row.interval]
                parts.append(f'<path class="bar c{number % 8}" d="M{ends[0]:.1f} {y:.1f}H{ends[1]:.1f}"/>')
            parts += [_dot(scale(value), y, number) for value in row.each if len(row.each) > 1]
            if row.each:
                mean = sum(row.each) / len(row.each)
                parts.append(_mark(scale(mean), y, number))
            parts.append(_text(WIDTH - 100, y + 4, row.note))
        for value, _ in x.ticks or _ticks(low, high):
            at = scale(value)
            parts.insert(0, f'<path class="grid" d="M{at:.1f} {begin:.1f}V{y + 14:.1f}"/>')
        y += 14
    for value, text in x.ticks or _ticks(low, high):
        parts.append(_text(scale(value), y + 16, text, anchor="middle"))
    parts.append(_text((left + WIDTH - 110) / 2, y + 38, x.label, anchor="middle"))
    return _svg(parts, y + 50, x.label)


def _reach(values: Sequence[float], axis: Axis) -> tuple[float, float]:
    """From where to where an axis goes: a little further than what is on it."""
    values = [*values, *(place for place, _ in axis.ticks)]
    if not values:
        return 0.0, 1.0
    low, high = min(values), max(values)
    if axis.most is not None:
        high = min(high, axis.most)
    if axis.log:
        edge = (high / low) ** 0.06 if high > low else 2.0
        return low / edge, high * edge
    edge = (high - low) * 0.07 if high > low else abs(high) * 0.05 or 1.0
    return (0.0 if axis.zero else low - edge), high + edge


def _ticks(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """Four to seven round numbers."""
    rough = (high - low) / 7
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough)
    digits = max(0, -math.floor(math.log10(step)))
    first = math.ceil(low / step)
    return tuple(
        (number * step, f"{number * step:,.{digits}f}")
        for number in range(first, math.floor(high / step) + 1)
    )


def _frame(
    x: _Scale,
    y: _Scale,
    x_ticks: Sequence[tuple[float, str]],
    y_ticks: Sequence[tuple[float, str]],
    *,
    first: bool,
) -> list[str]:
    """Grid and numbers of a panel; numbers at the left of the first of a row alone."""
    parts = []
    for value, text in y_ticks:
        at = y(value)
        parts.append(f'<path class="grid" d="M{x.start:.1f} {at:.1f}H{x.end:.1f}"/>')
        if first:
            parts.append(_text(x.start - 7, at + 4, text, anchor="end"))
    for value, text in x_ticks:
        at = x(value)
        parts.append(f'<path class="grid" d="M{at:.1f} {y.start:.1f}V{y.end:.1f}"/>')
        parts.append(_text(at, y.start + 17, text, anchor="middle"))
    return parts


def _curve(series: Series, number: int, x: _Scale, y: _Scale, *, clip: str) -> list[str]:
    """A line, and a mark at its end if that is inside the panel."""
    known = [(x(point.x), y(point.y)) for point in series.points if point.y is not None]
    points = " ".join(f"{at:.1f},{up:.1f}" for at, up in known)
    parts = [f'<polyline class="c{number % 8}" clip-path="url(#{clip})" points="{points}"/>']
    if known and known[-1][1] >= y.end:
        parts.append(_mark(*known[-1], number))
    return parts


def _series(series: Series, number: int, x: _Scale, y: _Scale, *, aside: float) -> tuple[list[str], bool]:
    """A line with its marks, and whether something had to be marked at the edge."""
    parts: list[str] = []
    inside: list[str] = []
    off = False
    for point in series.points:
        at = x(point.x)
        above = point.y is not None and point.y > y.high
        if point.y is not None and not above:
            inside.append(f"{at:.1f},{y(point.y):.1f}")
        if point.interval is not None and not above:
            ends = [y(min(max(value, y.low), y.high)) for value in point.interval]
            parts.append(f'<path class="bar c{number % 8}" d="M{at:.1f} {ends[0]:.1f}V{ends[1]:.1f}"/>')
        if len(point.each) > 1:
            parts += [_dot(at, y(value), number) for value in point.each if value <= y.high]
        if point.off or above:
            off = True
            parts.append(_off(at + aside, y.end + 7, number))
        if point.y is not None and not above:
            parts.append(_mark(at, y(point.y), number))
        if point.y is not None and not above and point.label:
            parts.append(_text(at + 8, y(point.y) - 7, point.label))
    line = [f'<polyline class="c{number % 8}" points="{" ".join(inside)}"/>'] if len(inside) > 1 else []
    return line + parts, off


def _legend(
    title: str, labels: Sequence[str], left: float, y: float, *, off: bool
) -> tuple[list[str], float]:
    """Marks with their labels, wrapped; and where the picture ends."""
    parts: list[str] = []
    x = left
    if title and labels:
        parts.append(f'<text class="title" x="{x:.1f}" y="{y + 4:.1f}">{escape(title)}</text>')
        x += len(title) * _CHARACTER * 1.1 + 16
    items = [(label, number) for number, label in enumerate(labels)]
    if off:
        items.append(("diverged, or above this chart", -1))
    for label, number in items:
        wide = 34 + len(label) * _CHARACTER
        if x > left and x + wide > WIDTH - 10:
            x, y = left, y + 20
        if number < 0:
            parts.append(f'<path class="off soft" d="M{x + 5:.1f} {y + 4:.1f}h10l-5 -9z"/>')
        else:
            parts.append(f'<polyline class="c{number % 8}" points="{x:.1f},{y:.1f} {x + 20:.1f},{y:.1f}"/>')
            parts.append(_mark(x + 10, y, number))
        parts.append(_text(x + 26, y + 4, label))
        x += wide + 8
    return parts, y + (14 if items else -8)


def _mark(x: float, y: float, number: int) -> str:
    """A form for each series beside its colour, for whoever sees colours otherwise."""
    name = f'class="mark c{number % 8}"'
    form = number % 4
    if form == 0:
        return f'<circle {name} cx="{x:.1f}" cy="{y:.1f}" r="4.2"/>'
    path = (
        f"M{x - 3.8:.1f} {y - 3.8:.1f}h7.6v7.6h-7.6z",
        f"M{x:.1f} {y - 5.4:.1f}l5.4 5.4l-5.4 5.4l-5.4 -5.4z",
        f"M{x - 5:.1f} {y - 3.6:.1f}h10l-5 8.6z",
    )[form - 1]
    return f'<path {name} d="{path}"/>'


def _dot(x: float, y: float, number: int) -> str:
    return f'<circle class="dot c{number % 8}" cx="{x:.1f}" cy="{y:.1f}" r="3"/>'


def _off(x: float, y: float, number: int) -> str:
    return f'<path class="off c{number % 8}" d="M{x - 5:.1f} {y + 4:.1f}h10l-5 -9z"/>'


def _text(x: float, y: float, text: str, *, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'


def _svg(parts: Sequence[str], height: float, title: str) -> str:
    # A ground of its own: pages that stay light in a dark system would swallow light lines.
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height:.0f}" '
            f'width="{WIDTH:.0f}" height="{height:.0f}" font-family="sans-serif" font-size="12">',
            f"<title>{escape(title)}</title>",
            f"<style>{_style()}</style>",
            f'<rect class="ground" width="{WIDTH:.0f}" height="{height:.0f}"/>',
            *parts,
            "</svg>\n",
        ]
    )


def _style() -> str:
    light = _theme(_LIGHT, ground="#ffffff", ink="#2b333d", grid="#dde2e8")
    dark = _theme(_DARK, ground="#171b20", ink="#d5dbe2", grid="#343c45")
    return (
        "polyline{fill:none;stroke:currentColor;stroke-width:1.8}.mark{fill:currentColor}"
        ".dot{fill:currentColor;fill-opacity:.4}.bar{stroke:currentColor;stroke-width:1.6;stroke-opacity:.65}"
        ".off{fill:none;stroke:currentColor;stroke-width:1.6}.title{font-weight:600}"
        f"{light}@media (prefers-color-scheme:dark){{{dark}}}"
    )


def _theme(colours: Sequence[str], *, ground: str, ink: str, grid: str) -> str:
    named = "".join(f".c{number}{{color:{colour}}}" for number, colour in enumerate(colours))
    return f".ground{{fill:{ground}}}text{{fill:{ink}}}.soft{{color:{ink}}}.grid{{stroke:{grid}}}{named}"
