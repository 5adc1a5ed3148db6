"""What is stored beside every document so that all documents can be compared without their texts.

- `exact_key`, `exact_check` (uint64): 128 bits of the comparable text without line ends; 0 if empty.
- `compared_characters` (int64): its length.
- `band_000` ... (uint64): MinHash keys, one column per band, so that a task reads only its own.
- `line_keys` (list<uint64>), `line_lengths` (list<uint32>): every line of at least
  `SHORTEST_LINE` characters; shorter ones are headings and table cells, which unrelated pages share.
- `line_characters` (int64): the sum of `line_lengths`.
- `paragraph_keys` (list<uint64>): paragraphs instead of lines, if the recipe looks for repeated ones.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.config import DedupConfig
from tsumugu.corpus.dedup.hashing import NEWLINE, SEED_A, SEED_B, absorb, finish
from tsumugu.corpus.dedup.minhash import minhash_bands
from tsumugu.corpus.dedup.normalising import comparable_codes
from tsumugu.corpus.signals.batch import portions

SHORTEST_LINE = 10
"""Characters of a line or paragraph, without white space, from which it is recognised elsewhere."""


def band_column(band: int) -> str:
    """The name of a MinHash band's column."""
    return f"band_{band:03d}"


def key_schema(config: DedupConfig) -> list[tuple[str, pa.DataType]]:
    """Names and types of the columns that `keys` returns, in order."""
    schema = [
        ("exact_key", pa.uint64()),
        ("exact_check", pa.uint64()),
        ("compared_characters", pa.int64()),
        *((band_column(band), pa.uint64()) for band in range(config.bands)),
        ("line_keys", pa.list_(pa.uint64())),
        ("line_lengths", pa.list_(pa.uint32())),
        ("line_characters", pa.int64()),
    ]
    if config.repeated_lines is not None and config.repeated_lines.unit == "paragraph":
        schema.append(("paragraph_keys", pa.list_(pa.uint64())))
    return schema


def keys(texts: Sequence[str], config: DedupConfig) -> dict[str, Any]:
    """The columns of `key_schema` for `texts`; those of documents that are not compared are empty."""
    parts = [_keys(texts[start:end], config) for start, end in portions(texts)]
    columns: dict[str, Any] = {}
    for name in parts[0]:
        arrays = [part[name] for part in parts]
        columns[name] = (
            pa.concat_arrays(arrays) if isinstance(arrays[0], pa.Array) else np.concatenate(arrays)
        )
    return columns


def _keys(texts: Sequence[str], config: DedupConfig) -> dict[str, Any]:
    codes, offsets = comparable_codes(texts)
    bands = minhash_bands(
        codes, offsets, ngram=config.ngram, bands=config.bands, rows=config.rows, method=config.method
    )
    (lines, line_keys, line_lengths, _, _), (exact, check, characters) = _hash(
        codes, offsets, False, SHORTEST_LINE
    )
    line_sums = np.concatenate([[0], np.cumsum(line_lengths, dtype=np.int64)]).astype(np.int64)
    columns = {
        "exact_key": exact,
        "exact_check": check,
        "compared_characters": characters,
        **{band_column(band): bands[band] for band in range(config.bands)},
        "line_keys": _lists(lines, line_keys),
        "line_lengths": _lists(lines, line_lengths),
        "line_characters": np.diff(line_sums[lines]),
    }
    if config.repeated_lines is not None and config.repeated_lines.unit == "paragraph":
        paragraphs, paragraph_keys, _, _, _ = hash_units(codes, offsets, paragraphs=True)
        columns["paragraph_keys"] = _lists(paragraphs, paragraph_keys)
    return columns


def hash_units(
    codes: NDArray[np.uint32], offsets: NDArray[np.int64], *, paragraphs: bool
) -> tuple[NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]]:
    """The lines, or the paragraphs (lines between empty ones), that are long enough to be compared.

    Returns:
        offsets `int64 [documents + 1]`, and for every unit its key, its characters, and the numbers
        of its first line and of the line after its last, counted within the document.
    """
    units: tuple[
        NDArray[np.int64], NDArray[np.uint64], NDArray[np.uint32], NDArray[np.int64], NDArray[np.int64]
    ] = _hash(codes, offsets, paragraphs, SHORTEST_LINE)[0]
    return units


def _lists(offsets: NDArray[np.int64], values: NDArray[Any]) -> pa.ListArray:
    return pa.ListArray.from_arrays(pa.array(offsets.astype(np.int32)), pa.array(values))


@njit(cache=True)
def _hash(codes, offsets, paragraphs, shortest):  # type: ignore[no-untyped-def]
    """Units as `hash_units` says, and of each document two hashes and its length: in one pass, since
    the three chains of multiplications then run side by side."""
    documents = len(offsets) - 1
    exact = np.zeros(documents, dtype=np.uint64)
    check = np.zeros(documents, dtype=np.uint64)
    characters = np.zeros(documents, dtype=np.int64)
    most = len(codes) // shortest + 1
    unit_offsets = np.zeros(documents + 1, dtype=np.int64)
    unit_keys = np.empty(most, dtype=np.uint64)
    lengths = np.empty(most, dtype=np.uint32)
    firsts = np.empty(most, dtype=np.int64)
    afters = np.empty(most, dtype=np.int64)
    count = 0
    for document in range(documents):
        left, right, total = SEED_A, SEED_B, 0
        state, length, line_length, line, first = SEED_A, 0, 0, 0, 0
        end = offsets[document + 1]
        for index in range(offsets[document], end + 1):
            if index < end and codes[index] != NEWLINE:
                code = codes[index]
                state, left, right = absorb(state, code), absorb(left, code), absorb(right, code)
                length += 1
                line_length += 1
                continue
            # The end of a line; of a unit too, unless a paragraph goes on.
            if index == end or not paragraphs or line_length == 0:
                if length >= shortest:
                    unit_keys[count] = finish(state, length)
                    lengths[count] = length
                    firsts[count] = first
                    afters[count] = line if paragraphs and line_length == 0 else line + 1
                    count += 1
                total += length
                state, length, first = SEED_A, 0, line + 1
            line += 1
            line_length = 0
        unit_offsets[document + 1] = count
        if total > 0:
            exact[document], check[document] = finish(left, total), finish(right, total)
            characters[document] = total
    units = (unit_offsets, unit_keys[:count], lengths[:count], firsts[:count], afters[:count])
    return units, (exact, check, characters)
