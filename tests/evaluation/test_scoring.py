"""Scores are sums over every token once, with as much context as the model has."""

import numpy as np
import pytest
import torch

from tsumugu.evaluation.language_model import NativeModel
from tsumugu.evaluation.scoring import score, windows
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.model.initialization import initialize

CONFIG = ModelConfig(num_hidden_layers=2, hidden_size=32, num_attention_heads=2, max_position_embeddings=64)


def decoder() -> Decoder:
    model = Decoder(CONFIG, 40)
    initialize(model, 2)
    return model.eval()


def tokens(length: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 40, size=length)


@pytest.mark.parametrize("total", [2, 9, 10, 11, 12, 30, 31])
@pytest.mark.parametrize("first", [1, 5, 25])
def test_windows_score_every_token_once(total: int, first: int) -> None:
    if first >= total:
        return
    sequence = np.arange(total)
    scored = []
    for window in windows(0, sequence, first=first, length=10):
        assert len(window.tokens) <= 11
        assert window.first >= 1
        scored += window.tokens[window.first :].tolist()
    assert scored == list(range(first, total))


@torch.no_grad()
def test_scores_equal_a_plain_computation() -> None:
    model = decoder()
    sequences = [(tokens(n, n), first) for n, first in ((20, 1), (7, 3), (33, 30), (2, 1))]
    found = score(NativeModel(model), sequences, length=64, batch_size=3, description="test")
    for (ids, first), one in zip(sequences, found, strict=True):
        logits = model(torch.from_numpy(ids[None, :-1]))[0].log_softmax(-1)
        picked = logits[torch.arange(len(ids) - 1), torch.from_numpy(ids[1:])]
        assert one.log_probability == pytest.approx(float(picked[first - 1 :].sum()), abs=1e-4)


def test_the_batch_size_changes_nothing() -> None:
    sequences = [(tokens(n, n), 1) for n in range(2, 40)]
    one = score(NativeModel(decoder()), sequences, length=16, batch_size=1, description="test")
    many = score(NativeModel(decoder()), sequences, length=16, batch_size=13, description="test")
    assert [s.log_probability for s in one] == pytest.approx([s.log_probability for s in many], abs=1e-4)


@torch.no_grad()
def test_greedy_continuations_are_recognised() -> None:
    model = decoder()
    ids = [3]
    for _ in range(5):
        ids.append(int(model(torch.tensor([ids]))[0, -1].argmax()))
    wrong = [*ids[:-1], (ids[-1] + 1) % 40]
    found = score(
        NativeModel(model),
        [(np.array(ids), 1), (np.array(wrong), 1)],
        length=16,
        batch_size=2,
        description="test",
    )
    assert [one.greedy for one in found] == [True, False]
