"""Best-fit packing cuts no document that fits, loses no token, and is best-fit decreasing."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from token_shards import shard

from tsumugu.tokens import packing
from tsumugu.tokens.packing import PackTask, pack, pack_shard
from tsumugu.tokens.sequences import pieces_path, sequences_path

Piece = tuple[int, int]

lengths = st.lists(st.integers(1, 70), max_size=80)
capacities = st.integers(2, 40)


def packed(documents: list[int], capacity: int) -> list[list[Piece]]:
    pieces, sequences = pack(np.cumsum([0, *documents], dtype=np.int64), capacity)
    rows = [(int(start), int(length)) for start, length in pieces]
    return [rows[first:last] for first, last in itertools.pairwise(sequences.tolist())]


def pieces_of(documents: list[int], capacity: int) -> list[Piece]:
    found, start = [], 0
    for length in documents:
        found += [
            (start + cut, min(capacity, length - cut)) for cut in range(0, length, capacity)
        ]  # fmt: skip
        start += length
    return found


def fit(documents: list[int], capacity: int, *, best: bool) -> list[int]:
    """How full each sequence is, by trying all of them: best-fit or first-fit decreasing."""
    full: list[int] = []
    for _, length in sorted(pieces_of(documents, capacity), key=lambda piece: -piece[1]):
        fitting = [number for number, used in enumerate(full) if used + length <= capacity]
        if not fitting:
            full.append(length)
        else:
            full[max(fitting, key=full.__getitem__) if best else fitting[0]] += length
    return sorted(full)


@settings(max_examples=150)
@given(lengths, capacities)
def test_all_pieces_are_there_once_and_only_long_documents_are_cut(
    documents: list[int], capacity: int
) -> None:
    sequences = packed(documents, capacity)
    assert sorted(itertools.chain(*sequences)) == pieces_of(documents, capacity)
    assert all(0 < sum(length for _, length in one) <= capacity for one in sequences)
    assert all(one == sorted(one) for one in sequences)


@settings(max_examples=150)
@given(lengths, capacities)
def test_it_is_best_fit_decreasing(documents: list[int], capacity: int) -> None:
    used = sorted(sum(length for _, length in one) for one in packed(documents, capacity))
    assert used == fit(documents, capacity, best=True)


def test_it_needs_no_more_sequences_than_first_fit_and_few_more_than_there_must_be() -> None:
    documents = np.random.default_rng(0).lognormal(4.5, 1, 2000).astype(int).clip(2, 2000).tolist()
    sequences = packed(documents, 257)
    assert len(sequences) <= len(fit(documents, 257, best=False))
    assert sum(documents) / (len(sequences) * 257) > 0.99


def test_windows_bound_the_memory_and_keep_every_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    documents = [5, 9, 3, 30, 1, 1, 8, 2, 16, 4]
    monkeypatch.setattr(packing, "_WINDOW_DOCUMENTS", 4)
    made = shard(documents)
    pack_shard(PackTask(made, 16, tmp_path))
    pieces = np.load(pieces_path(tmp_path, made))
    sequences = np.load(sequences_path(tmp_path, made))
    assert sorted(map(tuple, pieces.tolist())) == pieces_of(documents, 16)
    assert sequences[0] == 0
    assert sequences[-1] == len(pieces)
    ends = np.cumsum(documents)
    for first, last in itertools.pairwise(sequences):
        windows = {int(np.searchsorted(ends, start, side="right")) // 4 for start, _ in pieces[first:last]}
        assert len(windows) == 1
