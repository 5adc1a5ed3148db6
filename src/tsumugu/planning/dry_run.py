"""`tsumugu run RECIPE --dry-run`: everything about a run that can be known before it begins.

The recipe is read already. What is looked at: the files that it names, the packages that it needs, which
stages are done, the layout and the memory of a device, the disk, and the time. No data is read.
"""

import importlib.util
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tsumugu.corpus.inputs import find_files
from tsumugu.corpus.remote import is_url
from tsumugu.errors import TsumuguError
from tsumugu.model.counts import flops_per_token, parameter_count, root_numbers
from tsumugu.pipeline import done_stages
from tsumugu.planning.planner import cluster_of, own_candidate, workload
from tsumugu.planning.search import FILLED, estimate
from tsumugu.planning.showing import duration, money, way
from tsumugu.planning.workload import Workload
from tsumugu.recipe import Recipe
from tsumugu.stages import stages_of

Verdict = Literal["ok", "note", "error"]

_GIB = 2**30
_STATE_BYTES = {"adamw": 12, "muon": 8}
"""Of a checkpoint, per parameter of the layers: weight and moments in float32."""
_TOKEN_BYTES_OF_TEXT = 4.5
"""Bytes of UTF-8 in a token of Japanese; our tokenizers of 51,200 pieces have 4 to 6."""
_PACKAGES = {
    "datasets": ("datasets", "inputs of the Hugging Face hub"),
    "lm_eval": ("evaluate", "tasks through lm-evaluation-harness"),
    "torch": ("train", "training"),
    "trl": ("tune", "instruction tuning"),
    "trafilatura": ("trafilatura", "corpus.extraction.extractor = trafilatura"),
    "torchao": ("float8", "pretrain.precision = float8"),
}


@dataclass(frozen=True)
class Check:
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    text: str


def dry_run(
    recipe: Recipe, folder: Path, *, last: str | None = None, cluster: str | None = None
) -> list[Check]:
    """All checks, in the order of the run.

    Args:
        recipe: what would run.
        folder: the run's.
        last: the last stage that would run; all if None.
        cluster: as `tsumugu plan --cluster` wants it; the recipe's unless given, and without one nothing is
            said of devices.
    """
    checks = [Check("recipe", "ok", f"{recipe.name}: every key is known, every value in its range")]
    names = [stage.name for stage in stages_of(recipe)]
    names = names if last is None else names[: names.index(last) + 1]
    checks += _inputs(recipe)
    checks += _files(recipe, names)
    checks += _packages(recipe, names)
    done = done_stages(recipe, folder)
    text = ", ".join(f"{name}{' (done)' if name in done else ''}" for name in names)
    checks.append(Check("stages", "ok", text))
    if "pretrain" not in names:
        return checks
    try:
        work = workload(recipe)
    except TsumuguError as error:
        return [*checks, Check("tokenizer", "error", str(error))]
    checks.append(_model(work))
    checks += _devices(recipe, work, cluster)
    checks.append(_disk(recipe, work, folder))
    return checks


def checks_text(checks: list[Check]) -> str:
    """A line or a few for each."""
    width = max(len(check.name) for check in checks)
    lines = []
    for check in checks:
        first, *more = check.text.splitlines()
        lines.append(f"{check.verdict:5}  {check.name:{width}}  {first}")
        lines += [f"{'':5}  {'':{width}}  {line}" for line in more]
    errors = sum(check.verdict == "error" for check in checks)
    lines.append("")
    lines.append(
        f"{errors} of these would stop the run" if errors else "nothing speaks against it; nothing was run"
    )
    return "\n".join(lines)


def _inputs(recipe: Recipe) -> Iterator[Check]:
    there = 0
    for entry in recipe.corpus.inputs:
        name = f"input {entry.source}"
        if is_url(entry.path):
            there += 1
            yield Check(name, "note", f"{entry.path} is elsewhere, and was not looked for")
            continue
        try:
            files = find_files([entry])
        except TsumuguError as error:
            if entry.optional:
                yield Check(name, "note", f"{entry.path} is not there; it is optional")
            else:
                there += 1
                yield Check(name, "error", str(error))
            continue
        there += 1
        size = sum(file.bytes for file in files)
        yield Check(name, "ok", f"{entry.path}: {len(files):,} files, {size / 1e6:,.1f} MB")
    if not there:
        yield Check("inputs", "error", "no input exists; the demo's pages come with `make data/demo/pages`")
    for path in recipe.corpus.other_files:
        if not Path(path).exists():
            yield Check("corpus", "error", f"{path} is not there")


def _files(recipe: Recipe, names: list[str]) -> Iterator[Check]:
    """Those that stages after the corpus read."""
    found: list[tuple[str, str | None]] = [("tokenizer", recipe.tokenizer.path)]
    if "pretrain" in names:
        found.append(("model", recipe.model.weights))
    if "tune" in names and recipe.tune is not None:
        found += [("tune", source.path) for source in recipe.tune.data if not is_url(source.path)]
    if "report" in names:
        found += [("report", path) for path in recipe.report.tokenizers]
    for name, path in found:
        if path is not None and not Path(path).exists():
            yield Check(name, "error", f"{path} is not there")


def _packages(recipe: Recipe, names: list[str]) -> Iterator[Check]:
    needed = ["torch"] if "pretrain" in names else []
    if any(entry.path.startswith("hf://") for entry in recipe.corpus.inputs):
        needed.append("datasets")
    if ("evaluate" in names and recipe.evaluate.tasks) or (
        "pretrain" in names and recipe.pretrain.evaluation
    ):
        needed.append("lm_eval")
    if "tune" in names:
        needed.append("trl")
    if recipe.corpus.extraction.extractor == "trafilatura":
        needed.append("trafilatura")
    if "pretrain" in names and recipe.pretrain.precision == "float8":
        needed.append("torchao")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    for name in missing:
        extra, what = _PACKAGES[name]
        yield Check("packages", "error", f'{name} is missing, for {what}: pip install "tsumugu[{extra}]"')
    if needed and not missing:
        yield Check("packages", "ok", f"{', '.join(needed)} are installed")


def _model(work: Workload) -> Check:
    parameters = parameter_count(work.model, work.vocab_size)
    flops = flops_per_token(work.model, work.vocab_size, work.sequence_length) * work.tokens
    return Check(
        "model",
        "ok",
        f"{parameters:,} parameters; {work.tokens:,} tokens in {work.steps:,} steps, "
        f"{work.tokens / parameters:.1f} per parameter; {flops:.3g} FLOPs",
    )


def _devices(recipe: Recipe, work: Workload, text: str | None) -> Iterator[Check]:
    if text is None and recipe.plan is None:
        yield Check(
            "layout", "note", "no cluster is named, so nothing is said of devices; give --cluster 8xH100"
        )
        return
    try:
        cluster = cluster_of(recipe, text, None)
        own = own_candidate(recipe, cluster)
        one = estimate(work, own, cluster)
    except TsumuguError as error:
        yield Check("layout", "error", str(error))
        return
    auto = "auto: " if recipe.pretrain.layout.auto else ""
    yield Check("layout", "ok", f"{cluster.devices} x {cluster.device}: {auto}{way(own)}")
    fits = one.memory.total <= FILLED * cluster.memory
    yield Check(
        "memory",
        "ok" if fits else "error",
        f"{one.memory.total / _GIB:.1f} GiB per device of {cluster.memory / _GIB:.1f}, of which {FILLED:.0%} "
        f"may be filled" + ("" if fits else "; `tsumugu plan` finds what fits"),
    )
    yield Check(
        "time",
        "ok",
        f"{duration(one.hours)}, {one.hours * one.devices:,.0f} device hours, {money(one.usd)} USD; "
        f"MFU {one.mfu:.1%}, estimated",
    )


def _disk(recipe: Recipe, work: Workload, folder: Path) -> Check:
    parameters = parameter_count(work.model, work.vocab_size)
    width = 2 if work.vocab_size <= 2**16 else 4
    # One checkpoint more is there while it is written.
    roots = root_numbers(work.model, work.vocab_size)
    state = (parameters - roots) * _STATE_BYTES[work.optimizer] + roots * _STATE_BYTES["adamw"]
    checkpoints = state * (recipe.pretrain.keep_checkpoints + 1)
    release = parameters * (4 if recipe.release.dtype == "float32" else 2)
    shards = work.tokens * width
    text = work.tokens * _TOKEN_BYTES_OF_TEXT
    needed = checkpoints + release + shards + text
    place = folder
    while not place.exists():
        place = place.parent
    free = shutil.disk_usage(place).free
    parts = (
        f"checkpoints {checkpoints / 1e9:,.1f} GB, release {release / 1e9:,.1f} GB; and if every token is "
        f"read once, documents about {text / 1e9:,.0f} GB and token shards {shards / 1e9:,.1f} GB\n"
        f"{free / 1e9:,.0f} GB are free at {place}"
    )
    if free < checkpoints + release:
        return Check("disk", "error", f"the model alone needs more than there is: {parts}")
    return Check("disk", "ok" if free >= needed else "note", parts)
