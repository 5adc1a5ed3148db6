"""Lines or paragraphs that stand in many documents, and where to cut them.

Navigation, licence notices and sidebars come with every page of a site. The extraction takes most of
them away; what is left shows by its frequency. A unit that more than `max_documents` of the living
documents hold is cut from all of them but the first in input order, where every occurrence stays,
so no sentence disappears from the corpus altogether.

Frequencies are counted in divisions by hash (`FrequencyTask`), from the stored keys; a second pass
over the texts (`mark_repeats`) finds the places.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.config import RepeatedLines
from tsumugu.corpus.dedup import shards
from tsumugu.corpus.dedup.contained import count_values
from tsumugu.corpus.dedup.hashing import NEWLINE
from tsumugu.corpus.dedup.keys import hash_units
from tsumugu.engine import Resources


@dataclass(frozen=True)
class FrequencyTask:
    """One division of all lines or paragraphs."""

    shards: tuple[Path, ...]
    column: str
    part: int
    parts: int
    alive: Path
    """`bool [documents]` as .npy."""
    max_documents: int
    output: Path


def find_frequent(
    measured: Sequence[Path],
    alive: NDArray[np.bool_],
    config: RepeatedLines,
    *,
    work: Path,
    resources: Resources,
    at_once: int = shards.AT_ONCE,
) -> Path:
    """A Parquet file of the units in too many documents: `key`, `first` row, `documents`, by key."""
    column = "line_keys" if config.unit == "line" else "paragraph_keys"
    units = sum(count_values(path, column) for path in measured)
    alive_path = shards.save_array(work / "alive.npy", alive)
    parts = max(1, -(-units // at_once))
    tasks = [
        FrequencyTask(
            shards=tuple(measured),
            column=column,
            part=part,
            parts=parts,
            alive=alive_path,
            max_documents=config.max_documents,
            output=work / f"frequent-{part:04d}.parquet",
        )
        for part in range(parts)
    ]
    shards.map_tasks(
        count_documents, tasks, amount=units, resources=resources, description=f"corpus: {config.unit}s"
    )
    table = pa.concat_tables([pq.read_table(task.output) for task in tasks]).sort_by("key")
    output = work / "frequent.parquet"
    shards.write_columns(output, {name: table[name] for name in table.column_names})
    return output


def count_documents(task: FrequencyTask) -> None:
    """Write the units of one division that stand in more than `max_documents`."""
    alive = shards.load_array(task.alive)
    all_keys, all_rows = [], []
    for start, table in shards.tables(task.shards, [task.column]):
        offsets, keys = shards.lists_of(table, task.column)
        rows = np.repeat(np.arange(table.num_rows) + start, np.diff(offsets))
        wanted = alive[rows]
        if task.parts > 1:
            wanted &= shards.part_of(keys, task.parts) == task.part
        all_keys.append(keys[wanted])
        all_rows.append(rows[wanted])
    keys, rows = shards.join_arrays(all_keys), shards.join_arrays(all_rows)
    order = np.argsort(keys, kind="stable")
    keys, rows = keys[order], rows[order]
    found = _frequent(keys, rows, task.max_documents)
    shards.write_columns(task.output, dict(zip(("key", "first", "documents"), found, strict=True)))


def read_frequent(path: Path) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """What `find_frequent` wrote: keys, ascending, and the row of the first document with each."""
    table = pq.read_table(path, columns=["key", "first"])
    return table["key"].to_numpy(), table["first"].to_numpy()


def mark_repeats(
    codes: NDArray[np.uint32],
    offsets: NDArray[np.int64],
    compared: tuple[NDArray[np.uint32], NDArray[np.int64]],
    rows: NDArray[np.int64],
    *,
    frequent: tuple[NDArray[np.uint64], NDArray[np.int64]],
    paragraphs: bool,
    cut: NDArray[np.bool_],
) -> None:
    """Mark in `cut` the code points of every repeated unit, line end included.

    Args:
        codes, offsets: the texts themselves.
        compared: the same texts as `comparable_codes` returns them.
        rows: of each text, `int64 [documents]`.
        frequent: as `read_frequent` returns it.
        cut: `bool [characters]`, aligned with `codes`.
    """
    units, keys, _, firsts, afters = hash_units(*compared, paragraphs=paragraphs)
    repeated = find_repeated(keys, np.repeat(rows, np.diff(units)), frequent)
    _mark(codes, offsets, units, firsts, afters, repeated, paragraphs, cut)


def find_repeated(
    keys: NDArray[np.uint64], rows: NDArray[np.int64], frequent: tuple[NDArray[np.uint64], NDArray[np.int64]]
) -> NDArray[np.bool_]:
    """Which units are cut: those in too many documents, except from the first of these.

    Args:
        keys, rows: the key of every unit, and the row of its document.
        frequent: as `read_frequent` returns it.
    """
    known, first_rows = frequent
    if not len(known):
        return np.zeros(len(keys), dtype=np.bool_)
    places = np.minimum(np.searchsorted(known, keys), len(known) - 1)
    repeated: NDArray[np.bool_] = (known[places] == keys) & (first_rows[places] != rows)
    return repeated


@njit(cache=True)
def _frequent(keys, rows, max_documents):  # type: ignore[no-untyped-def]
    found = np.empty(len(keys) // max_documents + 1, dtype=np.uint64)
    firsts = np.empty(len(found), dtype=np.int64)
    counts = np.empty(len(found), dtype=np.int64)
    many = start = 0
    while start < len(keys):
        end = start
        documents = 0
        while end < len(keys) and keys[end] == keys[start]:
            if end == start or rows[end] != rows[end - 1]:
                documents += 1
            end += 1
        if documents > max_documents:
            found[many], firsts[many], counts[many] = keys[start], rows[start], documents
            many += 1
        start = end
    return found[:many], firsts[:many], counts[:many]


@njit(cache=True)
def _mark(codes, offsets, units, firsts, afters, repeated, paragraphs, cut):  # type: ignore[no-untyped-def]
    for document in range(len(offsets) - 1):
        unit, last = units[document], units[document + 1]
        line = 0
        for index in range(offsets[document], offsets[document + 1]):
            # A paragraph takes the empty lines after it along.
            while (
                unit < last
                and line >= afters[unit]
                and not (paragraphs and repeated[unit] and codes[index] == NEWLINE)
            ):
                unit += 1
            if unit < last and repeated[unit] and line >= firsts[unit]:
                cut[index] = True
            if codes[index] == NEWLINE:
                line += 1
