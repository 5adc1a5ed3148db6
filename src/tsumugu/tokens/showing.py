"""`tsumugu tokens show`: what the model read in one training step, decoded.

The batch is computed anew from `recipe.yaml` and the token shards, as training computes it: what a
sample is, is a pure function of its number. Which samples a step read stands in its row of
`metrics.jsonl`; where there is no such row, the recipe's plan tells. The run may be finished, under way,
or stopped.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.pipeline import is_from_recipe
from tsumugu.recipe import Recipe, load_recipe
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.tokens.loader import Loader, Row
from tsumugu.tokens.opening import PACKING, is_packed, open_loader, run_length
from tsumugu.tokens.sequences import Span, each_span
from tsumugu.tokens.shards import read_index
from tsumugu.tokens.split import is_validation
from tsumugu.training.config import PretrainConfig
from tsumugu.training.events import read_events
from tsumugu.training.metrics import read_metrics
from tsumugu.training.schedule import batch_size, samples_before
from tsumugu.visible import visible

_SAMPLES = "samples"
_BEGINNING = 160
"""Characters of a document that are shown when no single row was asked for."""


@dataclass(frozen=True)
class DocumentPart:
    """A document, or what a row holds of it."""

    column: int
    """Where it begins in the row's sequence_length + 1 tokens."""
    tokens: int
    source: str
    shard: str
    document: int
    """Its number in the shard, from 0."""
    id: str | None
    """As in `corpus/documents`; None for documents that came as token ids, or without that folder."""
    first: int
    """The part's first token, counted in the document."""
    document_tokens: int
    text: str


@dataclass(frozen=True)
class ShownRow:
    """One row of the batch."""

    row: int
    sample: int
    """Sequences that the run read before this one."""
    epoch: int
    """The source's pass that it belongs to, from 1."""
    padding: int
    documents: list[DocumentPart]


@dataclass(frozen=True)
class ShownBatch:
    """What training step `batch` read."""

    batch: int
    """The step, as in `metrics.jsonl`: counted from 1."""
    steps: int
    sequence_length: int
    metrics: dict[str, Any] | None
    """The step's row of `metrics.jsonl`, if it has been taken; without a loss if it was not applied."""
    from_recipe: bool
    """False: the weights in the folder come from another recipe than the one that stands there."""
    rows: list[ShownRow]
    note: str = ""
    """Why the step may read something else in the end; empty if it cannot."""

    def to_json(self) -> dict[str, Any]:
        """Everything, as JSON."""
        return asdict(self)


def show(run: Path, batch: int, *, row: int | None = None) -> ShownBatch:
    """What the run below `run` reads in training step `batch` (from 1), all rows or one.

    Raises:
        TsumuguError: no such run, step or row; no token shards yet.
    """
    recipe_path = run / "recipe.yaml"
    if not recipe_path.exists():
        raise TsumuguError(f"{run} is not a run folder: it holds no recipe.yaml")
    recipe = load_recipe(recipe_path)
    _check("batch", batch, 1, recipe.pretrain.steps, "training steps, the first of which is 1")
    size = batch_size(batch, recipe.pretrain)
    if row is not None:
        _check("row", row, 0, size - 1, f"rows in a batch of {size}, the first of which is 0")
    folder = next((path for path in (run / "pretrain.partial", run / "pretrain") if path.exists()), None)
    taken = (
        [] if folder is None else [row for row in read_metrics(folder / "metrics.jsonl") if _SAMPLES in row]
    )
    metrics = next((entry for entry in taken if entry["step"] == batch), None)
    samples = samples_of(batch, recipe.pretrain, taken)
    note = ""
    if metrics is None and folder is not None and _was_disturbed(folder):
        note = (
            "steps of this run were left out, and what they read is never read again; where that lies "
            "before this step, it reads what comes after it instead"
        )
    with _loader(run, recipe, folder) as loader:
        found = list(enumerate(loader.rows(samples)))
        return ShownBatch(
            batch=batch,
            steps=recipe.pretrain.steps,
            sequence_length=recipe.pretrain.sequence_length,
            metrics=metrics,
            from_recipe=folder is None or is_from_recipe(recipe, run, "pretrain"),
            rows=_shown_rows(found if row is None else [found[row]], loader, run, recipe),
            note=note,
        )


def samples_of(step: int, config: PretrainConfig, taken: Sequence[dict[str, Any]]) -> list[range]:
    """The samples that a step reads, in order.

    Args:
        step: from 1.
        config: the training.
        taken: the rows of `metrics.jsonl` of steps that were taken, in order; they need not reach `step`.
    """
    size = batch_size(step, config)
    before = 0, 0
    for row in taken:
        if row["step"] == step:
            return [range(*pair) for pair in row.get("read", [[row[_SAMPLES] - size, row[_SAMPLES]]])]
        if row["step"] < step:
            before = row["step"], row[_SAMPLES]
    last, consumed = before
    first = consumed + samples_before(step, config) - samples_before(last + 1, config)
    return [range(first, first + size)]


def render(shown: ShownBatch, *, run: str, whole: bool) -> str:
    """The answer for a terminal: documents as they begin, or their whole text."""
    lines = [
        f"batch {shown.batch}: what the model reads in training step {shown.batch} of {shown.steps}",
        f'(the row with "step": {shown.batch} in metrics.jsonl)',
        f"rows of {shown.sequence_length} inputs, and one token more that is only predicted",
    ]
    if shown.metrics is None:
        lines.append("this step has not been taken yet")
    elif "loss" not in shown.metrics:
        lines.append("this step was not applied: its loss or gradient is not sound (see events.jsonl)")
    else:
        lines.append(
            f"loss {shown.metrics['loss']:.4f}, gradient norm {shown.metrics['grad_norm']:.4f}, "
            f"learning rate {shown.metrics['learning_rate']:.3g}"
        )
    if not shown.from_recipe:
        lines.append("note: recipe.yaml has changed since this model was trained; it read something else")
    if shown.note:
        lines.append(f"note: {shown.note}")
    for row in shown.rows:
        padding = f", {row.padding} tokens of padding" if row.padding else ""
        lines += ["", f"=== row {row.row}: sample {row.sample}, epoch {row.epoch}{padding}"]
        for part in row.documents:
            lines += [_heading(part), *_text_lines(part.text, whole=whole)]
    if not whole:
        lines += ["", f"whole texts of one row: tsumugu tokens show {run} --batch {shown.batch} --row 0"]
    return visible("\n".join(lines))


def _heading(part: DocumentPart) -> str:
    last = part.first + part.tokens
    begins = "from its beginning" if part.first == 0 else f"from its token {part.first}"
    ends = "to its end" if last == part.document_tokens else f"to {last} of {part.document_tokens}"
    name = f"{part.source}, document {part.document} of {part.shard}" + (f", id {part.id}" if part.id else "")
    return f"--- {part.column}..{part.column + part.tokens}: {name}, {begins} {ends}"


def _text_lines(text: str, *, whole: bool) -> list[str]:
    if not whole and len(text) > _BEGINNING:
        text = text[:_BEGINNING] + " ..."
    return [f"    {line}" for line in text.split("\n")]


def _check(name: str, value: int, first: int, last: int, what: str) -> None:
    if not first <= value <= last:
        raise TsumuguError(f"--{name} {value}: choose from {first} to {last}; these are the {what}")


@contextmanager
def _loader(run: Path, recipe: Recipe, pretrain: Path | None) -> Iterator[Loader]:
    """The loader of the training, with the packing that it left, or one that is made for the moment."""
    tokens, length = run / "tokens", run_length(recipe.pretrain)
    with TemporaryDirectory() as folder:
        packing = Path(folder)
        if pretrain is not None and is_packed(pretrain / PACKING, tokens, recipe.data, length):
            packing = pretrain / PACKING
        resources = Resources(len(os.sched_getaffinity(0)))
        yield open_loader(
            tokens, recipe.data, length, seed=recipe.training_seed, packing=packing, resources=resources
        )


def _was_disturbed(folder: Path) -> bool:
    return any(_SAMPLES in event for event in read_events(folder / "events.jsonl"))


def _shown_rows(rows: Sequence[tuple[int, Row]], loader: Loader, run: Path, recipe: Recipe) -> list[ShownRow]:
    decode = load_encoder(run / "tokenizer").decode
    names = [source.name for source in read_index(run / "tokens").sources]

    @lru_cache(maxsize=8)
    def ids(shard: str, source: str) -> list[str]:
        return _document_ids(run, recipe, shard=shard, source=source)

    def part(column: int, span: Span, document: int) -> DocumentPart:
        shard = span.shard
        begin, end = map(int, shard.offsets[document : document + 2])
        first, last = max(span.start, begin), min(span.start + span.length, end)
        found = ids(shard.name, names[shard.source])
        return DocumentPart(
            column=column + first - span.start,
            tokens=last - first,
            source=names[shard.source],
            shard=shard.name,
            document=document,
            id=found[document] if found else None,
            first=first - begin,
            document_tokens=end - begin,
            text=decode(shard.tokens[first:last].tolist()),
        )

    return [
        ShownRow(
            row=place,
            sample=row.sample,
            epoch=row.epoch + 1,
            padding=loader.sequence_length + 1 - sum(span.length for span in row.spans),
            documents=[
                part(column, span, document)
                for column, span in each_span(row.spans)
                for document in _documents(span)
            ],
        )
        for place, row in rows
    ]


def _documents(span: Span) -> range:
    """The numbers of the documents that a span touches."""
    first, last = np.searchsorted(
        span.shard.offsets, [span.start, span.start + span.length - 1], side="right"
    )
    return range(int(first) - 1, int(last))


def _document_ids(run: Path, recipe: Recipe, *, shard: str, source: str) -> list[str]:
    """The ids of a shard's documents, which stand in the corpus in the same order; [] if it has none."""
    path = run / "corpus" / "documents" / f"{Path(shard).stem}.parquet"
    if source not in {entry.source for entry in recipe.corpus.inputs} or not path.exists():
        return []
    table = pq.read_table(path, columns=["id", "source"])
    return [
        document
        for document, of in zip(table["id"].to_pylist(), table["source"].to_pylist(), strict=True)
        if of == source
        and not is_validation(document, seed=recipe.seed, fraction=recipe.tokens.validation_fraction)
    ]
