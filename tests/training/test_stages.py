"""Who holds which layers and which tokens."""

from typing import Any

import pytest
import torch

from tsumugu.training.context_parallel import context_places
from tsumugu.training.layout import Layout, stage_layers


@pytest.mark.parametrize(("stages", "layers"), [(1, 3), (2, 4), (2, 5), (4, 6), (3, 30), (8, 30), (7, 7)])
def test_stages_share_the_layers_in_order_and_evenly(stages: int, layers: int) -> None:
    found = [stage_layers(stage, stages, layers) for stage in range(stages)]
    assert [layer for part in found for layer in part] == list(range(layers))
    sizes = [len(part) for part in found]
    assert max(sizes) - min(sizes) <= 1
    assert sizes[-1] == min(sizes), "the last stage has the head besides"


@pytest.mark.parametrize(
    ("schedule", "ids"),
    [
        ("1f1b", [[0], [1], [2], [3]]),
        ("interleaved_1f1b", [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ("interleaved_zero_bubble", [[0, 4], [1, 5], [2, 6], [3, 7]]),
        ("zbv_zero_bubble", [[0, 7], [1, 6], [2, 5], [3, 4]]),
    ],
)
def test_every_stage_has_one_owner(schedule: Any, ids: list[list[int]]) -> None:
    layout = Layout(pipeline=4, pipeline_schedule=schedule)
    assert [layout.stage_ids(rank) for rank in range(4)] == ids
    for rank, stages in enumerate(ids):
        assert [layout.stage_owner(stage) for stage in stages] == [rank] * len(stages)


def test_processes_that_share_a_sequence_hold_all_of_it_and_equal_work() -> None:
    parts = [context_places(32, processes=4, rank=rank) for rank in range(4)]
    assert torch.cat(parts).sort().values.tolist() == list(range(32))
    # A token attends to those up to itself.
    assert len({int((part + 1).sum()) for part in parts}) == 1
