"""Documents most of whose lines stand in other, shorter documents that stay.

That is how a manual on one page repeats the manual in many: their Jaccard similarity is far too
small for MinHash. Asked from the shortest document (of equal ones, the first) to the longest; what
is contained itself contains nothing.

Lines are compared in divisions by hash, so that no task holds more than `AT_ONCE` of them. A first
pass counts, for each document, the characters in lines that any shorter document has; only those
that reach the share that way can be contained at all, and only their lines come together for the
decision, which then is the same as if all lines had been in one memory. They are read in the order
in which documents are asked, those of a block of documents at a time; what stays in memory is 24
bytes for each document, and one for each different line that candidates share.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.dedup import shards
from tsumugu.engine import Resources

_BLOCK_CHARACTERS = 2**25
"""Characters of the documents whose lines are read together, at least `SHORTEST_LINE` in each line."""


@dataclass(frozen=True)
class LineTask:
    """One division of all lines. Without `places` it is the first pass, else the second."""

    shards: tuple[Path, ...]
    part: int
    parts: int
    alive: Path
    """`bool [documents]` as .npy."""
    totals: Path
    """Characters in comparable lines, `int64 [documents]` as .npy."""
    places: Path | None
    """When each document is asked, -1 for those that cannot be contained; `int64 [documents]` as .npy."""
    output: Path


def find_contained(
    measured: Sequence[Path],
    alive: NDArray[np.bool_],
    *,
    share: float,
    work: Path,
    resources: Resources,
    at_once: int = shards.AT_ONCE,
    block_characters: int = _BLOCK_CHARACTERS,
) -> NDArray[np.bool_]:
    """Which documents stand, for at least `share` of their characters, in shorter kept ones.

    Returns:
        `bool [documents]`.
    """
    totals = shards.read_numbers(measured, "line_characters", np.int64)
    lines = sum(count_values(path, "line_keys") for path in measured)
    alive_path = shards.save_array(work / "alive.npy", alive)
    totals_path = shards.save_array(work / "totals.npy", totals)

    def run_pass(name: str, places: Path | None) -> list[Path]:
        parts = max(1, -(-lines // at_once))
        tasks = [
            LineTask(
                shards=tuple(measured),
                part=part,
                parts=parts,
                alive=alive_path,
                totals=totals_path,
                places=places,
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

    asked = np.flatnonzero(candidates)
    # From the shortest document on; of equal ones, the first.
    asked = asked[np.argsort(totals[asked], kind="stable")]
    places = np.full(len(totals), -1, dtype=np.int64)
    places[asked] = np.arange(len(asked))
    files = run_pass("candidates", shards.save_array(work / "places.npy", places))
    # Every division numbers its lines from 0.
    lines_before = np.cumsum([0, *(_different_lines(path) for path in files)])
    seen = np.zeros(lines_before[-1], dtype=np.bool_)
    blocks = np.cumsum(totals[asked]) // block_characters
    for first, last in zip(*_ends(blocks), strict=True):
        wanted = [("place", ">=", first), ("place", "<", last)]
        tables = [pq.read_table(path, filters=wanted) for path in files]
        found = np.concatenate([table["place"].to_numpy() for table in tables])
        shared = np.concatenate(
            [table["line"].to_numpy() + before for table, before in zip(tables, lines_before, strict=False)]
        )
        table = pa.concat_tables(tables)
        order = np.argsort(found, kind="stable")
        _decide(
            asked[found[order]],
            shared[order],
            table["characters"].to_numpy()[order],
            table["definite"].to_numpy()[order],
            totals,
            share,
            seen,
            contained,
        )
    return contained


def _ends(blocks: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where each block of equal numbers begins, and where it ends."""
    changes = np.flatnonzero(np.diff(blocks)) + 1
    return np.concatenate([[0], changes]), np.concatenate([changes, [len(blocks)]])


def _different_lines(path: Path) -> int:
    """How many different lines one division of the second pass has."""
    most = pc.max(pq.read_table(path, columns=["line"])["line"]).as_py()
    return 0 if most is None else int(most) + 1


def count_values(path: Path, column: str) -> int:
    """How many values the lists of a column hold in all, from the file's metadata."""
    metadata = pq.read_metadata(path)
    names = [metadata.schema.column(index).path.split(".")[0] for index in range(metadata.num_columns)]
    index = names.index(column)
    return sum(metadata.row_group(group).column(index).num_values for group in range(metadata.num_row_groups))


def compare_lines(task: LineTask) -> None:
    """First pass: `row`, `characters` of lines that a shorter document has. Second pass: the lines of
    candidates that any other document has, by `place`; `line` numbers different ones, and `definite`
    says whether a shorter document has it that stays for sure."""
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
        all_lengths.append(lengths[wanted])
    keys, rows, lengths = (shards.join_arrays(pieces) for pieces in (all_keys, all_rows, all_lengths))
    order = np.argsort(keys, kind="stable")
    # One after the other, so that only one of them is held twice.
    keys = keys[order]
    rows = rows[order]
    lengths = lengths[order]
    del order
    if task.places is None:
        covered = _covered_by(keys, rows, totals, np.ones(1, dtype=np.bool_))
        del keys
        rows = rows[covered]
        lengths = lengths[covered]
        order = np.argsort(rows, kind="stable")
        found, characters = _sum_by(rows[order], lengths[order])
        shards.write_columns(task.output, {"row": found, "characters": characters})
        return
    places = shards.load_array(task.places)
    definite = _covered_by(keys, rows, totals, places < 0)
    wanted = (places[rows] >= 0) & _is_shared(keys, rows)
    columns: dict[str, NDArray[Any]] = {
        "definite": definite[wanted],
        "characters": lengths[wanted],
        "line": _numbered(keys[wanted]),
    }
    del keys, lengths
    columns["place"] = places[rows[wanted]]
    del rows
    order = np.argsort(columns["place"], kind="stable")
    for name in columns:
        columns[name] = columns[name][order]
    # Small groups of rows: a reader skips those of other documents.
    shards.write_columns(task.output, columns, row_group_size=2**16)


def _numbered(keys: NDArray[np.uint64]) -> NDArray[np.int32]:
    """Sorted keys as numbers from 0, equal ones alike."""
    changes = np.zeros(len(keys), dtype=np.int32)
    changes[1:] = keys[1:] != keys[:-1]
    return np.cumsum(changes, dtype=np.int32, out=changes)


def _sum_by(
    rows: NDArray[np.int64], lengths: NDArray[np.uint32]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The different rows, which ascend, and the sum of the lengths of each."""
    if not len(rows):
        return rows, np.zeros(0, dtype=np.int64)
    firsts = np.concatenate([[0], np.flatnonzero(rows[1:] != rows[:-1]) + 1])
    return rows[firsts], np.add.reduceat(lengths, firsts, dtype=np.int64)


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
def _decide(rows, lines, lengths, definite, totals, share, seen, contained):  # type: ignore[no-untyped-def]
    start = 0
    while start < len(rows):
        row = rows[start]
        known = 0
        end = start
        while end < len(rows) and rows[end] == row:
            if definite[end] or seen[lines[end]]:
                known += lengths[end]
            end += 1
        if known >= share * totals[row]:
            contained[row] = True
        else:
            for index in range(start, end):
                seen[lines[index]] = True
        start = end
