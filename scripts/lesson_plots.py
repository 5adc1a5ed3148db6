"""Plots of the pages of docs/lessons: functions that draw an SVG from the results of a study."""

from collections.abc import Callable, Sequence
from statistics import mean
from typing import Any

from lesson_results import Setting, settings_of
from lesson_words import BITS_PER_BYTE, WORDS, grouped, name_of, names_of, others_of, words_of
from plots import Axis, Dots, Panel, Point, Series, panels, rows

_HEADROOM = 1.25
"""A plot of bits per byte reaches to so much of its least; what is above is marked at the edge."""


def over(
    x: str, *, apart: str, y: str = "bits_per_byte", inverse: bool = False
) -> Callable[[dict[str, Any]], str]:
    """A plot of `y` over a numeric axis, logarithmic; a panel for each value of `apart`, a line for the rest.

    `inverse` places the values by their distance from 1, which is what counts for a share of memory.
    """

    def draw(result: dict[str, Any]) -> str:
        settings, lines = settings_of(result), others_of(result, x, apart)
        if y == "spikes" and not any(setting.mean(y) for setting in settings):
            return ""

        def place(setting: Setting) -> float:
            value = float(setting.labels[x])
            return 1 - value if inverse else value

        found = [
            Panel(
                title,
                tuple(
                    Series(label, tuple(_point(place(setting), setting, y) for setting in line))
                    for label, line in grouped(group, lines)
                ),
            )
            for title, group in grouped(settings, [apart] if apart else [], named=True)
        ]
        ticks = {place(setting): setting.labels[x] for setting in settings}
        label = (
            f"{name_of(x)} (placed by 1 - {name_of(x)}, logarithmic)"
            if inverse
            else f"{name_of(x)} (logarithmic)"
        )
        return panels(
            found,
            x=Axis(label, log=True, ticks=tuple(ticks.items())),
            y=_y_axis(settings, y),
            lines=names_of(lines),
        )

    return draw


def curves(*apart: str) -> Callable[[dict[str, Any]], str]:
    """Held-out curves: a panel for each combination of the axes `apart`, a line for each of the rest."""

    def draw(result: dict[str, Any]) -> str:
        settings, lines = settings_of(result), others_of(result, *apart)
        found = [
            Panel(
                title,
                tuple(
                    Series(label, tuple(Point(*one) for one in line[0].curve()), curve=True)
                    for label, line in grouped(group, lines)
                ),
            )
            for title, group in grouped(settings, apart, named=True)
        ]
        values = [value for setting in settings for _, value in setting.curve()]
        return panels(
            found,
            x=Axis("training tokens", zero=True),
            lines=names_of(lines),
            y=Axis(BITS_PER_BYTE, most=min(values, default=1.0) * _HEADROOM),
            height=240,
        )

    return draw


def dots(*, apart: str = "", y: str = "bits_per_byte") -> Callable[[dict[str, Any]], str]:
    """A row for each setting, in groups by the axis `apart`."""

    def draw(result: dict[str, Any]) -> str:
        others = others_of(result, apart)
        groups = [
            (
                title,
                [
                    Dots(
                        label,
                        tuple(one[0].values(y).values()),
                        one[0].interval(y),
                        f"{one[0].diverged} diverged" if one[0].diverged else "",
                    )
                    for label, one in grouped(group, others)
                ],
            )
            for title, group in grouped(settings_of(result), [apart] if apart else [], named=True)
        ]
        return rows(groups, x=Axis(f"{WORDS[y]}, with 95 % of the mean"))

    return draw


def against(x: str, y: str, *, line: str, along: str) -> Callable[[dict[str, Any]], str]:
    """A plot of a measure against another: a line for each value of `line`, which goes on with `along`."""

    def draw(result: dict[str, Any]) -> str:
        found = []
        others_of(result, line, along)
        for label, group in grouped(settings_of(result), [line]):
            points = []
            for setting in group:
                at_x, at_y = setting.mean(x), setting.mean(y)
                if at_x is not None and at_y is not None:
                    points.append(Point(at_x, at_y, setting.interval(y), label=setting.labels[along]))
            found.append(Series(label, tuple(points)))
        before = [value for one in settings_of(result) for value in one.values(f"{y}_before").values()]
        if before:
            # A measure of change begins at nothing.
            found.append(Series("before", (Point(0.0, mean(before)),)))
        return panels(
            [Panel(f"beside each point: {name_of(along)}", tuple(found))],
            x=Axis(words_of(x)),
            lines=name_of(line),
            y=Axis(words_of(y)),
            height=380,
        )

    return draw


def _y_axis(settings: Sequence[Setting], y: str) -> Axis:
    if y != "bits_per_byte":
        return Axis(words_of(y), zero=True)
    means = [value for setting in settings if (value := setting.mean(y)) is not None]
    return Axis(BITS_PER_BYTE, most=min(means, default=1.0) * _HEADROOM)


def _point(x: float, setting: Setting, y: str) -> Point:
    off = y == "bits_per_byte" and setting.diverged > 0
    return Point(x, setting.mean(y), setting.interval(y), tuple(setting.values(y).values()), off)
