"""The next token is chosen as transformers chooses it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tsumugu.errors import TsumuguError
from tsumugu.talking.sampling import Sampling, choose, penalise, warp


def random_logits(seed: int, *, rows: int = 3, vocabulary: int = 50) -> torch.Tensor:
    return torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed)) * 3


def of_transformers(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    from transformers.generation import (
        LogitsProcessorList,
        MinPLogitsWarper,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    warpers = LogitsProcessorList()
    if sampling.temperature != 1:
        warpers.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        warpers.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        warpers.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p:
        warpers.append(MinPLogitsWarper(sampling.min_p))
    warped: torch.Tensor = warpers(torch.zeros(len(logits), 1, dtype=torch.int64), logits.clone())
    return warped


@settings(max_examples=30)
@given(
    seed=st.integers(0, 10_000),
    temperature=st.sampled_from([0.01, 0.7, 1.0, 1.5]),
    top_k=st.sampled_from([0, 1, 7, 50, 200]),
    top_p=st.sampled_from([0.01, 0.5, 0.9, 1.0]),
    min_p=st.sampled_from([0.0, 0.05, 0.5, 1.0]),
)
def test_what_may_be_drawn_is_what_transformers_lets_through(
    seed: int, temperature: float, top_k: int, top_p: float, min_p: float
) -> None:
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    logits = random_logits(seed)
    torch.testing.assert_close(warp(logits, sampling), of_transformers(logits, sampling), rtol=0, atol=0)


@pytest.mark.parametrize("penalty", [0.8, 1.0, 1.1, 2.0])
def test_the_repetition_penalty_is_that_of_transformers(penalty: float) -> None:
    from transformers.generation import RepetitionPenaltyLogitsProcessor

    logits, tokens = random_logits(0), torch.tensor([[1, 2, 2], [0, 49, 3], [7, 7, 7]])
    seen = torch.zeros(logits.shape, dtype=torch.bool).scatter(1, tokens, True)
    expected = RepetitionPenaltyLogitsProcessor(penalty)(tokens, logits.clone())
    torch.testing.assert_close(penalise(logits, seen, penalty), expected, rtol=0, atol=0)


def test_draws_are_those_of_a_seeded_torch() -> None:
    sampling = Sampling(temperature=0.8, top_p=0.9)
    logits = random_logits(5, rows=1)
    seen = torch.zeros(logits.shape, dtype=torch.bool)
    torch.manual_seed(11)
    expected = [torch.multinomial(of_transformers(logits, sampling).softmax(-1), 1).item() for _ in range(20)]
    generator = torch.Generator().manual_seed(11)
    found = [choose(logits, sampling, seen=seen, generators=[generator]).item() for _ in range(20)]
    assert found == expected
    assert len({*found}) > 1


def test_temperature_zero_is_the_likeliest_token_after_the_penalty() -> None:
    logits = torch.tensor([[3.0, 2.9, -1.0]])
    seen = torch.tensor([[True, False, False]])
    assert choose(logits, Sampling(temperature=0), seen=seen, generators=[]).tolist() == [0]
    greedy = Sampling(temperature=0, repetition_penalty=1.2)
    assert choose(logits, greedy, seen=seen, generators=[]).tolist() == [1]


def test_damaged_logits_are_told() -> None:
    logits = torch.tensor([[1.0, float("nan")]])
    with pytest.raises(TsumuguError, match="not numbers"):
        choose(logits, Sampling(), seen=torch.zeros(1, 2, dtype=torch.bool), generators=[torch.Generator()])


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"temperature": -0.1}, "temperature = -0.1 is not 0 or more"),
        ({"temperature": float("nan")}, "temperature = nan"),
        ({"top_p": 0.0}, "top_p = 0.0 is not above 0 and at most 1"),
        ({"top_k": -1}, "top_k = -1"),
        (
            {"min_p": 1.5, "repetition_penalty": 0.0},
            "min_p = 1.5 .*; repetition_penalty = 0.0 is not above 0",
        ),
    ],
)
def test_values_without_a_meaning_are_refused(values: dict[str, float], told: str) -> None:
    with pytest.raises(TsumuguError, match=told):
        Sampling(**values)  # type: ignore[arg-type]
