"""A finished run to one page: numbers and pictures gathered, text written, everything escaped."""

from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from tsumugu.corpus.decisions import open_folder
from tsumugu.evaluation.comparison.compare import PUBLISHED, compare
from tsumugu.evaluation.comparison.reading import open_results
from tsumugu.evaluation.comparison.views import html_section
from tsumugu.evaluation.contamination import CONTAMINATION
from tsumugu.files import read_json, write_text
from tsumugu.pipeline import MANIFEST, Counts, StageContext
from tsumugu.planning.page import plan_section, plan_style
from tsumugu.planning.planner import cluster_of, plan
from tsumugu.recipe import Recipe
from tsumugu.report.charts import Bar, Line, bar_chart, line_chart
from tsumugu.report.corpus import corpus_section, script_policy
from tsumugu.report.tokenizer import tokenizer_section
from tsumugu.talking.continuing import continuations
from tsumugu.terminal import number
from tsumugu.tokenizer.sampling import Split
from tsumugu.training.metrics import read_metrics

_SECTIONS = ("corpus", "tokenizer", "comparison")
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
            continuations(
                str(inputs["release"]),
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
    environment.filters["short"] = number
    page = environment.get_template("page.html.j2").render(
        name=recipe.name,
        counts=counts,
        corpus=corpus_section(
            open_folder(inputs["corpus"], recorded=recipe.corpus.model_dump()["rules"]),
            counts["corpus"],
            name=recipe.name,
            licenses={entry.source: entry.license for entry in recipe.corpus.inputs},
            examples_per_reason=recipe.report.examples_per_reason,
        ),
        tokenizer=tokenizer_section(
            inputs,
            counts["tokenizer"],
            sources=[entry.source for entry in recipe.corpus.inputs],
            split=Split(recipe.seed, recipe.tokens.validation_fraction),
            others=[Path(path) for path in recipe.report.tokenizers],
        ),
        style=_style(),
        script_policy=script_policy(),
        curve=_training_curve(read_metrics(inputs["pretrain"] / "metrics.jsonl")),
        scores=scores,
        bits_chart=_bits_chart(scores),
        task_chart=_task_chart(scores),
        contaminated=[
            {"task": name, "window": found[CONTAMINATION]["window"], **example}
            for name, found in scores["tasks"].items()
            for example in found.get(CONTAMINATION, {}).get("examples", [])
        ],
        comparison=_comparison(inputs["evaluate"]),
        plan=_plan(recipe),
        samples=samples,
        tune=counts.get("tune"),
        tune_curve=_tuning_curve(inputs["tune"]) if "tune" in inputs else "",
        recipe=recipe,
    )
    write_text(context.folder / "report.html", page)
    return {"samples": samples, "bytes": len(page.encode())}


def _comparison(folder: Path) -> Markup:
    """The scores beside published ones; nothing where none was ever published of these tasks."""
    comparison = compare([open_results(folder)])
    asked = [
        cell
        for row in comparison.rows
        if row.kind == PUBLISHED
        for cell, column in zip(row.cells, comparison.columns, strict=True)
        if cell is not None
    ]
    return html_section(comparison) if asked else Markup("")


def _plan(recipe: Recipe) -> Markup:
    """What the recipe would take on the cluster that it names."""
    if recipe.plan is None:
        return Markup("")
    return plan_section(plan(recipe, cluster_of(recipe, None, None)))


def _style() -> Markup:
    sheets = [resources.files("tsumugu.report") / f"{section}.css" for section in _SECTIONS]
    texts = [sheet.read_text(encoding="utf-8").rstrip() for sheet in sheets]
    return Markup("\n".join([*texts, plan_style()]))


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


def _tuning_curve(folder: Path) -> Any:
    rows = read_metrics(folder / "metrics.jsonl")
    if len(rows) < 2:
        return ""
    line = Line("loss of answers", "curve", [row["step"] for row in rows], [row["loss"] for row in rows])
    return line_chart([line], x_label="steps", y_label="nats per token")


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
    bars = []
    for name, found in scores["tasks"].items():
        main = found["metrics"][found["main_metric"]]
        if main["value"] is None:
            continue
        reach = 1.96 * (main["stderr"] or 0.0)
        low, high = (min(1.0, max(0.0, main["value"] + sign * reach)) for sign in (-1, 1))
        label = f"{name} ({found['main_metric']})"
        bars.append(Bar(label, min(1.0, max(0.0, main["value"])), low, high, css="kept"))
    chances = {found["chance"] for found in scores["tasks"].values()}
    return bar_chart(bars, high=1.0, marker=chances.pop() if len(chances) == 1 else None) if bars else ""
