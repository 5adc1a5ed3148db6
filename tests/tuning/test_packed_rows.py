"""Several conversations in a row are as if each stood alone."""

from dataclasses import asdict
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_models import write_small_model
from small_tokenizers import written_folder

from tsumugu.release.loading import load_model
from tsumugu.tuning.measuring import answer_loss
from tsumugu.tuning.packing import IGNORED, collate, epochs_of, make_rows
from tsumugu.tuning.template import Encoded


def conversation(length: int, first: int = 10) -> Encoded:
    ids = tuple(first + place % 50 for place in range(length))
    return Encoded(ids, tuple(place >= length // 2 for place in range(length)))


@settings(max_examples=25)
@given(st.lists(st.integers(2, 40), min_size=1, max_size=60))
def test_every_conversation_is_in_one_row_whole(lengths: list[int]) -> None:
    conversations = [conversation(length, first=100 * number) for number, length in enumerate(lengths)]
    rows = make_rows(conversations, max_length=40, packing=True)
    found = []
    for row in rows:
        assert len(row.input_ids) == sum(row.lengths) <= 40
        start = 0
        for length in row.lengths:
            found.append((row.input_ids[start : start + length], row.labels[start : start + length]))
            start += length
    assert sorted(found) == sorted((one.ids, tuple(one.labels)) for one in conversations)


def test_best_fit_fills_rows() -> None:
    rows = make_rows([conversation(length) for length in (30, 10, 25, 15)], max_length=40, packing=True)
    assert [sum(row.lengths) for row in rows] == [40, 40]


def test_a_token_sees_its_own_conversation_up_to_itself() -> None:
    [row] = make_rows([conversation(3), conversation(2)], max_length=8, packing=True)
    other = make_rows([conversation(6)], max_length=8, packing=False)[0]
    batch = collate([asdict(row), asdict(other)], pad_id=3)
    assert batch["position_ids"].tolist() == [[0, 1, 2, 0, 1, 0], [0, 1, 2, 3, 4, 5]]
    assert batch["attention_mask"].shape == (2, 1, 6, 6)
    assert batch["attention_mask"][0, 0].int().tolist() == [
        [1, 0, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0],
        [1, 1, 1, 0, 0, 0],
        [0, 0, 0, 1, 0, 0],
        [0, 0, 0, 1, 1, 0],
        [0, 0, 0, 0, 0, 1],
    ]
    assert batch["input_ids"][0, -1] == 3
    assert batch["labels"][0, -1] == IGNORED


def test_the_first_token_of_a_conversation_is_never_learned_from_another() -> None:
    everything = Encoded((10, 11), (True, True))
    [row] = make_rows([everything, everything], max_length=4, packing=True)
    assert row.labels == (IGNORED, 11, IGNORED, 11)


@pytest.mark.parametrize("model_type", ["gpt2", "gpt_neox", "llama"])
def test_packed_equals_unpacked(tmp_path: Path, model_type: str) -> None:
    folder = write_small_model(tmp_path / "model", written_folder("modern"), model_type)
    model = load_model(folder).eval()
    conversations = [conversation(length, first=number) for number, length in enumerate((9, 20, 5, 14, 30))]
    packed = make_rows(conversations, max_length=50, packing=True)
    alone = make_rows(conversations, max_length=50, packing=False)
    assert len(packed) == 2

    @torch.no_grad()
    def logits(rows: list[dict[str, object]]) -> dict[int, torch.Tensor]:
        batch = collate(rows, pad_id=3)
        batch.pop("labels")
        out = model(**batch, use_cache=False).logits
        found = {}
        for row, values in zip(rows, out, strict=True):
            start = 0
            for length in row["lengths"]:  # type: ignore[attr-defined]
                found[length] = values[start : start + length]
                start += length
        return found

    together = logits([asdict(row) for row in packed])
    for row in alone:
        # The plain call of transformers, without masks or positions of ours.
        ids = torch.tensor([row.input_ids])
        torch.testing.assert_close(together[len(row.input_ids)], model(ids).logits[0], rtol=1e-4, atol=1e-4)
    losses = [answer_loss(model, rows) for rows in (packed, alone)]
    assert losses[0].tokens == losses[1].tokens
    assert losses[0].nats_per_token == pytest.approx(losses[1].nats_per_token, rel=1e-6)


def test_every_epoch_reads_every_row_once_in_an_order_of_its_own() -> None:
    order = epochs_of(20, epochs=3, seed=5)
    epochs = [order[start : start + 20] for start in (0, 20, 40)]
    assert all(sorted(epoch) == list(range(20)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs_of(20, epochs=3, seed=5) == order != epochs_of(20, epochs=3, seed=6)
