"""The page of a study: curves laid over each other, a table, the winner, and what it cost."""

from collections.abc import Sequence
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
    width, height, left, bottom, top = 720.0, 340.0, 52.0, 36.0, 10.0
    most = max(curve.tokens[-1] for curve in curves if curve.tokens)
    low = min(value for curve in curves for value in curve.bits_per_byte)
    high = min(low * (1 + _HEADROOM), max(value for curve in curves for value in curve.bits_per_byte))
    high = high if high > low else low + 1

    def place(tokens: float, value: float) -> str:
        x = left + tokens / most * (width - left - 12)
        y = top + (high - min(value, high)) / (high - low) * (height - bottom - top)
        return f"{x:.1f},{y:.1f}"

    parts = [f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="held-out curves">']
    for tick in range(5):
        value = low + (high - low) * tick / 4
        y = height - bottom - (height - bottom - top) * tick / 4
        parts.append(f'<line class="grid" x1="{left:.0f}" x2="{width - 12:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{value:.3f}</text>')
        x = left + (width - left - 12) * tick / 4
        anchor = "end" if tick == 4 else "middle"
        parts.append(
            f'<text x="{x:.1f}" y="{height - bottom + 16:.0f}" text-anchor="{anchor}">'
            f"{most * tick / 4:,.0f}</text>"
        )
    for number, (name, curve) in enumerate(zip(names, curves, strict=True)):
        if not curve.tokens:
            continue
        points = " ".join(place(x, y) for x, y in zip(curve.tokens, curve.bits_per_byte, strict=True))
        title = f"{name}: {curve.bits_per_byte[-1]:.4f} bits per byte after {curve.tokens[-1]:,} tokens"
        parts.append(
            f'<polyline points="{points}" style="stroke: {_colour(number)}">'
            f"<title>{escape(title)}</title></polyline>"
        )
    parts.append(
        f'<text x="{width / 2:.0f}" y="{height - 4:.0f}" text-anchor="middle">training tokens</text></svg>'
    )
    return Markup("".join(parts))


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
    before = found[0][1]
    start = _means(before, names[2:])
    width, height, left, bottom, top = 720.0, 340.0, 52.0, 36.0, 10.0
    across, up = (
        _span([start[0], *(one[2] for one in points)]),
        _span([start[1], *(one[3] for one in points)]),
    )

    def place_of(loss: float, bits: float) -> str:
        x = left + (loss - across[0]) / (across[1] - across[0]) * (width - left - 12)
        y = top + (up[1] - bits) / (up[1] - up[0]) * (height - bottom - top)
        return f'cx="{x:.1f}" cy="{y:.1f}"'

    parts = [f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="gain and price of tuning">']
    for tick in range(5):
        y, x = height - bottom - (height - bottom - top) * tick / 4, left + (width - left - 12) * tick / 4
        bits, loss = up[0] + (up[1] - up[0]) * tick / 4, across[0] + (across[1] - across[0]) * tick / 4
        anchor = "end" if tick == 4 else "middle"
        parts.append(f'<line class="grid" x1="{left:.0f}" x2="{width - 12:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{bits:.3f}</text>')
        parts.append(
            f'<text x="{x:.1f}" y="{height - bottom + 16:.0f}" text-anchor="{anchor}">{loss:.3f}</text>'
        )
    for title, colour, loss, bits in points:
        parts.append(
            f'<circle {place_of(loss, bits)} r="6" style="fill: {colour}"><title>{escape(title)}</title>'
            f"</circle>"
        )
    parts.append(f'<circle class="ring" {place_of(*start)} r="6"><title>before tuning</title></circle>')
    parts.append(
        f'<text x="{width / 2:.0f}" y="{height - 4:.0f}" text-anchor="middle">'
        f"{MEASURES['answer_loss']}</text></svg>"
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
