"""Which test items a model may have read in training: `contamination`, and the scores without them.

An item counts as contaminated when a window of it stands in one training document. GPT-3's windows
were 13 words (Brown et al. 2020, appendix C); the unit here is the character, since Japanese text has
no spaces and any division into words would be that of a dictionary. Compared are letters, marks and
digits after NFKC and case folding, so that neither white space nor punctuation hides a copy. 13
characters, though, are six or seven words, and set phrases are longer (ることができるようになって), so 13
characters are only where the search begins: a window is 26 characters, 13 Japanese words of two
characters, and all of it must stand in the document. An item's lines are its parts (passage, question,
choices), and no window reaches from one into the next. Where none of them has 26 characters, the
longest is one window if it has 13; otherwise the item is too short to be judged.

The 4,442 items of JSQuAD's validation set (passage, question, answer), looked for with windows of 13,
20, 26 and 32 characters: in 2,259 works of Aozora Bunko, which hold none of them, 81, 4, 0 and 0 are
found; in 7,053 Wikipedia articles on Kyoto, which hold some of their passages, 292, 64, 59 and 54.
What is left by chance at 26 are names of statutes. 45 to 60 MB of text a second and core.

What stands in many items of a task is its template and not looked for. A passage counts as the
question does: that the model has read the article is worth knowing, but is less than having read the
answer; whoever wants to know both gives the parts as two tasks.
"""

import hashlib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter, ValidationError

from tsumugu.corpus.dedup.shards import map_tasks
from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.evaluation.contamination_index import (
    SEED,
    WINDOW,
    Index,
    find_windows,
    index_items,
    load_index,
    save_index,
)
from tsumugu.evaluation.statistics import mean_and_stderr
from tsumugu.files import read_json, write_json
from tsumugu.recipe import load_recipe
from tsumugu.tokens.split import is_validation

UNIT = f"{WINDOW} letters (of shorter items the longest line, from {SEED} on), NFKC, case-folded"
CONTAMINATION = "contamination"
"""Where results have it, in the figures of a task."""
MOST_EXAMPLES = 5
_AT_ONCE = 256
"""Documents that are looked through together."""


@dataclass(frozen=True)
class Example:
    """One item and the first training document that holds a window of it."""

    item: str
    document: str
    url: str | None
    text: str
    """The window, as it was compared."""


@dataclass(frozen=True)
class ContaminationResult:
    """What was found for one task."""

    items: int
    judged: int
    """Those that are long enough."""
    contaminated: tuple[int, ...]
    """Their places among the items, ascending."""
    examples: tuple[Example, ...]

    @property
    def share(self) -> float | None:
        """Of the judged items; None if there are none."""
        return len(self.contaminated) / self.judged if self.judged else None

    def to_json(self) -> dict[str, Any]:
        """Everything, with the share and what a window is."""
        return {
            "items": self.items,
            "judged": self.judged,
            "contaminated": len(self.contaminated),
            "share": self.share,
            "window": UNIT,
            "contaminated_items": list(self.contaminated),
            "examples": [asdict(one) for one in self.examples],
        }


_RESULT = TypeAdapter(ContaminationResult)


@dataclass(frozen=True)
class ScanTask:
    """One shard of documents, and the windows."""

    documents: Path
    index: Path
    items: int
    seed: int
    validation_fraction: float
    output: Path


def contamination(
    items_by_task: Mapping[str, Sequence[str]],
    documents_folder: Path,
    *,
    work: Path,
    resources: Resources,
    seed: int,
    validation_fraction: float,
    ids: Mapping[str, Sequence[str]] | None = None,
) -> dict[str, ContaminationResult]:
    """Look for the items of all tasks in the training documents of a run, in one pass over them.

    Args:
        items_by_task: for each task its items: everything that the model is shown of one, without
            instructions and few-shot examples, and the right answer; a line for each part.
        documents_folder: `corpus/documents` of the run.
        work: for intermediate files; what an interrupted search of the same items left there is used.
        resources: where shards are looked through.
        seed: of the run, which with
        validation_fraction: says which documents were held out and so do not count.
        ids: what to call the items in examples; default: their places, from 0.

    Raises:
        TsumuguError: there are no documents.
    """
    shards = sorted(documents_folder.glob("*.parquet"))
    if not shards:
        raise TsumuguError(
            f"{documents_folder}: there are no training documents to look for test items in. "
            f"Make them: tsumugu corpus RECIPE"
        )
    owners = np.repeat(np.arange(len(items_by_task)), [len(items) for items in items_by_task.values()])
    index, judged = index_items([text for items in items_by_task.values() for text in items], owners)
    folder = work / _digest(index, shards, (seed, validation_fraction, WINDOW, SEED))
    windows = save_index(folder / "index", index)
    tasks = [
        ScanTask(path, windows, len(owners), seed, validation_fraction, folder / f"{path.stem}.json")
        for path in (shards if len(index.keys) else ())
    ]
    map_tasks(
        scan,
        tasks,
        # Compressed bytes of Japanese text are about as many as its characters.
        amount=sum(path.stat().st_size for path in shards),
        resources=resources,
        description="evaluate: contamination",
    )
    found: dict[int, dict[str, Any]] = {}
    for task in tasks:
        for row in read_json(task.output):
            found.setdefault(row["item"], row)
    results, first = {}, 0
    for name, items in items_by_task.items():
        places = range(first, first + len(items))
        hits = [place for place in places if place in found]
        names = ids[name] if ids is not None and name in ids else [str(place) for place in range(len(items))]
        results[name] = ContaminationResult(
            items=len(items),
            judged=int(judged[first : first + len(items)].sum()),
            contaminated=tuple(place - first for place in hits),
            examples=tuple(
                Example(
                    names[place - first], **{key: found[place][key] for key in ("document", "url", "text")}
                )
                for place in _spread(hits)
            ),
        )
        first += len(items)
    return results


def contamination_of_run(
    run: Path, items_by_task: Mapping[str, Sequence[str]], *, work: Path, resources: Resources
) -> dict[str, ContaminationResult]:
    """`contamination` in the training documents of a run folder; nothing where it has no documents, as when
    it was trained on tokens from elsewhere.

    Raises:
        TsumuguError: there is no run.
    """
    recipe = load_recipe(run / "recipe.yaml")
    documents = run / "corpus" / "documents"
    if not items_by_task or not any(documents.glob("*.parquet")):
        return {}
    return contamination(
        items_by_task,
        documents,
        work=work,
        resources=resources,
        seed=recipe.seed,
        validation_fraction=recipe.tokens.validation_fraction,
    )


def scan(task: ScanTask) -> None:
    """Write which items stand in the training documents of one shard, each with the first of these."""
    index = load_index(task.index)
    known = np.zeros(task.items, dtype=np.bool_)
    rows = []
    batches = pq.ParquetFile(task.documents).iter_batches(
        batch_size=_AT_ONCE, columns=["id", "url", "text"], use_threads=False
    )
    for batch in batches:
        ids = batch["id"].to_pylist()
        trained = [
            row
            for row, name in enumerate(ids)
            if not is_validation(name, seed=task.seed, fraction=task.validation_fraction)
        ]
        texts = batch["text"].take(pa.array(trained, pa.int64())).to_pylist()
        for item, text, window in find_windows(texts, index, known).T.tolist():
            begin = int(index.places[window])
            codes = index.codes[begin : begin + int(index.lengths[window])]
            rows.append(
                {
                    "item": item,
                    "document": ids[trained[text]],
                    "url": batch["url"][trained[text]].as_py(),
                    "text": "".join(map(chr, codes.tolist())),
                }
            )
    write_json(task.output, rows)


def clean_scores(
    items: Sequence[Mapping[str, Any]], contaminated: Collection[int]
) -> dict[str, dict[str, float | None]]:
    """The metrics of the items that are not contaminated: `value`, `stderr`, `questions` by metric.

    Args:
        items: lines of `items/TASK.jsonl`, in the order in which contamination was looked for.
        contaminated: places of those that do not count.
    """
    out = frozenset(contaminated)
    left = [item for place, item in enumerate(items) if place not in out]
    metrics = {
        name: [float(item[name]) for item in left if is_metric(name, item.get(name))]
        for name in dict.fromkeys(name for item in left for name in item)
    }
    scores: dict[str, dict[str, float | None]] = {}
    for name, values in metrics.items():
        if values:
            mean, stderr = mean_and_stderr(values)
            scores[name] = {"value": mean, "stderr": stderr, "questions": len(values)}
    return scores


def is_metric(name: str, value: object) -> bool:
    """Whether a field of an item's line is a score, not its name or hash."""
    return name not in ("id", "hash") and isinstance(value, int | float)


def read_contamination(value: Any) -> ContaminationResult:
    """What `ContaminationResult.to_json` gave.

    Raises:
        TsumuguError: it is damaged.
    """
    try:
        known = {name: value[name] for name in ("items", "judged", "examples")}
        return _RESULT.validate_python({**known, "contaminated": value["contaminated_items"]})
    except (ValidationError, KeyError, TypeError) as error:
        raise TsumuguError(
            f"what is kept of a search for test items is damaged: {error}. Evaluate the model again"
        ) from error


def write_contamination(path: Path, results: Mapping[str, ContaminationResult]) -> None:
    """Write all results as JSON, by task."""
    write_json(path, {name: result.to_json() for name, result in results.items()})


def _digest(index: Index, shards: Sequence[Path], settings: tuple[float, ...]) -> str:
    """Of everything that the outcome depends on."""
    files = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in shards]
    digest = hashlib.sha256(repr((files, settings)).encode())
    for array in (index.codes, index.owners, index.places):
        digest.update(array.tobytes())
    return digest.hexdigest()[:16]


def _spread(places: Sequence[int]) -> list[int]:
    """A few of them, from the first to the last."""
    if len(places) <= MOST_EXAMPLES:
        return list(places)
    return [places[index * (len(places) - 1) // (MOST_EXAMPLES - 1)] for index in range(MOST_EXAMPLES)]
