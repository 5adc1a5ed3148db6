"""The page of a study: curves laid over each other, a table, the winner, and what it cost."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from tsumugu.study.config import StudyConfig
from tsumugu.study.judging import REPETITION
from tsumugu.study.outcomes import MEASURES, Curve, Outcome
from tsumugu.study.summary import Figure, Row, Summary, mean_curve, parameters
from tsumugu.study.trials import Trial

_HEADROOM = 0.35
"""The map of curves reaches from the best value to so much more of it: what diverges leaves at the top."""


def study_page(
    study: StudyConfig,
    trials: Sequence[Trial],
    outcomes: Sequence[Outcome],
    summary: Summary,
    *,
    folder: Path,
    judge: dict[str, Any] | None = None,
) -> str:
    """HTML without scripts and without a network.

    Args:
        study: what was asked.
        trials: all of them.
        outcomes: of each.
        summary: of all.
        folder: where the page will lie; links lead from there to the run folders.
        judge: any trial's `judge.json`, for what is the same in all of them.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tsumugu", "study"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda value: f"{value:,.0f}"
    names, curves = _curves(trials)
    others = [name for name in summary.measures if name != summary.judged_by]
    rows = [_cells(row, place, summary.judged_by, others) for place, row in enumerate(summary.rows)]
    return environment.get_template("study.html.j2").render(
        study=study,
        axes=list(study.axes),
        rows=rows,
        best=None if summary.best is None else rows[summary.rows.index(summary.best)],
        measure=MEASURES[summary.judged_by],
        others=[MEASURES[name] for name in others],
        judge=judge,
        human=[]
        if judge is None
        else [(MEASURES[name], _number(judge["human"][name])) for name in REPETITION],
        prices=_prices(summary) if study.stage == "tune" else "",
        undecided=[", ".join(row.setting.values()) for row in summary.undecided],
        summary=summary,
        curves=_chart(names, curves) if any(curve.tokens for curve in curves) else "",
        trials=[
            {
                "name": trial.name,
                "seed": trial.seed,
                "folder": trial.folder.relative_to(folder).as_posix(),
                "parameters": parameters(trial),
                "outcome": outcome,
                "value": _number(outcome.all_measures.get(summary.judged_by)),
            }
            for trial, outcome in zip(trials, outcomes, strict=True)
        ],
    )


def _cells(row: Row, place: int, judged_by: str, others: Sequence[str]) -> dict[str, Any]:
    figure = row.measures.get(judged_by)
    ended = [
        f"{count} {name}"
        for name in ("done", "diverged", "pruned", "failed", "unfinished", "missing")
        if (count := getattr(row, name))
    ]
    return {
        "labels": list(row.setting.values()),
        "colour": _colour(place),
        "value": _number(None if figure is None else figure.mean),
        "interval": _interval(figure),
        "others": [
            {"value": _number(None if other is None else other.mean), "interval": _interval(other)}
            for other in (row.measures.get(name) for name in others)
        ],
        "spikes": "-" if row.spikes is None else f"{row.spikes:.1f}",
        "ended": ", ".join(ended),
        "hours": f"{row.seconds / 3600:.2f}",
        "flops": f"{row.flops:.2e}",
    }


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:,.0f}" if value >= 1000 else f"{value:.4f}"


def _interval(figure: Figure | None) -> str:
    # Of what is the same whatever the seed, none is worth a word.
    if figure is None or figure.interval is None or figure.interval[0] == figure.interval[1]:
        return ""
    return f"{_number(figure.interval[0])} to {_number(figure.interval[1])}"


def _curves(trials: Sequence[Trial]) -> tuple[list[str], list[Curve]]:
    """Names of settings and their curves, in the order of the rows."""
    groups: dict[tuple[str, ...], list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.labels, []).append(trial)
    return [group[0].name for group in groups.values()], [mean_curve(group) for group in groups.values()]


def _colour(place: int) -> str:
    # The golden angle keeps neighbours apart however many there are.
    return f"hsl({place * 137.508 % 360:.0f} 55% 48%)"


def _chart(names: Sequence[str], curves: Sequence[Curve]) -> Markup:
    most = max(curve.tokens[-1] for curve in curves if curve.tokens)
    low = min(value for curve in curves for value in curve.bits_per_byte)
    high = min(low * (1 + _HEADROOM), max(value for curve in curves for value in curve.bits_per_byte))
    field = _Field((0.0, most), (low, high if high > low else low + 1))
    parts = []
    for number, (name, curve) in enumerate(zip(names, curves, strict=True)):
        if not curve.tokens:
            continue
        places = [
            field.place(tokens, min(value, field.up[1]))
            for tokens, value in zip(curve.tokens, curve.bits_per_byte, strict=True)
        ]
        points = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
        title = f"{name}: {curve.bits_per_byte[-1]:.4f} bits per byte after {curve.tokens[-1]:,} tokens"
        parts.append(
            f'<polyline points="{points}" style="stroke: {_colour(number)}">'
            f"<title>{escape(title)}</title></polyline>"
        )
    return field.picture(parts, label="held-out curves", below="training tokens", digits=0)


def _prices(summary: Summary) -> Markup:
    """What a tuning has won and what it has cost: a point for each setting, a ring for the model before."""
    names = ("answer_loss", "bits_per_byte", "answer_loss_before", "bits_per_byte_before")
    found = [(place, row) for place, row in enumerate(summary.rows) if all(n in row.measures for n in names)]
    if not found:
        return Markup("")
    points = [
        (_words(row, [row.measures[n].mean for n in names]), _colour(place), *_means(row, names[:2]))
        for place, row in found
    ]
    start = _means(found[0][1], names[2:])
    field = _Field(
        _span([start[0], *(one[2] for one in points)]), _span([start[1], *(one[3] for one in points)])
    )
    parts = []
    for title, colour, loss, bits in points:
        x, y = field.place(loss, bits)
        parts.append(
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="6" style="fill: {colour}"><title>{escape(title)}</title>'
            f"</circle>"
        )
    x, y = field.place(*start)
    parts.append(
        f'<circle class="ring" cx="{x:.1f}" cy="{y:.1f}" r="6"><title>before tuning</title></circle>'
    )
    return field.picture(parts, label="gain and price of tuning", below=MEASURES["answer_loss"], digits=3)


_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720.0, 340.0, 52.0, 12.0, 10.0, 36.0
"""Of a chart and the room around its field, in pixels."""


@dataclass(frozen=True)
class _Field:
    """The inside of a chart: from where to where its axes go."""

    across: tuple[float, float]
    up: tuple[float, float]

    def place(self, x: float, y: float) -> tuple[float, float]:
        """In pixels."""
        right, high = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM
        return (
            _LEFT + (x - self.across[0]) / (self.across[1] - self.across[0]) * right,
            _TOP + (self.up[1] - y) / (self.up[1] - self.up[0]) * high,
        )

    def picture(self, inside: Sequence[str], *, label: str, below: str, digits: int) -> Markup:
        """With grid and numbers; `below` says what is across, whose numbers have so many `digits`."""
        parts = [f'<svg viewBox="0 0 {_WIDTH:.0f} {_HEIGHT:.0f}" role="img" aria-label="{label}">']
        for tick in range(5):
            at_x = self.across[0] + (self.across[1] - self.across[0]) * tick / 4
            at_y = self.up[0] + (self.up[1] - self.up[0]) * tick / 4
            x, y = self.place(at_x, at_y)
            anchor = "end" if tick == 4 else "middle"
            parts += [
                f'<line class="grid" x1="{_LEFT:.0f}" x2="{_WIDTH - _RIGHT:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>',
                f'<text x="{_LEFT - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{at_y:.3f}</text>',
                f'<text x="{x:.1f}" y="{_HEIGHT - _BOTTOM + 16:.0f}" text-anchor="{anchor}">'
                f"{at_x:,.{digits}f}</text>",
            ]
        parts += inside
        parts.append(
            f'<text x="{_WIDTH / 2:.0f}" y="{_HEIGHT - 4:.0f}" text-anchor="middle">{below}</text></svg>'
        )
        return Markup("".join(parts))


def _means(row: Row, names: Sequence[str]) -> tuple[float, float]:
    return row.measures[names[0]].mean, row.measures[names[1]].mean


def _words(row: Row, values: Sequence[float]) -> str:
    return f"{', '.join(row.setting.values())}: loss {values[0]:.4f}, {values[1]:.4f} bits per byte"


def _span(values: Sequence[float]) -> tuple[float, float]:
    """From the least to the most, with some room on either side."""
    low, high = min(values), max(values)
    room = (high - low) * 0.05 or 1.0
    return low - room, high + room
