"""Documents most of whose lines stand in other, shorter documents that stay.

That is how a manual on one page repeats the manual in many: their Jaccard similarity is far too
small for MinHash. Asked from the shortest document (of equal ones, the first) to the longest; what
is contained itself contains nothing.

Lines are compared in divisions by hash, so that no task holds more than `AT_ONCE` of them. A first
pass counts, for each document, the characters in lines that any shorter document has; only those
that reach the share that way can be contained at all, and only their lines come together for the
decision, which then is the same as if all lines had been in one memory. That memory is 16 bytes
for each document, and 24 for each line of the candidates that repeats.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.dedup import shards
from tsumugu.engine import Resources


@dataclass(frozen=True)
class LineTask:
    """One division of all lines. Without `candidates` it is the first pass, else the second."""

    shards: tuple[Path, ...]
    part: int
    parts: int
    alive: Path
    """`bool [documents]` as .npy."""
    totals: Path
    """Characters in comparable lines, `int64 [documents]` as .npy."""
    candidates: Path | None
    """`bool [documents]` as .npy."""
    output: Path


def find_contained(
    measured: Sequence[Path],
    alive: NDArray[np.bool_],
    *,
    share: float,
    work: Path,
    resources: Resources,
    at_once: int = shards.AT_ONCE,
) -> NDArray[np.bool_]:
    """Which documents stand, for at least `share` of their characters, in shorter kept ones.

    Returns:
        `bool [documents]`.
    """
    totals = shards.read_numbers(measured, "line_characters", np.int64)
    lines = sum(count_values(path, "line_keys") for path in measured)
    alive_path = shards.save_array(work / "alive.npy", alive)
    totals_path = shards.save_array(work / "totals.npy", totals)

    def run_pass(name: str, candidates: Path | None) -> list[Path]:
        parts = max(1, -(-lines // at_once))
        tasks = [
            LineTask(
                shards=tuple(measured),
                part=part,
                parts=parts,
                alive=alive_path,
                totals=totals_path,
                candidates=candidates,
                output=work / f"{name}-{part:04d}.parquet",
            )
            for part in range(parts)
        ]
        shards.map_tasks(
            compare_lines, tasks, amount=lines, resources=resources, description="corpus: contained"
        )
        return [task.output for task in tasks]

    covered = np.zeros(len(totals), dtype=np.int64)
    for path in run_pass("covered", None):
        table = pq.read_table(path)
        np.add.at(covered, table["row"].to_numpy(), table["characters"].to_numpy())
    candidates = (totals > 0) & (covered >= share * totals)
    contained = np.zeros(len(totals), dtype=np.bool_)
    if not candidates.any():
        return contained

    files = run_pass("candidates", shards.save_array(work / "candidates.npy", candidates))
    table = pa.concat_tables([pq.read_table(path) for path in files])
    rows = table["row"].to_numpy()
    # From the shortest document on; of equal ones, the first.
    order = np.lexsort((rows, totals[rows]))
    _, keys = np.unique(table["key"].to_numpy(), return_inverse=True)
    _decide(
        rows[order],
        keys.astype(np.int64)[order],
        table["characters"].to_numpy()[order],
        table["definite"].to_numpy()[order],
        totals,
        share,
        contained,
    )
    return contained


def count_values(path: Path, column: str) -> int:
    """How many values the lists of a column hold in all, from the file's metadata."""
    metadata = pq.read_metadata(path)
    names = [metadata.schema.column(index).path.split(".")[0] for index in range(metadata.num_columns)]
    index = names.index(column)
    return sum(metadata.row_group(group).column(index).num_values for group in range(metadata.num_row_groups))


def compare_lines(task: LineTask) -> None:
    """First pass: `row`, `characters` of lines that a shorter document has. Second pass: the lines of
    candidates that any other document has; `definite` if a shorter one has it that stays for sure."""
    alive, totals = shards.load_array(task.alive), shards.load_array(task.totals)
    all_keys, all_rows, all_lengths = [], [], []
    for start, table in shards.tables(task.shards, ["line_keys", "line_lengths"]):
        offsets, keys = shards.lists_of(table, "line_keys")
        _, lengths = shards.lists_of(table, "line_lengths")
        rows = np.repeat(np.arange(table.num_rows) + start, np.diff(offsets))
        wanted = alive[rows]
        if task.parts > 1:
            wanted &= shards.part_of(keys, task.parts) == task.part
        all_keys.append(keys[wanted])
        all_rows.append(rows[wanted])
        all_lengths.append(lengths[wanted].astype(np.int64))
    keys, rows, lengths = (np.concatenate(parts) for parts in (all_keys, all_rows, all_lengths))
    order = np.argsort(keys, kind="stable")
    keys, rows, lengths = keys[order], rows[order], lengths[order]
    if task.candidates is None:
        covered = _covered_by(keys, rows, totals, np.ones(1, dtype=np.bool_))
        found, places = np.unique(rows[covered], return_inverse=True)
        characters = np.bincount(places, weights=lengths[covered], minlength=len(found)).astype(np.int64)
        shards.write_columns(task.output, {"row": found, "characters": characters})
        return
    candidates = shards.load_array(task.candidates)
    definite = _covered_by(keys, rows, totals, ~candidates)
    wanted = candidates[rows] & _is_shared(keys, rows)
    columns = {"row": rows, "key": keys, "characters": lengths, "definite": definite}
    shards.write_columns(task.output, {name: column[wanted] for name, column in columns.items()})


@njit(cache=True)
def _covered_by(keys, rows, totals, coverers):  # type: ignore[no-untyped-def]
    """Whether a line (sorted by key) stands in a shorter document, one of `coverers`."""
    covered = np.zeros(len(keys), dtype=np.bool_)
    everyone = len(coverers) == 1
    start = 0
    while start < len(keys):
        end = start
        shortest = np.int64(-1)
        while end < len(keys) and keys[end] == keys[start]:
            row = rows[end]
            # Rows ascend, so the first of equally short ones is met first.
            if (everyone or coverers[row]) and (shortest < 0 or totals[row] < totals[shortest]):
                shortest = row
            end += 1
        for index in range(start, end):
            row = rows[index]
            if shortest >= 0 and row != shortest:
                longer = totals[row] > totals[shortest]
                covered[index] = longer or (totals[row] == totals[shortest] and row > shortest)
        start = end
    return covered


@njit(cache=True)
def _is_shared(keys, rows):  # type: ignore[no-untyped-def]
    """Whether a line (sorted by key, then row) stands in more than one document."""
    shared = np.zeros(len(keys), dtype=np.bool_)
    start = 0
    while start < len(keys):
        end = start
        while end < len(keys) and keys[end] == keys[start]:
            end += 1
        if rows[start] != rows[end - 1]:
            shared[start:end] = True
        start = end
    return shared


@njit(cache=True)
def _decide(rows, keys, lengths, definite, totals, share, contained):  # type: ignore[no-untyped-def]
    seen = np.zeros(keys.max() + 1 if len(keys) else 0, dtype=np.bool_)
    start = 0
    while start < len(rows):
        row = rows[start]
        known = 0
        end = start
        while end < len(rows) and rows[end] == row:
            if definite[end] or seen[keys[end]]:
                known += lengths[end]
            end += 1
        if known >= share * totals[row]:
            contained[row] = True
        else:
            for index in range(start, end):
                seen[keys[index]] = True
        start = end
