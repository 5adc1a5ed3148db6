"""How often each id stands in the training tokens."""

from pathlib import Path

import numpy as np

from tsumugu.tokens.frequencies import read_frequencies
from tsumugu.tokens.shards import open_tokens, read_index


def test_frequencies_are_those_of_all_training_shards(finished_run: Path) -> None:
    folder = finished_run / "tokens"
    index, stream = read_index(folder), open_tokens(folder, "train")
    assert len(stream.shards) > 1
    frequencies = read_frequencies(folder)
    assert frequencies.dtype == np.int64
    assert frequencies.shape == (index.vocab_size,)
    expected = np.bincount(stream.read(0, stream.tokens), minlength=index.vocab_size)
    assert np.array_equal(frequencies, expected)
    assert frequencies[index.eos_id] == stream.documents
