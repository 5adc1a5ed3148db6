"""What the planner says of training runs that others measured, beside what they published.

`published/runs.jsonl` is the data, with sources; `publications.py` reads it and asks the planner. The figure
is the relative error of the predicted tokens per second of a device. The planner's constants were measured on
some of the runs; the goal is on the others, which `publications.set_aside` chooses by a digest.

`--write` also renews docs/published-runs.md and its picture from the result.
"""

import argparse
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import harness
from harness import Row, print_table, read_result, write_result
from publications import PublishedRun, question, read_runs, reported, set_aside
from tsumugu.planning.timing import mfu, step_time

NAME = "plan_published"
_GOAL = 0.12
_UNIT = "median relative error"
_TOKENS = "10^9 tokens"
_ASIDE, _TUNED = "runs set aside", "runs that constants were measured on"
_PAGE = harness.ROOT / "docs" / "published-runs.md"
_PICTURE = harness.ROOT / "docs" / "images" / "published-runs.svg"
_DASHED = 'stroke="#888" stroke-dasharray="4 4"'
_PLACE = re.compile(r"(?<=<!-- plan_published.py begin -->\n).*?(?=<!-- plan_published.py end -->)", re.S)


@dataclass(frozen=True)
class Comparison:
    """One run, in tokens per second of one device."""

    run: PublishedRun
    reported: float | None
    predicted: float
    mfu: float
    """Predicted."""

    @property
    def error(self) -> float | None:
        """0.1: a tenth too fast."""
        return self.predicted / self.reported - 1 if self.reported else None

    def details(self) -> dict[str, Any]:
        """For the result."""
        run = self.run
        return {
            "system": run.system,
            "model": run.model,
            "devices": f"{run.count}x{run.gpu}",
            "sequence": run.sequence,
            "layout": str(run.layout),
            "micro_batch": run.micro_batch,
            "checkpointing": run.checkpointing,
            "precision": run.precision,
            "reported": None if self.reported is None else round(self.reported, 1),
            "predicted": round(self.predicted, 1),
            "mfu": round(self.mfu, 4),
            "error": None if self.error is None else round(self.error, 4),
            "set_aside": set_aside(run),
            "assumed": list(run.assumed),
        }


def main() -> None:
    """Predict, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="renew docs/published-runs.md from the result")
    if parser.parse_args().write:
        write_page(read_result(NAME))
        return
    found = [compare(run) for run in read_runs()]
    for line in found:
        print(_line(line))
    rows = summarize(found)
    print_table(rows)
    write_result(NAME, rows)


def compare(run: PublishedRun) -> Comparison:
    """Ask the planner."""
    workload, candidate, cluster, practice = question(run)
    seconds = step_time(workload, candidate, cluster, practice).seconds
    predicted = workload.tokens_per_step / seconds / cluster.devices
    return Comparison(run, reported(run), predicted, mfu(workload, cluster, seconds))


def summarize(found: Sequence[Comparison]) -> list[Row]:
    """The rows of the result: both sides, every system, and the runs whose speed nobody published."""
    known = [line for line in found if line.error is not None]
    aside = [line for line in known if set_aside(line.run)]
    tuned = [line for line in known if not set_aside(line.run)]
    rows = [
        Row(
            _ASIDE,
            ours=_error(aside),
            unit=_UNIT,
            goal=_GOAL,
            better="lower",
            details={"runs": [line.details() for line in aside], **_spread(aside)},
        ),
        Row(
            _TUNED,
            ours=_error(tuned),
            unit=_UNIT,
            better="lower",
            details={"runs": [line.details() for line in tuned], **_spread(tuned)},
        ),
    ]
    for system in dict.fromkeys(line.run.system for line in known):
        sides = [[line for line in side if line.run.system == system] for side in (aside, tuned)]
        details = {
            name: {"count": len(side), "median": _error(side) if side else None}
            for name, side in zip(("set aside", "tuned"), sides, strict=True)
        }
        rows.append(
            Row(system, ours=_error(sides[0] + sides[1]), unit=_UNIT, better="lower", details=details)
        )
    for line in found:
        if line.error is None:
            tokens = line.predicted * line.run.value * 3600 / 1e9
            rows.append(
                Row(
                    f"{line.run.system}: {line.run.model} in {line.run.value:,.0f} hours of {line.run.gpu}",
                    ours=round(tokens, 1),
                    unit=_TOKENS,
                    why=f"predicted at {line.mfu:.1%} MFU, with what was assumed; none is published",
                    details={"runs": [line.details()]},
                )
            )
    return rows


def _error(lines: Sequence[Comparison]) -> float:
    return round(median(abs(line.error or 0.0) for line in lines), 4)


def _spread(lines: Sequence[Comparison]) -> dict[str, float]:
    """How wide the errors are: shares of the runs within 10 and 25 %, and the median with its sign."""
    errors = [line.error or 0.0 for line in lines]
    return {
        "count": len(errors),
        "within_10_percent": round(sum(abs(error) <= 0.10 for error in errors) / len(errors), 3),
        "within_25_percent": round(sum(abs(error) <= 0.25 for error in errors) / len(errors), 3),
        "bias": round(median(errors), 4),
    }


def _line(line: Comparison) -> str:
    run = line.run
    known = "            ?" if line.reported is None else f"{line.reported:13,.0f}"
    error = "" if line.error is None else f"{line.error:+7.1%}"
    side = "set aside" if set_aside(run) else "tuned"
    return (
        f"{run.system:17} {run.model:22} {run.count:5} x {run.gpu:14} T {run.sequence:6} {known} "
        f"{line.predicted:11,.0f} {error:8} {side}"
    )


def write_page(rows: Sequence[dict[str, Any]]) -> None:
    """Renew the tables of the page, and the picture."""
    sides = {row["name"]: row for row in rows if row["name"] in (_ASIDE, _TUNED)}
    runs = [run for row in sides.values() for run in row["details"]["runs"]]
    page = _PAGE.read_text(encoding="utf-8")
    _PAGE.write_text(_PLACE.sub(lambda _: _tables(rows, sides), page), encoding="utf-8")
    _PICTURE.write_text(picture(runs), encoding="utf-8")


def _tables(rows: Sequence[dict[str, Any]], sides: dict[str, dict[str, Any]]) -> str:
    lines = [
        "| | runs | median error | within 10 % | within 25 % | median with its sign |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in sides.items():
        spread = row["details"]
        lines.append(
            f"| {name} | {spread['count']} | {row['ours']:.1%} | {spread['within_10_percent']:.0%} | "
            f"{spread['within_25_percent']:.0%} | {spread['bias']:+.1%} |"
        )
    lines += ["", "| system | set aside | median error | tuned | median error |", "|---|---|---|---|---|"]
    for row in rows:
        if row["unit"] == _UNIT and row["name"] not in sides:
            cells = [
                cell
                for side in ("set aside", "tuned")
                for cell in (
                    str(row["details"][side]["count"]),
                    "" if row["details"][side]["median"] is None else f"{row['details'][side]['median']:.1%}",
                )
            ]
            lines.append(f"| {row['name']} | {' | '.join(cells)} |")
    lines.append("")
    for row in rows:
        if row["unit"] == _TOKENS:
            lines.append(f"{row['name']}: {row['ours']:,.0f} x {row['unit']}, {row['why']}.")
    lines += [
        "",
        "Every run, in tokens per second of a device; *: something was assumed.",
        "",
        "| system | model | devices | sequence | layout | micro-batch | checkpointing | precision | reported "
        "| predicted | error | set aside |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    runs = [run for row in sides.values() for run in row["details"]["runs"]]
    for run in sorted(runs, key=lambda run: (run["system"], run["devices"], run["model"], run["sequence"])):
        lines.append(
            f"| {run['system']} | {run['model']}{'*' if run['assumed'] else ''} | {run['devices']} | "
            f"{run['sequence']:,} | {run['layout']} | {run['micro_batch']} | {run['checkpointing']} | "
            f"{run['precision']} | {run['reported']:,.0f} | {run['predicted']:,.0f} | {run['error']:+.1%} | "
            f"{'yes' if run['set_aside'] else ''} |"
        )
    return "\n".join(lines) + "\n"


def picture(runs: Sequence[dict[str, Any]]) -> str:
    """An SVG: predicted over reported, both logarithmic, with a band of 25 %."""
    size, left, low, high = 560.0, 60.0, 1.0, 5.5

    def place(value: float, *, up: bool = False) -> float:
        share = (math.log10(value) - low) / (high - low)
        return size - 50 - share * (size - 70) if up else left + share * (size - left - 20)

    ends = (10**low, 10**high)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {size:.0f} {size:.0f}" '
        'font-family="sans-serif" font-size="12">',
        f'<rect width="{size:.0f}" height="{size:.0f}" fill="#fff"/>',
    ]
    for decade in range(math.ceil(low), math.floor(high) + 1):
        x, y = place(10**decade), place(10**decade, up=True)
        parts.append(
            f'<path d="M{x:.1f} {place(ends[0], up=True):.1f}V20M{left} {y:.1f}H{size - 20}" stroke="#ddd"/>'
        )
        parts.append(f'<text x="{x:.1f}" y="{size - 32}" text-anchor="middle">{10**decade:,}</text>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" text-anchor="end">{10**decade:,}</text>')
    for factor, style in ((1.0, 'stroke="#888"'), (1.25, _DASHED), (1 / 1.25, _DASHED)):
        x1, x2 = max(ends[0], ends[0] / factor), min(ends[1], ends[1] / factor)
        parts.append(
            f'<line x1="{place(x1):.1f}" y1="{place(x1 * factor, up=True):.1f}" x2="{place(x2):.1f}" '
            f'y2="{place(x2 * factor, up=True):.1f}" {style}/>'
        )
    for run in sorted(runs, key=lambda run: run["set_aside"]):
        colour = "#d1495b" if run["set_aside"] else "#30638e"
        title = f"{run['system']} {run['model']}, {run['devices']}: {run['error']:+.1%}"
        parts.append(
            f'<circle cx="{place(run["reported"]):.1f}" cy="{place(run["predicted"], up=True):.1f}" r="3" '
            f'fill="{colour}" fill-opacity="0.6"><title>{title}</title></circle>'
        )
    for y, colour, text in (
        (34, "#d1495b", "set aside"),
        (52, "#30638e", "constants were measured on these"),
    ):
        parts.append(f'<circle cx="{left + 14}" cy="{y}" r="4" fill="{colour}"/>')
        parts.append(f'<text x="{left + 24}" y="{y + 4}">{text}</text>')
    parts.append(
        f'<text x="{size / 2}" y="{size - 10}" text-anchor="middle">reported tokens/s of a device</text>'
        f'<text transform="rotate(-90)" x="{-size / 2}" y="14" text-anchor="middle">predicted</text></svg>'
    )
    return "\n".join(parts) + "\n"


if __name__ == "__main__":
    main()
