"""Batches are a pure function of (seed, k), and an epoch reads every window once."""

import itertools

import numpy as np
import pytest

from tsumugu.errors import TsumuguError
from tsumugu.tokens.loader import batch, permuted
from tsumugu.tokens.shards import TokenStream, memory_shard


def stream(*lengths: int) -> TokenStream:
    """Shards of consecutive numbers, so that a token tells its place."""
    ends = np.cumsum([0, *lengths])
    return TokenStream(
        tuple(
            memory_shard(np.arange(start, end, dtype=np.uint16), np.array([0, end - start]))
            for start, end in itertools.pairwise(ends)
        )
    )


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 100, 1000])
def test_permuted_is_a_permutation_that_depends_on_its_key(size: int) -> None:
    order = [permuted(position, size, key=7) for position in range(size)]
    assert sorted(order) == list(range(size))
    if size >= 64:
        assert order != [permuted(position, size, key=8) for position in range(size)]
        assert order != list(range(size))


def test_an_epoch_reads_every_window_once_and_the_next_cuts_elsewhere() -> None:
    tokens = stream(333, 334, 333)
    windows = (1000 - 16) // 16
    rows = np.concatenate(
        [batch(tokens, k, batch_size=1, sequence_length=16, seed=5) for k in range(2 * windows)]
    )
    first, second = rows[:windows, 0], rows[windows:, 0]
    assert len(set(first.tolist())) == len(set(second.tolist())) == windows
    assert len({int(start) % 16 for start in first}) == 1
    assert first[0] % 16 != second[0] % 16
    assert (np.diff(rows, axis=1) == 1).all()


def test_batches_do_not_depend_on_how_samples_are_grouped() -> None:
    tokens = stream(5000)
    large = batch(tokens, 1, batch_size=8, sequence_length=32, seed=1)
    small = np.concatenate([batch(tokens, k, batch_size=2, sequence_length=32, seed=1) for k in range(4, 8)])
    assert (large == small).all()


def test_too_little_text_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(TsumuguError, match="smaller pretrain.sequence_length"):
        batch(stream(30), 0, batch_size=1, sequence_length=16, seed=0)
    assert batch(stream(33), 0, batch_size=4, sequence_length=16, seed=0).shape == (4, 17)
