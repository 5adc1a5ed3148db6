"""A plan as a page, and as a section of a run's report: the layouts, and a map of memory against time.

Nothing on it needs a script: what a point of the map is, its title says when the mouse rests on it.
"""

import math
from collections.abc import Sequence
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup, escape

from tsumugu.model.counts import parameter_count
from tsumugu.planning.search import FILLED, Estimate, Plan
from tsumugu.planning.showing import MEMORY_PARTS, TIME_PARTS, duration, money, way
from tsumugu.planning.targets import Solution
from tsumugu.planning.writing import overrides

_TOP = 8
_POINTS = 1500
"""The most points on the map: the fastest ways."""
_GIB = 2**30


def plan_page(plan: Plan, name: str, *, solution: Solution | None = None) -> str:
    """A page of its own."""
    return _template("page").render(
        name=name, section=plan_section(plan, solution=solution), style=Markup(plan_style())
    )


def plan_section(plan: Plan, *, solution: Solution | None = None) -> Markup:
    """A part of a page, from its heading on."""
    return Markup(
        _template("section").render(
            plan=plan,
            parameters=parameter_count(plan.workload.model, plan.workload.vocab_size),
            rows=[_row(found, plan) for found in plan.fastest[:_TOP]],
            cheapest=[_row(found, plan) for found in plan.cheapest],
            memory_parts=MEMORY_PARTS,
            time_parts=TIME_PARTS,
            map=_map(plan) if plan.fastest else "",
            refused=sorted(plan.refused, key=lambda one: (one.kind, one.tensor, one.pipeline, one.context)),
            filled=FILLED,
            solution=solution,
            solution_way=way(solution.estimate.candidate) if solution else "",
            solution_time=duration(solution.estimate.hours) if solution else "",
        )
    )


def plan_style() -> str:
    """What the section needs in the page's style sheet."""
    return (resources.files("tsumugu.planning") / "plan.css").read_text(encoding="utf-8").rstrip()


def _template(name: str) -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tsumugu", "planning"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda value: f"{value:,.0f}"
    return environment.get_template(f"plan_{name}.html.j2")


def _row(found: Estimate, plan: Plan) -> dict[str, Any]:
    return {
        "devices": found.devices,
        "layout": str(found.candidate.layout),
        "way": way(found.candidate),
        "overrides": overrides(found.candidate),
        "micro_batch_size": found.candidate.micro_batch_size,
        "checkpointing": found.candidate.checkpointing,
        "seconds": f"{found.time.seconds:.3g}",
        "mfu": f"{found.mfu:.1%}",
        "tokens_per_second": found.tokens_per_second,
        "time": duration(found.hours),
        "device_hours": found.hours * found.devices,
        "usd": money(found.usd),
        "mwh": f"{found.kwh / 1000:,.1f}",
        "gib": f"{found.memory.total / _GIB:.1f}",
        "memory": _shares([getattr(found.memory, name) for name in MEMORY_PARTS], plan.cluster.memory, _GIB),
        "time_parts": _shares([getattr(found.time, name) for name in TIME_PARTS], found.time.seconds, 1.0),
    }


def _shares(values: Sequence[float], whole: float, unit: float) -> list[tuple[float, str]]:
    """Widths in percent, and numbers to read."""
    return [(100 * value / whole, f"{value / unit:.3g}") for value in values]


def _map(plan: Plan) -> Markup:
    """Every way that fits, by memory per device and seconds of a step; both ends of the time are
    logarithmic."""
    points = sorted(plan.all, key=lambda found: found.time.seconds)[:_POINTS]
    width, height, left, bottom, top = 720.0, 320.0, 62.0, 40.0, 12.0
    fast, slow = points[0].time.seconds, max(points[-1].time.seconds, points[0].time.seconds * 1.1)
    memory = plan.cluster.memory

    def place(found: Estimate) -> tuple[float, float]:
        share = math.log(found.time.seconds / fast) / math.log(slow / fast)
        x = left + found.memory.total / memory * (width - left - 12)
        return x, height - bottom - share * (height - bottom - top)

    parts = [f'<svg viewBox="0 0 {width:.0f} {height:.0f}" role="img" aria-label="memory against time">']
    for tick in range(5):
        x = left + (width - left - 12) * tick / 4
        y = height - bottom - (height - bottom - top) * tick / 4
        seconds = fast * (slow / fast) ** (tick / 4)
        parts.append(f'<line class="grid" x1="{left:.0f}" x2="{width - 12:.0f}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{left - 6:.0f}" y="{y + 4:.1f}" text-anchor="end">{seconds:.3g} s</text>')
        anchor = "end" if tick == 4 else "middle"
        parts.append(
            f'<text x="{x:.1f}" y="{height - bottom + 16:.0f}" text-anchor="{anchor}">'
            f"{memory * tick / 4 / _GIB:.0f} GiB</text>"
        )
    limit = left + FILLED * (width - left - 12)
    parts.append(
        f'<line class="threshold" x1="{limit:.1f}" x2="{limit:.1f}" y1="{top}" y2="{height - bottom}"/>'
    )
    # The fastest are drawn last, over the others.
    for found in reversed(points):
        x, y = place(found)
        mode = found.candidate.checkpointing
        title = (
            f"{way(found.candidate)}: {found.time.seconds:.3g} s, {found.memory.total / _GIB:.1f} GiB, "
            f"MFU {found.mfu:.1%}, {duration(found.hours)}"
        )
        radius = 6 if found is points[0] else 3.4
        parts.append(
            f'<circle class="{mode}" cx="{x:.1f}" cy="{y:.1f}" r="{radius}">'
            f"<title>{escape(title)}</title></circle>"
        )
    parts.append(
        f'<text x="{width / 2:.0f}" y="{height - 6:.0f}" text-anchor="middle">memory of a device</text></svg>'
    )
    return Markup("".join(parts))
