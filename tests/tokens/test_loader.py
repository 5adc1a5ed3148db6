"""Batches are a pure function of (seed, k), and an epoch reads every sequence once."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from token_shards import EOS, stream, write_tokens

from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.tokens.config import DataConfig, SourceShare
from tsumugu.tokens.loader import Batch, Loader
from tsumugu.tokens.mixture import Mixture
from tsumugu.tokens.opening import RunLength, is_packed, open_loader, source_use
from tsumugu.tokens.packing import PackTask, pack_shard
from tsumugu.tokens.sequences import BestFit, Concatenated, Sequences
from tsumugu.tokens.shards import TokenStream

SHARDS = ([30, 3, 200, 17], [1, 1, 40], [90, 64, 65, 66, 150])


def loader(
    *sources: Sequences, shares: tuple[int, ...] = (1,), batch_size: int = 4, length: int = 16, **more: object
) -> Loader:
    names = tuple("abc"[: len(sources)])
    sizes = np.array([source.count for source in sources])
    return Loader(
        sources=sources,
        mixture=Mixture(names, sizes, np.array(shares)),
        seed=5,
        batch_size=batch_size,
        sequence_length=length,
        padding_id=EOS,
        **more,  # type: ignore[arg-type]
    )


def concatenated(*shards: list[int], length: int = 16) -> Concatenated:
    return Concatenated(stream(*shards), length)


def best_fit(folder: Path, tokens: TokenStream, *, length: int) -> BestFit:
    for one in tokens.shards:
        pack_shard(PackTask(one, length + 1, folder))
    return BestFit(tokens, folder)


def same(one: Batch, other: Batch) -> bool:
    pairs = zip(vars(one).values(), vars(other).values(), strict=True)
    return all(a is b is None or np.array_equal(a, b) for a, b in pairs)


def test_an_epoch_reads_every_window_once_and_the_next_cuts_elsewhere() -> None:
    source = concatenated(*SHARDS)
    windows = 727 // 16 - 1
    assert source.count == windows
    made = loader(source, batch_size=1)
    rows = np.concatenate([made.batch(k).tokens for k in range(2 * windows)])
    first, second = rows[:windows, 0], rows[windows:, 0]
    assert len(set(first.tolist())) == len(set(second.tolist())) == windows
    assert len({int(start) % 16 for start in first}) == len({int(start) % 16 for start in second}) == 1
    assert first[0] % 16 != second[0] % 16
    assert (np.argsort(first) != np.argsort(second)).any()
    assert (np.diff(rows, axis=1) == 1).all()


def test_windows_of_every_shift_lie_inside_the_stream() -> None:
    for tokens in range(32, 70):
        source = concatenated([tokens])
        last = source.spans(source.count - 1, 15)[-1]
        assert last.start + last.length <= tokens
        with pytest.raises(IndexError):
            source.spans(source.count + 1, 0)


def test_a_batch_is_the_same_whatever_was_asked_before(tmp_path: Path) -> None:
    packed = best_fit(tmp_path, stream([100, 3, 5, 60], [9, 9, 30]), length=16)
    options = {"shares": (3, 2), "document_boundaries": True}
    one = loader(concatenated(*SHARDS), packed, **options)  # type: ignore[arg-type]
    other = loader(concatenated(*SHARDS), packed, **options)  # type: ignore[arg-type]
    forwards = [one.batch(k) for k in range(20)]
    for k in (19, 0, 7, 7, 3):
        assert same(other.batch(k), forwards[k])
        assert same(one.batch(k), forwards[k])
    assert not same(forwards[0], forwards[1])


def test_batches_do_not_depend_on_how_samples_are_grouped() -> None:
    sources = (concatenated(*SHARDS), concatenated([300, 5, 99]))
    large = loader(*sources, shares=(5, 3), batch_size=8).batch(3).tokens
    ranks = [loader(*sources, shares=(5, 3), batch_size=2).batch(3 * 4 + rank).tokens for rank in range(4)]
    assert (np.concatenate(ranks) == large).all()


_PRINT_A_BATCH = """
import sys
from pathlib import Path
from tsumugu.engine import Resources
from tsumugu.tokens.config import DataConfig
from tsumugu.tokens.opening import RunLength, open_loader
made = open_loader(Path(sys.argv[1]), DataConfig(), RunLength(16, 4, 40), seed=1,
                   packing=Path("none"), resources=Resources(1))
print(made.batch(77).tokens.tolist())
"""


def test_another_process_reads_the_same_batch(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path, {"web": [[300, 50], [77, 8]]})
    command = [sys.executable, "-c", _PRINT_A_BATCH, str(folder)]
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    printed = subprocess.run(command, check=True, capture_output=True, text=True, env=environment).stdout
    assert json.loads(printed) == opened(folder, DataConfig()).batch(77).tokens.tolist()


def opened(folder: Path, config: DataConfig, *, steps: int = 10, seed: int = 1, length: int = 16) -> Loader:
    run = RunLength(sequence_length=length, batch_size=4, samples=4 * steps)
    return open_loader(folder, config, run, seed=seed, packing=folder / "packing", resources=Resources(1))


WORLD = {"web": [[400, 300], [500]], "books": [[170]], "notes": [[100, 71]]}


def test_without_a_mixture_all_sources_are_one_stream(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path, WORLD)
    made = opened(folder, DataConfig())
    windows = made.sources[0].count
    assert windows == (1200 + 170 + 171) // 16 - 1
    rows = np.concatenate([made.batch(k).tokens for k in range(windows // 4 + 1)])[:windows]
    assert len({tuple(row) for row in rows.tolist()}) == windows
    assert set((rows // 100_000).ravel().tolist()) == {0, 1, 2}
    use = source_use(folder, made, RunLength(16, 4, 192))
    assert [round(entry.share, 3) for entry in use.values()] == [0.779, 0.11, 0.111]
    assert {entry.epochs for entry in use.values()} == {48 * 4 / windows}


def test_a_mixture_reads_each_source_as_often_as_it_says(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path, WORLD)
    # 9 windows of books and 74 of web.
    config = DataConfig(mixture={"books": SourceShare(epochs=3), "web": SourceShare(weight=1)})
    made = opened(folder, config)
    rows = np.concatenate([made.batch(k).tokens for k in range(10)])
    sources = (rows[:, 0] // 100_000).tolist()
    assert Counter(sources) == {0: 13, 1: 27}
    books = [row for row, source in zip(rows.tolist(), sources, strict=True) if source == 1]
    for epoch in range(3):
        assert len({tuple(row) for row in books[9 * epoch : 9 * epoch + 9]}) == 9
    use = source_use(folder, made, RunLength(16, 4, 40))
    assert use["books"].epochs == 3
    assert use["web"].epochs == 13 / 74
    assert use["notes"].share == use["notes"].epochs == 0


def test_a_seed_is_an_order_and_so_is_a_name(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path / "one", WORLD)
    assert not same(
        opened(folder, DataConfig(), seed=1).batch(0), opened(folder, DataConfig(), seed=2).batch(0)
    )
    more = write_tokens(tmp_path / "two", {**WORLD, "last": [[5000]]})
    config = DataConfig(mixture={"books": SourceShare(weight=1)})
    assert same(opened(folder, config).batch(3), opened(more, config).batch(3))


@pytest.mark.parametrize(
    ("world", "config", "message"),
    [
        (
            WORLD,
            DataConfig(mixture={"wab": SourceShare(weight=1)}),
            "'wab'; the sources are books, notes, web",
        ),
        (
            {**WORLD, "short": [[20]]},
            DataConfig(mixture={"short": SourceShare(weight=1)}),
            "'short' is too short",
        ),
        ({"short": [[31]]}, DataConfig(), "31 training tokens are too few for sequences of 16"),
    ],
)
def test_sources_that_cannot_be_read(
    tmp_path: Path, world: dict[str, list[list[int]]], config: DataConfig, message: str
) -> None:
    with pytest.raises(TsumuguError, match=message):
        opened(write_tokens(tmp_path, world), config)


def test_a_packed_mixture_is_packed_once(tmp_path: Path) -> None:
    folder = write_tokens(tmp_path, WORLD)
    config = DataConfig(packing="best_fit", mixture={"books": SourceShare(weight=1)})
    made = opened(folder, config)
    packing = folder / "packing"
    assert is_packed(packing, folder, config, RunLength(16, 4, 99))
    assert not is_packed(packing, folder, config, RunLength(15, 4, 10))
    assert not is_packed(packing, folder, DataConfig(packing="best_fit"), RunLength(16, 4, 40))
    names = sorted(path.name for path in (folder / "packing").rglob("*.npy"))
    assert names == ["00000.pieces.npy", "00000.sequences.npy"]
    times = [path.stat().st_mtime_ns for path in (folder / "packing").rglob("*.npy")]
    assert same(opened(folder, config).batch(5), made.batch(5))
    assert [path.stat().st_mtime_ns for path in (folder / "packing").rglob("*.npy")] == times


lengths = st.lists(st.lists(st.integers(1, 60), min_size=1, max_size=30), min_size=1, max_size=4)


@settings(max_examples=40)
@given(lengths)
def test_a_packed_epoch_reads_every_token_once(
    tmp_path_factory: pytest.TempPathFactory, shards: list[list[int]]
) -> None:
    source = best_fit(tmp_path_factory.mktemp("packing"), stream(*shards), length=16)
    made = loader(source, batch_size=1)
    read: list[int] = []
    for k in range(source.count):
        batch = made.batch(k)
        real = 17 if batch.loss_mask is None else int(batch.loss_mask.sum()) + 1
        read += batch.tokens[0, :real].tolist()
        assert (batch.tokens[0, real:] == EOS).all()
        if batch.loss_mask is not None:
            assert (batch.loss_mask[0] == (np.arange(16) < real - 1)).all()
    assert sorted(read) == list(range(sum(map(sum, shards))))


def _naive_boundaries(
    batch: Batch, begins: set[int], filled: list[int], mask: NDArray[np.bool_] | None
) -> tuple[list[int], list[list[int]], list[list[bool]]]:
    """By walking over every token: tokens are their own places in the stream."""
    rows, width = batch.tokens.shape
    cu_seqlens, position_ids, loss = [], [], []
    for row in range(rows):
        positions, counted, place = [], [], 0
        for column in range(width - 1):
            token = int(batch.tokens[row, column])
            if column == 0 or column == filled[row] or (column < filled[row] and token in begins):
                cu_seqlens.append(row * (width - 1) + column)
                place = 0
            positions.append(place)
            place += 1
            following = int(batch.tokens[row, column + 1])
            counted.append(column + 1 < filled[row] and following not in begins)
        position_ids.append(positions)
        loss.append(counted)
    return [*cu_seqlens, rows * (width - 1)], position_ids, loss


@settings(max_examples=40)
@given(lengths, st.booleans())
def test_boundaries_are_those_of_a_walk_over_every_token(
    tmp_path_factory: pytest.TempPathFactory, shards: list[list[int]], packed: bool
) -> None:
    tokens = stream(*shards, [40])
    begins = set(np.cumsum([0, *(length for one in shards for length in one)]).tolist())
    source: Sequences = Concatenated(tokens, 16)
    if packed:
        source = best_fit(tmp_path_factory.mktemp("packing"), tokens, length=16)
    made = loader(source, batch_size=3, document_boundaries=True)
    for k in range(4):
        batch = made.batch(k)
        rows = made.rows([range(3 * k, 3 * k + 3)])
        filled = [sum(span.length for span in row.spans) for row in rows]
        # The pieces of long documents begin anew, too.
        cuts = {int(batch.tokens[place, 0]) for place in range(3)}
        for place, row in enumerate(rows):
            if packed:
                ends = np.cumsum([span.length for span in row.spans])[:-1]
                cuts |= {int(batch.tokens[place, end]) for end in ends}
        cu_seqlens, position_ids, loss = _naive_boundaries(
            batch, begins | (cuts if packed else set()), filled, batch.loss_mask
        )
        assert batch.cu_seqlens is not None
        assert batch.position_ids is not None
        assert batch.loss_mask is not None
        assert batch.cu_seqlens.dtype == np.int32
        assert batch.cu_seqlens.tolist() == cu_seqlens
        assert batch.position_ids.tolist() == position_ids
        assert batch.loss_mask.tolist() == loss


@given(st.lists(st.tuples(st.integers(0, 5000), st.integers(1, 9)), min_size=1, max_size=5), st.booleans())
def test_several_ranges_are_read_as_their_samples_are_one_by_one(
    pieces: list[tuple[int, int]], boundaries: bool
) -> None:
    source = concatenated(*SHARDS)
    made = loader(source, batch_size=1, document_boundaries=boundaries)
    samples = [range(first, first + count) for first, count in pieces]
    found = made.read(samples)
    single = [made.batch(number) for numbers in samples for number in numbers]
    assert (found.tokens == np.concatenate([one.tokens for one in single])).all()
    assert [row.sample for row in made.rows(samples)] == [n for numbers in samples for n in numbers]
    if boundaries:
        assert found.cu_seqlens is not None
        assert found.cu_seqlens.tolist() == [
            0,
            *(
                place * 16 + int(begin)
                for place, one in enumerate(single)
                if one.cu_seqlens is not None
                for begin in one.cu_seqlens[1:]
            ),
        ]
        assert found.position_ids is not None
        positions = [one.position_ids for one in single if one.position_ids is not None]
        assert (found.position_ids == np.concatenate(positions)).all()
