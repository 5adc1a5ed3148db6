"""Evaluation sets as hashed windows of characters.

An item is one question: the innermost object of a JSON file that has one of the named fields, or a
line of a plain text. Its windows are those of each of its texts; none reaches from one text into
the next. Normalisation is that of `normalising.comparable`: NFKC, case folding, no white space.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.config import DecontaminationConfig, EvaluationSet
from tsumugu.corpus.dedup.hashing import hash_ngrams
from tsumugu.corpus.dedup.normalising import comparable_codes
from tsumugu.corpus.dedup.shards import load_array, save_array
from tsumugu.errors import TsumuguError

_COMPRESSIONS = (".gz", ".bz2", ".zst")
_JSON_LINES = (".jsonl", ".ndjson")


@dataclass(frozen=True)
class Item:
    """One question of an evaluation set, named by its file and place."""

    name: str
    texts: tuple[str, ...]


@dataclass(frozen=True)
class WindowIndex:
    """Where windows stand: `keys[i]` in the items `owners[starts[i] : starts[i + 1]]`."""

    counts: NDArray[np.int64]
    """Different windows of each item."""
    keys: NDArray[np.uint64]
    """Different windows of all items, ascending."""
    starts: NDArray[np.int64]
    owners: NDArray[np.int64]


@dataclass(frozen=True)
class Windows:
    """All items of all sets, and their windows."""

    items: list[Item]
    index: WindowIndex


def read_windows(config: DecontaminationConfig) -> Windows:
    """Read all evaluation sets.

    Raises:
        TsumuguError: a file is missing or malformed, or yields not one window.
    """
    items: list[Item] = []
    for evaluation in config.evaluation:
        found = list(read_items(evaluation))
        if not len(windows_of([text for item in found for text in item.texts], config.ngram)[1]):
            raise TsumuguError(
                f"corpus.decontamination: {evaluation.path} yields no text of {config.ngram} characters "
                f"({len(found)} items); nothing would ever be found. Look at its keys: "
                f"{list(evaluation.keys) or 'none were named'}."
            )
        items += found
    owners = np.repeat(np.arange(len(items)), [len(item.texts) for item in items])
    texts, keys = windows_of([text for item in items for text in item.texts], config.ngram)
    pairs = np.unique(np.stack([keys, owners[texts].astype(np.uint64)]), axis=1)
    distinct, starts = np.unique(pairs[0], return_index=True)
    index = WindowIndex(
        counts=np.bincount(pairs[1].astype(np.int64), minlength=len(items)),
        keys=distinct,
        starts=np.append(starts, pairs.shape[1]).astype(np.int64),
        owners=pairs[1].astype(np.int64),
    )
    return Windows(items, index)


def save_windows(folder: Path, index: WindowIndex) -> Path:
    """Write the arrays of `index` into `folder`, for tasks to map into their memory."""
    for one in fields(index):
        save_array(folder / f"{one.name}.npy", getattr(index, one.name))
    return folder


def load_windows(folder: Path) -> WindowIndex:
    """What `save_windows` wrote."""
    return WindowIndex(**{one.name: load_array(folder / f"{one.name}.npy") for one in fields(WindowIndex)})


def windows_of(texts: Sequence[str], size: int) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """Every window of `size` characters of every text: the text it stands in, and its hash."""
    codes, offsets = comparable_codes(texts)
    windows: tuple[NDArray[np.int64], NDArray[np.uint64]] = _windows(codes, offsets, size)
    return windows


def read_items(evaluation: EvaluationSet) -> Iterator[Item]:
    """The items of one file, in order.

    Raises:
        TsumuguError: the file is missing, not UTF-8, or not JSON where its name says so.
    """
    path = Path(evaluation.path)
    name = path.name.lower()
    for compression in _COMPRESSIONS:
        name = name.removesuffix(compression)
    try:
        with pa.input_stream(str(path), compression="detect") as stream:
            content = stream.read().decode("utf-8-sig")
        if name.endswith(".json"):
            # JGLUE's files have this name, and one object a line.
            try:
                values = [json.loads(content)]
            except json.JSONDecodeError:
                values = [json.loads(line) for line in content.splitlines() if line.strip()]
        elif name.endswith(_JSON_LINES):
            values = [json.loads(line) for line in content.split("\n") if line.strip()]
        else:
            values = [{"text": line} for line in content.split("\n") if line.strip()]
            evaluation = EvaluationSet(path=evaluation.path)
    except OSError as error:
        raise TsumuguError(f"corpus.decontamination: {path} cannot be read: {error}") from error
    except ValueError as error:
        raise TsumuguError(f"corpus.decontamination: {path} is malformed: {error}") from error
    number = 0
    for value in values:
        for texts in _texts(value, frozenset(evaluation.keys)):
            number += 1
            yield Item(f"{path.name}#{number}", texts)


def _texts(value: Any, keys: frozenset[str]) -> Iterator[tuple[str, ...]]:
    """The texts of each object that has some, from the outside in."""
    if isinstance(value, list):
        for entry in value:
            yield from _texts(entry, keys)
    if not isinstance(value, dict):
        return
    found: list[str] = []
    for key, entry in value.items():
        if not keys or key in keys:
            strings = entry if isinstance(entry, list) else [entry]
            found += [text for text in strings if isinstance(text, str)]
    if found:
        yield tuple(found)
    for entry in value.values():
        yield from _texts(entry, keys)


@njit(cache=True)
def _windows(codes, offsets, size):  # type: ignore[no-untyped-def]
    longest = 1
    for document in range(len(offsets) - 1):
        longest = max(longest, offsets[document + 1] - offsets[document])
    text = np.empty(longest, dtype=np.uint32)
    hashes = np.empty(longest, dtype=np.uint64)
    owners = np.empty(len(codes), dtype=np.int64)
    keys = np.empty(len(codes), dtype=np.uint64)
    count = 0
    for document in range(len(offsets) - 1):
        found = hash_ngrams(codes, offsets[document], offsets[document + 1], size, text, hashes)
        # A text that is shorter than a window came as one n-gram; here it is none.
        length = 0
        for index in range(offsets[document], offsets[document + 1]):
            length += codes[index] != 0x0A
        if length < size:
            found = 0
        owners[count : count + found] = document
        keys[count : count + found] = hashes[:found]
        count += found
    return owners[:count], keys[:count]
