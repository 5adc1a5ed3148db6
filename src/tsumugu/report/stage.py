"""A finished run to one page: numbers and pictures gathered, text written, everything escaped."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
import pyarrow.parquet as pq

from tsumugu.corpus.config import SIGNALS, CorpusConfig
from tsumugu.files import read_json, write_text
from tsumugu.pipeline import MANIFEST, Counts, StageContext
from tsumugu.release.generation import generate
from tsumugu.report.charts import Bar, Line, bar_chart, histogram, line_chart
from tsumugu.training.metrics import read_metrics

_EXAMPLE_CHARACTERS = 500
_CURVE_POINTS = 300
_SAMPLE_TOKENS = 80


def run(context: StageContext) -> Counts:
    """Write `report.html` and `samples.json`."""
    recipe, inputs = context.recipe, context.inputs
    counts = {name: read_json(path / MANIFEST)["counts"] for name, path in inputs.items()}
    scores = read_json(inputs["evaluate"] / "scores.json")
    samples = [
        {"prompt": prompt, "continuation": text}
        for prompt, text in zip(
            recipe.report.prompts,
            generate(
                inputs["release"],
                recipe.report.prompts,
                seed=recipe.seed,
                max_new_tokens=_SAMPLE_TOKENS,
            ),
            strict=True,
        )
    ]
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tsumugu", "report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda value: f"{value:,}"
    page = environment.get_template("page.html.j2").render(
        name=recipe.name,
        counts=counts,
        licenses={entry.source: entry.license for entry in recipe.corpus.inputs},
        funnel=funnel(recipe.corpus, counts["corpus"], _read_examples(inputs["corpus"], recipe)),
        quarantine=_quarantine(inputs["corpus"]),
        signals=_signal_charts(recipe.corpus, inputs["corpus"]),
        curve=_training_curve(read_metrics(inputs["pretrain"] / "metrics.jsonl")),
        scores=scores,
        bits_chart=_bits_chart(scores),
        task_chart=_task_chart(scores),
        samples=samples,
        recipe=recipe,
    )
    write_text(context.folder / "report.html", page)
    return {"samples": samples, "bytes": len(page.encode())}


def funnel(
    config: CorpusConfig, counts: Mapping[str, Any], examples: Mapping[str, Sequence[Any]]
) -> list[dict[str, Any]]:
    """One step per reason, in the order in which the corpus stage asks; how many are left after it."""
    explained = {rule.reason: _explain(rule) for rule in config.rules} | {
        "exact_duplicate": "says the same as an earlier document, letter by letter",
        "near_duplicate": "shares most of its character n-grams with an earlier document (MinHash)",
        "contained": f"{config.dedup.contained_share:.0%} or more of it stands in shorter kept documents",
    }
    left = counts["in"] - counts["quarantined"]
    steps = []
    for reason, explanation in explained.items():
        dropped = counts["dropped_by_reason"].get(reason, 0)
        left -= dropped
        steps.append(
            {
                "reason": reason,
                "explanation": explanation,
                "dropped": dropped,
                "left": left,
                "share_left": left / max(1, counts["in"]),
                "share_dropped": dropped / max(1, counts["in"]),
                "examples": examples.get(reason, []),
            }
        )
    return steps


def _explain(rule: Any) -> str:
    bounds = []
    if rule.at_least is not None:
        bounds.append(f"below {rule.at_least:g}")
    if rule.at_most is not None:
        bounds.append(f"above {rule.at_most:g}")
    return f"{rule.signal} {' or '.join(bounds)}"


def _read_examples(corpus: Path, recipe: Any) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = read_json(corpus / "examples.json")
    shown = {}
    for reason, examples in found.items():
        shown[reason] = [
            {**example, "text": example["text"][:_EXAMPLE_CHARACTERS]}
            for example in examples[: recipe.report.examples_per_reason]
        ]
    return shown


def _quarantine(corpus: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in sorted((corpus / "quarantine").glob("*.parquet")):
        rows += pq.read_table(path).to_pylist()
    return rows[:20]


def _signal_charts(config: CorpusConfig, corpus: Path) -> list[dict[str, Any]]:
    """A histogram of every signal that a rule asks for, over all documents that could be read."""
    paths = sorted((corpus / "decisions").glob("*.parquet"))
    table = pq.read_table(paths, columns=["kept", "reason", *SIGNALS])
    read = np.array([reason != "quarantined" for reason in table["reason"].to_pylist()])
    kept = np.array(table["kept"].to_pylist(), dtype=bool)
    charts = []
    for signal in SIGNALS:
        rules = [rule for rule in config.rules if rule.signal == signal]
        if not rules:
            continue
        values = table[signal].to_numpy()
        bounds = [bound for rule in rules for bound in (rule.at_least, rule.at_most) if bound is not None]
        charts.append(
            {
                "signal": signal,
                "rules": ", ".join(f"{rule.reason}: {_explain(rule)}" for rule in rules),
                "chart": histogram(values[read & kept], values[read & ~kept], thresholds=bounds),
            }
        )
    return charts


def _training_curve(rows: Sequence[Mapping[str, Any]]) -> Any:
    steps = [row for row in rows if "loss" in row]
    checks = [row for row in rows if "validation_loss" in row]
    # Means over neighbouring steps: a curve of 300 points shows the course without the noise.
    groups = [list(group) for group in np.array_split(np.arange(len(steps)), min(_CURVE_POINTS, len(steps)))]
    return line_chart(
        [
            Line(
                "training loss",
                "curve",
                [steps[group[-1]]["tokens"] for group in groups],
                [float(np.mean([steps[index]["loss"] for index in group])) for group in groups],
            ),
            Line(
                "validation loss",
                "curve2",
                [row["tokens"] for row in checks],
                [row["validation_loss"] for row in checks],
            ),
        ],
        x_label="training tokens",
        y_label="nats per token",
    )


def _bits_chart(scores: Mapping[str, Any]) -> Any:
    models = scores["perplexity"]["models"]
    bars = [
        Bar(
            name,
            found["bits_per_byte"],
            low=found["bits_per_byte_interval"][0],
            high=found["bits_per_byte_interval"][1],
            css="kept" if name == "model" else "bar",
        )
        for name, found in models.items()
    ]
    return bar_chart(bars, high=max(bar.high or bar.value for bar in bars))


def _task_chart(scores: Mapping[str, Any]) -> Any:
    bars = [
        Bar(
            f"{name} ({found['questions']})",
            found["accuracy"],
            max(0.0, found["accuracy"] - 1.96 * found["accuracy_stderr"]),
            min(1.0, found["accuracy"] + 1.96 * found["accuracy_stderr"]),
            css="kept",
        )
        for name, found in scores["tasks"].items()
    ]
    chance = next(iter(scores["tasks"].values()))["chance"] if scores["tasks"] else None
    return bar_chart(bars, high=1.0, marker=chance) if bars else ""
