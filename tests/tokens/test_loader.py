"""Batches are a pure function of (seed, k), and an epoch reads every window once."""

import itertools
from pathlib import Path

import numpy as np
import pytest

from tsumugu.corpus.tables import read_documents
from tsumugu.errors import TsumuguError
from tsumugu.tokenizer.export import load_sentencepiece
from tsumugu.tokens.loader import TokenStream, batch, open_tokens, permuted
from tsumugu.tokens.split import is_validation


def stream(*lengths: int) -> TokenStream:
    """Shards of consecutive numbers, so that a token tells its place."""
    ends = np.cumsum([0, *lengths])
    shards = tuple(np.arange(a, b, dtype=np.uint16) for a, b in itertools.pairwise(ends))
    return TokenStream(shards=shards, offsets=tuple(np.array([0, len(s)]) for s in shards))


def test_documents_come_back_as_they_were_written(finished_run: Path) -> None:
    processor = load_sentencepiece(finished_run / "tokenizer")
    documents = read_documents(finished_run / "corpus")
    for split, held in (("train", False), ("validation", True)):
        expected = [d["text"] for d in documents if is_validation(d["id"], seed=1, fraction=0.1) == held]
        tokens = list(open_tokens(finished_run / "tokens" / split).each_document())
        assert [processor.decode(ids[1:-1].tolist()) for ids in tokens] == expected
        assert all(ids[0] == 1 and ids[-1] == 2 for ids in tokens)
        assert len(expected) > 0


def test_shards_are_plain_arrays_of_the_smallest_type(finished_run: Path) -> None:
    for path in (finished_run / "tokens").glob("*/*.npy"):
        assert np.load(path, mmap_mode="r").dtype == np.uint16


@pytest.mark.parametrize("size", [1, 2, 3, 5, 64, 100, 1000])
def test_permuted_is_a_permutation_that_depends_on_its_key(size: int) -> None:
    order = [permuted(position, size, key=7) for position in range(size)]
    assert sorted(order) == list(range(size))
    if size >= 64:
        assert order != [permuted(position, size, key=8) for position in range(size)]
        assert order != list(range(size))


def test_reading_crosses_shards() -> None:
    tokens = stream(10, 1, 25)
    assert tokens.read(8, 12).tolist() == list(range(8, 20))
    assert tokens.read(0, 36).tolist() == list(range(36))


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


def test_an_empty_split_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(TsumuguError, match="no token shards"):
        open_tokens(tmp_path)
