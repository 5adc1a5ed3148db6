"""A plan in words and tables, for a terminal, and as JSON."""

from dataclasses import asdict
from typing import Any

from tsumugu.model.counts import flops_per_token, parameter_count
from tsumugu.planning.scaling import published_loss, within_range
from tsumugu.planning.search import Estimate, Plan
from tsumugu.planning.targets import Solution
from tsumugu.planning.workload import Candidate, Workload
from tsumugu.terminal import table

MEMORY_PARTS = (
    "weights",
    "gradients",
    "optimizer",
    "activations",
    "logits",
    "buffers",
    "fragmentation",
)
TIME_PARTS = (
    "compute",
    "recompute",
    "optimizer",
    "tensor",
    "context",
    "data",
    "pipeline",
    "bubble",
)
_GIB = 2**30


def plan_text(plan: Plan, *, top: int, solution: Solution | None) -> str:
    """All of it, in about a screen."""
    parts = [_heading(plan)]
    if not plan.fastest:
        parts.append("Nothing works on all devices of this cluster.")
        if plan.cheapest:
            parts.append("On some of them:\n" + _costs(plan))
    else:
        parts.append("Fastest, all devices; one row per combination of degrees:\n" + _ways(plan, top))
        parts.append(f"Where the memory of a device goes, GiB of {plan.cluster.memory / _GIB:.0f}:\n")
        parts[-1] += _breakdown(plan, top, MEMORY_PARTS, memory=True)
        parts.append("Where a step goes, seconds:\n" + _breakdown(plan, top, TIME_PARTS, memory=False))
        parts.append("By cost; fewer devices wait less for each other:\n" + _costs(plan))
    if plan.refused:
        parts.append("Why not the others:\n" + _refusals(plan, top))
    if solution:
        parts.append(_solution(plan, solution))
    if plan.fastest:
        parts.append(_assumptions(plan))
    return "\n\n".join(parts)


def plan_json(plan: Plan, *, top: int, solution: Solution | None) -> dict[str, Any]:
    """All of it, for programs. SI units: bytes, seconds, FLOP/s; `parameters` counts a tied embedding
    once."""
    workload, cluster = plan.workload, plan.cluster
    parameters = parameter_count(workload.model, workload.vocab_size)
    return {
        "parameters": parameters,
        "flops_per_token": flops_per_token(workload.model, workload.vocab_size, workload.sequence_length),
        "tokens": workload.tokens,
        "steps": workload.steps,
        "global_batch_size": workload.global_batch_size,
        "sequence_length": workload.sequence_length,
        "precision": workload.precision,
        "cluster": asdict(cluster),
        "estimated_loss": published_loss(parameters, workload.tokens)
        if within_range(parameters, workload.tokens)
        else None,
        "tried": plan.tried,
        "fitting": len(plan.all),
        "fastest": [estimate_json(found, workload) for found in plan.fastest[:top]],
        "cheapest": [estimate_json(found, workload) for found in plan.cheapest],
        "refused": [asdict(one) for one in plan.refused if one.kind in ("impossible", "memory")],
        "slower": [asdict(one) for one in plan.refused if one.kind not in ("impossible", "memory")],
        "solution": None
        if solution is None
        else {
            "tokens": solution.tokens,
            "steps": solution.steps,
            **estimate_json(solution.estimate, workload),
        },
    }


def estimate_json(found: Estimate, workload: Workload) -> dict[str, Any]:
    """One row."""
    candidate = found.candidate
    memory = {name: getattr(found.memory, name) for name in MEMORY_PARTS}
    time = {name: getattr(found.time, name) for name in TIME_PARTS}
    return {
        "devices": found.devices,
        "layout": asdict(candidate.layout),
        "micro_batch_size": candidate.micro_batch_size,
        "micro_batches": candidate.micro_batches(workload),
        "activation_checkpointing": {"mode": candidate.checkpointing, "every": candidate.every},
        "memory": {**memory, "total": found.memory.total},
        "step": {**time, "seconds": found.time.seconds, "hidden_communication": found.time.hidden},
        "mfu": found.mfu,
        "tokens_per_second": found.tokens_per_second,
        "hours": found.hours,
        "device_hours": found.hours * found.devices,
        "usd": found.usd,
        "kwh": found.kwh,
    }


def way(candidate: Candidate) -> str:
    """A candidate in words that stand in a row."""
    mode = candidate.checkpointing if candidate.every == 1 else f"{candidate.checkpointing}/{candidate.every}"
    return f"{candidate.layout}, micro-batch {candidate.micro_batch_size}, checkpointing {mode}"


def duration(hours: float) -> str:
    """Hours, or days where there are many."""
    return f"{hours:,.1f} h" if hours < 100 else f"{hours / 24:,.1f} days"


def money(usd: float | None) -> str:
    """In US dollars."""
    return "-" if usd is None else f"{usd:,.0f}"


def _heading(plan: Plan) -> str:
    workload, cluster = plan.workload, plan.cluster
    parameters = parameter_count(workload.model, workload.vocab_size)
    flops = flops_per_token(workload.model, workload.vocab_size, workload.sequence_length)
    lines = [
        f"{parameters:,} parameters, {workload.tokens:,} tokens in {workload.steps:,} steps of "
        f"{workload.global_batch_size:,} x {workload.sequence_length:,}; {flops * workload.tokens:.3g} "
        f"FLOPs, {workload.precision}",
        f"{cluster.devices:,} x {cluster.device}, {cluster.devices_per_node} per node; {plan.tried:,} ways "
        f"looked at, {len(plan.all):,} fit",
        f"loss of a model and a training of this size: {_loss(parameters, workload.tokens)} "
        f"(--runs fits it to runs of yours)",
    ]
    return "\n".join(lines)


def _loss(parameters: int, tokens: float) -> str:
    if not within_range(parameters, tokens):
        return "unknown: too far from the runs that the law was fitted to"
    return f"about {published_loss(parameters, tokens):.3f} nats per token on Chinchilla's English text"


def _ways(plan: Plan, top: int) -> str:
    header = (
        "",
        "layout",
        "micro-batch",
        "checkpoint",
        "step s",
        "MFU",
        "tokens/s",
        "time",
        "USD",
        "MWh",
        "GiB",
    )
    rows = [
        (
            str(place),
            str(found.candidate.layout),
            str(found.candidate.micro_batch_size),
            found.candidate.checkpointing,
            f"{found.time.seconds:.3g}",
            f"{found.mfu:.1%}",
            f"{found.tokens_per_second:,.0f}",
            duration(found.hours),
            money(found.usd),
            f"{found.kwh / 1000:,.1f}",
            f"{found.memory.total / _GIB:.1f}",
        )
        for place, found in enumerate(plan.fastest[:top], start=1)
    ]
    return table(header, rows, right=(2, 4, 5, 6, 7, 8, 9, 10))


def _breakdown(plan: Plan, top: int, names: tuple[str, ...], *, memory: bool) -> str:
    rows = []
    for place, found in enumerate(plan.fastest[:top], start=1):
        source = found.memory if memory else found.time
        values = [getattr(source, name) for name in names]
        whole = found.memory.total if memory else found.time.seconds
        scale, digits = (_GIB, ".1f") if memory else (1, ".3f")
        extra = [] if memory else [f"{found.time.hidden:.3f}"]
        rows.append([str(place), *(f"{value / scale:{digits}}" for value in (*values, whole)), *extra])
    header = ["", *names, "total", *([] if memory else ["(hidden)"])]
    return table(header, rows, right=tuple(range(1, len(header))))


def _costs(plan: Plan) -> str:
    rows = [
        (
            f"{found.devices:,}",
            way(found.candidate),
            duration(found.hours),
            f"{found.hours * found.devices:,.0f}",
            money(found.usd),
            f"{found.mfu:.1%}",
        )
        for found in plan.cheapest
    ]
    return table(("devices", "layout", "time", "device hours", "USD", "MFU"), rows, right=(0, 2, 3, 4, 5))


def _refusals(plan: Plan, top: int) -> str:
    # What is ranked above is not refused; of each kind a few say enough.
    ranked = {_degrees(found.candidate) for found in plan.fastest[:top]}
    shown: list[tuple[str, str, str]] = []
    for kind in ("memory", "impossible", "bubble", "network", "recomputation", "compute"):
        of_kind = [
            one
            for one in plan.refused
            if one.kind == kind and (one.tensor, one.context, one.pipeline) not in ranked
        ]
        for one in of_kind[:3]:
            shown.append((kind, one.degrees, one.reason))
        if len(of_kind) > 3:
            shown.append((kind, f"and {len(of_kind) - 3} more", ""))
    return table(("", "degrees", ""), shown) if shown else "  all others are in the table above"


def _degrees(candidate: Candidate) -> tuple[int, int, int]:
    layout = candidate.layout
    return layout.tensor, layout.context, layout.pipeline


def _solution(plan: Plan, solution: Solution) -> str:
    found = solution.estimate
    price = "" if found.usd is None else f", {found.usd:,.0f} USD"
    parameters = parameter_count(plan.workload.model, plan.workload.vocab_size)
    return (
        f"Answer: {solution.tokens:,.0f} tokens in {solution.steps:,} steps on {found.devices:,} devices "
        f"take {duration(found.hours)}{price}\n"
        f"  with {way(found.candidate)}; loss {_loss(parameters, solution.tokens)} "
        f"(pretrain.steps={solution.steps})"
    )


def _assumptions(plan: Plan) -> str:
    cluster = plan.cluster
    price = (
        "no price" if cluster.usd_per_hour is None else f"{cluster.usd_per_hour:g} USD per device and hour"
    )
    return (
        f"Assumed: {price}, {cluster.watts:g} W per device, no stops. Estimates, not promises: docs/plan.md "
        f"says how far off they are on published runs."
    )
