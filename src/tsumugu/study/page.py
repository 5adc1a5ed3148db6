"""The page of a study: curves laid over each other, a table, the winner, and what it cost."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from tsumugu.study.config import StudyConfig
from tsumugu.study.outcomes import Curve, Outcome
from tsumugu.study.summary import Row, Summary, mean_curve, parameters
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
) -> str:
    """HTML without scripts and without a network.

    Args:
        study: what was asked.
        trials: all of them.
        outcomes: of each.
        summary: of all.
        folder: where the page will lie; links lead from there to the run folders.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tsumugu", "study"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda value: f"{value:,.0f}"
    curves = _curves(trials)
    return environment.get_template("study.html.j2").render(
        study=study,
        axes=list(study.axes),
        rows=[_cells(row, place) for place, row in enumerate(summary.rows)],
        best=None if summary.best is None else _cells(summary.best, summary.rows.index(summary.best)),
        undecided=[", ".join(row.setting.values()) for row in summary.undecided],
        summary=summary,
        curves=_chart(list(curves), list(curves.values())) if any(c.tokens for c in curves.values()) else "",
        trials=[
            {
                "name": trial.name,
                "seed": trial.seed,
                "folder": trial.folder.relative_to(folder).as_posix(),
                "parameters": parameters(trial),
                "outcome": outcome,
                "bits": _bits(outcome.bits_per_byte),
            }
            for trial, outcome in zip(trials, outcomes, strict=True)
        ],
    )


def _cells(row: Row, place: int) -> dict[str, Any]:
    low_high = "" if row.interval is None else f"{row.interval[0]:.4f} to {row.interval[1]:.4f}"
    ended = [
        f"{count} {name}"
        for name in ("done", "diverged", "pruned", "failed", "unfinished", "missing")
        if (count := getattr(row, name))
    ]
    return {
        "labels": list(row.setting.values()),
        "colour": _colour(place),
        "bits": _bits(row.bits_per_byte),
        "interval": low_high,
        "spikes": "-" if row.spikes is None else f"{row.spikes:.1f}",
        "ended": ", ".join(ended),
        "hours": f"{row.seconds / 3600:.2f}",
        "flops": f"{row.flops:.2e}",
    }


def _bits(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _curves(trials: Sequence[Trial]) -> dict[str, Curve]:
    groups: dict[str, list[Trial]] = {}
    for trial in trials:
        groups.setdefault(trial.name, []).append(trial)
    return {name: mean_curve(group) for name, group in groups.items()}


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
