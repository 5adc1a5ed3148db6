"""A decoder that goes on from what it has read computes what it would compute from the beginning."""

from typing import Any

import pytest
import torch

from tsumugu.model.attention import Scope
from tsumugu.model.cache import After, Cache
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.model.initialization import initialize

V, POSITIONS = 50, 40
CPU = torch.device("cpu")
CONFIGS: dict[str, dict[str, Any]] = {
    "gpt2": {"architecture": "gpt2"},
    "gpt-neox": {"architecture": "gpt-neox"},
    "llama": {"architecture": "llama", "num_key_value_heads": 2, "qk_norm": True},
}


def decoder(name: str) -> Decoder:
    config = ModelConfig.model_validate(
        {
            "num_hidden_layers": 2,
            "hidden_size": 32,
            "num_attention_heads": 4,
            "max_position_embeddings": POSITIONS,
            **CONFIGS[name],
        }
    )
    model = Decoder(config, V)
    initialize(model, 1)
    return model.eval()


def cache(model: Decoder, rows: int) -> Cache:
    return Cache(model.config, rows, POSITIONS, dtype=torch.float32, device=CPU)


def tokens(count: int, seed: int) -> torch.Tensor:
    return torch.randint(0, V, (count,), generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def whole(model: Decoder, text: torch.Tensor) -> torch.Tensor:
    """The hidden state of the last token, from the beginning."""
    return model.hidden(text[None])[0, -1]


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_rows_of_any_length_go_on_and_are_filled_again(name: str) -> None:
    model = decoder(name)
    memory = cache(model, 3)
    texts = [tokens(9, 1), tokens(4, 2), tokens(13, 3)]

    def begin(rows: list[int]) -> None:
        lengths = torch.tensor([len(texts[row]) for row in rows])
        padded = torch.zeros(len(rows), int(lengths.max()), dtype=torch.int64)
        for place, row in enumerate(rows):
            padded[place, : len(texts[row])] = texts[row]
        found = model.hidden(padded, past=memory.begin(torch.tensor(rows), lengths, padded.shape[1]))
        for place, row in enumerate(rows):
            torch.testing.assert_close(found[place, len(texts[row]) - 1], whole(model, texts[row]))

    def step(seed: int) -> None:
        new = tokens(3, seed)
        for row in range(3):
            texts[row] = torch.cat([texts[row], new[row : row + 1]])
        found = model.hidden(new[:, None], past=memory.go_on())
        for row in range(3):
            if memory.lengths[row]:
                torch.testing.assert_close(found[row, 0], whole(model, texts[row]))

    begin([0, 1, 2])
    step(10)
    step(11)
    # The first text is finished, and its row takes another while the others wait.
    memory.lengths[0] = 0
    step(12)
    assert memory.lengths.tolist() == [0, 7, 16]
    texts[0] = tokens(6, 4)
    begin([0])
    step(13)


@torch.no_grad()
@pytest.mark.parametrize("name", CONFIGS)
def test_texts_with_one_beginning_go_on_from_it(name: str) -> None:
    model = decoder(name)
    beginning, ends = tokens(7, 1), [tokens(3, 2), tokens(5, 3)]
    first = cache(model, 1)
    model.hidden(beginning[None], past=first.begin(torch.tensor([0]), torch.tensor([7]), 7))

    padded = torch.zeros(2, 5, dtype=torch.int64)
    for row, end in enumerate(ends):
        padded[row, : len(end)] = end
    expected = [whole(model, torch.cat([beginning, end])) for end in ends]

    # Kept, so that they can go on.
    memory = cache(model, 4)
    rows, lengths = torch.tensor([3, 1]), torch.tensor([10, 12])
    found = model.hidden(padded, past=memory.begin(rows, lengths, 5, prefix=first))
    torch.testing.assert_close(found[0, 2], expected[0])
    torch.testing.assert_close(found[1, 4], expected[1])
    new = tokens(4, 9)
    going_on = model.hidden(new[:, None], past=memory.go_on())
    texts = [torch.cat([beginning, end]) for end in ends]
    torch.testing.assert_close(going_on[3, 0], whole(model, torch.cat([texts[0], new[3:]])))
    torch.testing.assert_close(going_on[1, 0], whole(model, torch.cat([texts[1], new[1:2]])))

    # Read only.
    mask = torch.ones(5, 12, dtype=torch.bool).tril(7)[None, None]
    read = model.hidden(padded, past=After(first, torch.arange(7, 12)[None], Scope(mask)))
    torch.testing.assert_close(read[0, 2], expected[0])
    torch.testing.assert_close(read[1, 4], expected[1])
