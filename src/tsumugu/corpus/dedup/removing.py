"""The spans of text to cut from the documents of one shard, or of a group of shards.

Repeated lines and repeated substrings are marked character by character in one mask, and the mask
becomes spans. For lines the texts of one row group are held at a time; for substrings, which are
compared with each other, the code points of the whole group of shards.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.columns import read_columns
from tsumugu.corpus.dedup import shards
from tsumugu.corpus.dedup.normalising import comparable_codes
from tsumugu.corpus.dedup.repeats import find_repeated, mark_repeats, read_frequent
from tsumugu.corpus.dedup.substrings import mark_substrings
from tsumugu.corpus.signals.batch import code_points
from tsumugu.corpus.signals.classes import CLASSES, SPACE

REMOVALS = pa.list_(pa.struct([("start", pa.int64()), ("end", pa.int64())]))


@dataclass(frozen=True)
class RemovalTask:
    """Neighbouring shards that are looked at together."""

    shards: tuple[Path, ...]
    first_row: int
    alive: Path
    """`bool [documents]` as .npy; nothing is cut from the others, and they hold no copies."""
    frequent: Path | None
    """What `repeats.find_frequent` wrote."""
    paragraphs: bool
    min_characters: int | None
    """Code points of a repeated substring."""
    output: Path


@dataclass(frozen=True)
class _Marked:
    """Texts and what is to be cut from them."""

    codes: NDArray[np.uint32]
    offsets: NDArray[np.int64]
    cut: NDArray[np.bool_]
    """`bool [characters]`."""
    read: NDArray[np.bool_]
    """`bool [documents]`: the texts of the others are empty here, since nothing is cut from them."""


def mark_removals(task: RemovalTask) -> None:
    """Write, for every row of the shards: `removals` (spans of code points), and `emptied`, whether
    they leave no visible character of a document."""
    portions = _with_repeats(task)
    if task.min_characters is not None:
        portions = iter([_with_substrings(portions, task.min_characters)])
    removals, emptied = [pa.array([], REMOVALS)], [np.zeros(0, dtype=np.bool_)]
    for portion in portions:
        counts, starts, ends = _spans(portion.cut, portion.offsets)
        spans = pa.StructArray.from_arrays([pa.array(starts), pa.array(ends)], names=["start", "end"])
        removals.append(pa.ListArray.from_arrays(pa.array(counts.astype(np.int32)), spans).cast(REMOVALS))
        nothing_left = _leave_nothing(portion.codes, portion.offsets, portion.cut, CLASSES)
        emptied.append(portion.read & nothing_left)
    columns = {"removals": pa.concat_arrays(removals), "emptied": np.concatenate(emptied)}
    shards.write_columns(task.output, columns)


def _with_repeats(task: RemovalTask) -> Iterator[_Marked]:
    """The texts of each row group, with their repeated lines marked."""
    alive = shards.load_array(task.alive)
    frequent = None if task.frequent is None else read_frequent(task.frequent)
    key_column = "paragraph_keys" if task.paragraphs else "line_keys"
    columns = ["text"] if frequent is None else ["text", key_column]
    row = task.first_row
    for path in task.shards:
        for _, table in shards.row_groups(path, columns):
            rows = np.arange(table.num_rows) + row
            row += table.num_rows
            read = np.array(alive[rows])
            if frequent is not None and task.min_characters is None:
                # Few texts hold a repeated line, and their keys tell which.
                offsets, keys = shards.lists_of(table, key_column)
                owners = np.repeat(np.arange(len(rows)), np.diff(offsets))
                repeated = find_repeated(keys, rows[owners], frequent)
                read &= np.bincount(owners[repeated], minlength=len(rows)) > 0
            texts = pc.if_else(pa.array(read), table["text"], "").to_pylist()
            codes, offsets = code_points(texts)
            cut = np.zeros(len(codes), dtype=np.bool_)
            if frequent is not None:
                compared = comparable_codes(texts)
                mark_repeats(
                    codes, offsets, compared, rows, frequent=frequent, paragraphs=task.paragraphs, cut=cut
                )
            yield _Marked(codes, offsets, cut, read)


def _with_substrings(portions: Iterator[_Marked], size: int) -> _Marked:
    """All portions in one, with the substrings that repeat in any of them marked too."""
    codes, sizes, cut, read = [], [np.zeros(1, dtype=np.int64)], [], []
    for portion in portions:
        codes.append(portion.codes)
        sizes.append(np.diff(portion.offsets))
        cut.append(portion.cut)
        read.append(portion.read)
    joined = _Marked(
        codes=shards.join_arrays(codes),
        offsets=np.cumsum(np.concatenate(sizes)),
        cut=shards.join_arrays(cut),
        read=shards.join_arrays(read),
    )
    mark_substrings(joined.codes, joined.offsets, size=size, cut=joined.cut)
    return joined


def cut_spans(text: str, spans: list[dict[str, int]] | None) -> str:
    """`text` without the spans, as `removals` gives them: ascending, apart from each other.

    >>> cut_spans("目次へ\\n本文です。\\n", [{"start": 0, "end": 4}])
    '本文です。\\n'
    """
    kept, place = [], 0
    for span in spans or []:
        kept.append(text[place : span["start"]])
        place = span["end"]
    return "".join([*kept, text[place:]])


def read_removals(path: Path) -> pa.Array:
    """The spans that `mark_removals` wrote, a list for each row."""
    return read_columns(path, ["removals"])["removals"].combine_chunks().cast(REMOVALS)


@njit(cache=True)
def _spans(cut, offsets):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    counts = np.zeros(documents + 1, dtype=np.int64)
    total = 0
    for index in range(len(cut)):
        total += cut[index]
    starts = np.empty(total, dtype=np.int64)
    ends = np.empty(total, dtype=np.int64)
    count = 0
    for document in range(documents):
        start = offsets[document]
        before = False
        for index in range(start, offsets[document + 1]):
            if cut[index] and not before:
                starts[count] = index - start
                count += 1
            if cut[index]:
                ends[count - 1] = index - start + 1
            before = cut[index]
        counts[document + 1] = count
    return counts, starts[:count], ends[:count]


@njit(cache=True)
def _leave_nothing(codes, offsets, cut, classes):  # type: ignore[no-untyped-def]
    """Whether no visible character of a document is left: `bool [documents]`."""
    emptied = np.ones(len(offsets) - 1, dtype=np.bool_)
    for document in range(len(emptied)):
        for index in range(offsets[document], offsets[document + 1]):
            if not cut[index] and classes[codes[index]] != SPACE:
                emptied[document] = False
                break
    return emptied
