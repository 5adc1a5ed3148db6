"""Documents that give away an evaluation set, and a report of what was hit.

Every window of 13 characters (Japanese text has no words to count; 13 characters are about as much
as the 13-grams of words are for nobody to write twice by chance, Brown et al. 2020, but set phrases
are longer, hence the thresholds) of every document that stays is looked up among the windows of the
evaluation sets. `DecontaminationConfig` says when a document goes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tsumugu.corpus.config import DecontaminationConfig
from tsumugu.corpus.dedup import shards
from tsumugu.corpus.dedup.evaluation_sets import (
    WindowIndex,
    Windows,
    load_windows,
    read_windows,
    save_windows,
    windows_of,
)
from tsumugu.engine import Resources
from tsumugu.files import write_json

_AT_ONCE = 512
"""Documents that are looked up together."""
MOST_ITEMS = 20
"""Items that the report names for one document, those of which most was found."""
_EXCERPT = 80


@dataclass(frozen=True)
class LookupTask:
    """One measured shard, and the evaluation windows."""

    shard: Path
    first_row: int
    alive: Path
    """`bool [documents]` as .npy; the others are not looked at."""
    config: DecontaminationConfig
    windows: Path
    """The folder in which `save_windows` put them: read once, and mapped by every task."""
    output: Path


@dataclass(frozen=True)
class Hits:
    """What was found in a batch of documents."""

    shares: NDArray[np.float64]
    """Of each document's windows, those that stand in an evaluation set."""
    hits: NDArray[np.int64]
    """The same, different windows counted."""
    pairs: NDArray[np.int64]
    """`[3, pairs]`: document, item, and how many of the item's windows stand in the document."""


def find_hits(texts: Sequence[str], windows: WindowIndex, ngram: int) -> Hits:
    """Look up all windows of `texts`."""
    owners, keys = windows_of(texts, ngram)
    places = np.minimum(np.searchsorted(windows.keys, keys), len(windows.keys) - 1)
    hit = windows.keys[places] == keys
    totals = np.bincount(owners, minlength=len(texts))
    shares = np.bincount(owners[hit], minlength=len(texts)) / np.maximum(totals, 1)
    found = np.unique(np.stack([owners[hit], places[hit]]), axis=1)
    counts = windows.starts[found[1] + 1] - windows.starts[found[1]]
    # Each window found, once for every item that has it.
    steps = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    items = windows.owners[np.repeat(windows.starts[found[1]], counts) + steps]
    pairs, number = np.unique(np.stack([np.repeat(found[0], counts), items]), axis=1, return_counts=True)
    return Hits(
        shares=shares,
        hits=np.bincount(found[0], minlength=len(texts)),
        pairs=np.concatenate([pairs, number[None]]).astype(np.int64),
    )


def look_up(task: LookupTask) -> None:
    """Write every living document with a hit: `row`, `share`, `hits`, `contaminated`, `items`, `found`."""
    windows = load_windows(task.windows)
    rows: list[dict[str, Any]] = []
    for batch, texts in _living_texts(task):
        found = find_hits(texts, windows, task.config.ngram)
        for document in np.flatnonzero(found.hits):
            _, items, numbers = found.pairs[:, found.pairs[0] == document]
            shares = numbers / windows.counts[items]
            best = np.lexsort((items, -shares))[:MOST_ITEMS]
            rows.append(
                {
                    "row": int(batch[document]),
                    "share": float(found.shares[document]),
                    "hits": int(found.hits[document]),
                    "contaminated": _is_contaminated(
                        task.config,
                        item_shares=shares[windows.counts[items] >= task.config.min_item_windows],
                        share=found.shares[document],
                        hits=found.hits[document],
                    ),
                    "items": items[best].tolist(),
                    "found": shares[best].tolist(),
                }
            )
    shards.write_columns(
        task.output, {name: pa.array([row[name] for row in rows], kind) for name, kind in _LOOKUP}
    )


def _living_texts(task: LookupTask) -> Iterator[tuple[NDArray[np.int64], list[str]]]:
    """Rows and texts of the documents that are looked at, a few hundred at a time."""
    alive = shards.load_array(task.alive)
    for start, table in shards.row_groups(task.shard, ["text"]):
        first = task.first_row + start
        rows = np.flatnonzero(alive[first : first + table.num_rows])
        for place in range(0, len(rows), _AT_ONCE):
            batch = rows[place : place + _AT_ONCE]
            yield batch + first, table["text"].take(pa.array(batch)).to_pylist()


_LOOKUP = [
    ("row", pa.int64()),
    ("share", pa.float64()),
    ("hits", pa.int64()),
    ("contaminated", pa.bool_()),
    ("items", pa.list_(pa.int64())),
    ("found", pa.list_(pa.float64())),
]


def find_contaminated(
    measured: Sequence[Path],
    alive: NDArray[np.bool_],
    config: DecontaminationConfig,
    *,
    work: Path,
    resources: Resources,
) -> NDArray[np.bool_]:
    """Which documents give an evaluation set away; writes `work/contamination.json`.

    Raises:
        TsumuguError: an evaluation set yields nothing to look for.
    """
    windows = read_windows(config)
    folder = save_windows(work / "windows", windows.index)
    offsets = shards.row_offsets(measured)
    alive_path = shards.save_array(work / "alive.npy", alive)
    tasks = [
        LookupTask(path, int(offsets[index]), alive_path, config, folder, work / f"hits-{index:05d}.parquet")
        for index, path in enumerate(measured)
    ]
    characters = shards.read_numbers(measured, "compared_characters", np.int64)
    shards.map_tasks(
        look_up,
        tasks,
        amount=int(characters[alive].sum()),
        resources=resources,
        description="corpus: decontaminate",
    )
    contaminated = np.zeros(len(alive), dtype=np.bool_)
    documents: list[dict[str, Any]] = []
    with_a_hit = 0
    for task in tasks:
        found = pq.read_table(task.output)
        with_a_hit += found.num_rows
        found = found.filter(found["contaminated"])
        rows = found["row"].to_numpy()
        contaminated[rows] = True
        if len(rows):
            ids = pq.read_table(task.shard, columns=["id"])["id"].take(pa.array(rows - task.first_row))
            documents += found.append_column("id", ids).to_pylist()
    write_json(work / "contamination.json", _report(config, windows, documents, with_a_hit))
    return contaminated


def _is_contaminated(
    config: DecontaminationConfig, *, item_shares: NDArray[np.float64], share: float, hits: int
) -> bool:
    return bool(
        (config.item_share is not None and (item_shares >= config.item_share).any())
        or (config.document_share is not None and share >= config.document_share)
        or (config.hits is not None and hits >= config.hits)
    )


def _report(
    config: DecontaminationConfig, windows: Windows, documents: list[dict[str, Any]], with_a_hit: int
) -> dict[str, Any]:
    """What was looked for, and for each item which contaminated documents hold how much of it."""
    hits: dict[int, list[dict[str, Any]]] = {}
    for document in documents:
        for item, share in zip(document["items"], document["found"], strict=True):
            hits.setdefault(item, []).append({"id": document["id"], "share": round(share, 4)})
    return {
        "ngram": config.ngram,
        "evaluation": [evaluation.path for evaluation in config.evaluation],
        "items": len(windows.items),
        "items_without_windows": int((windows.index.counts == 0).sum()),
        "windows": len(windows.index.keys),
        "documents_with_a_hit": with_a_hit,
        "documents_contaminated": len(documents),
        "documents": [
            {"id": document["id"], "share": round(document["share"], 4), "hits": document["hits"]}
            for document in documents
        ],
        "hits": [
            {
                "item": windows.items[item].name,
                "text": " / ".join(windows.items[item].texts)[:_EXCERPT],
                "windows": int(windows.index.counts[item]),
                "documents": found,
            }
            for item, found in sorted(hits.items())
        ],
    }
