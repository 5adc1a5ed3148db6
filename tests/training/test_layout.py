"""Which layouts are chosen, which are refused, and what is said about them."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tsumugu.errors import TsumuguError
from tsumugu.model.config import ModelConfig
from tsumugu.training.context_parallel import context_places
from tsumugu.training.layout import (
    Layout,
    LayoutConfig,
    Machines,
    Training,
    micro_batch_size,
    resolve_layout,
)
from tsumugu.training.pipeline_parallel import stage_layers

LARGE = Training(
    model=ModelConfig.model_validate({"preset": "japanese-large-lm-3.6b"}),
    vocab_size=51_200,
    sequence_length=2048,
    batch_sizes=(512,),
    micro_batch_size=4,
)
NODE = Machines(processes=8, processes_per_node=8, memory=80 * 10**9)


def test_one_process_needs_no_layout() -> None:
    assert resolve_layout(LayoutConfig(auto=True), LARGE, Machines()) == Layout()
    assert str(Layout()) == "one process"


def test_auto_shards_over_the_processes_that_there_are() -> None:
    assert resolve_layout(LayoutConfig(auto=True), LARGE, replace(NODE, memory=None)) == Layout(data_shard=8)


def test_auto_shards_within_a_node_and_repeats_over_nodes_if_memory_allows() -> None:
    nodes = replace(NODE, processes=64)
    assert resolve_layout(LayoutConfig(auto=True), LARGE, nodes) == Layout(data_replicate=8, data_shard=8)
    small = replace(nodes, memory=10 * 10**9)
    assert resolve_layout(LayoutConfig(auto=True), LARGE, small) == Layout(data_shard=64)


def test_auto_takes_tensor_parallelism_when_the_batch_is_too_small_for_more_data_parallelism() -> None:
    few = replace(LARGE, batch_sizes=(8,), micro_batch_size=1)
    found = resolve_layout(LayoutConfig(auto=True), few, replace(NODE, processes=32))
    assert (found.data, found.tensor, found.pipeline) == (8, 4, 1)


def test_every_layout_that_auto_chooses_can_work() -> None:
    for processes, batch, micro in itertools.product((1, 2, 4, 8, 16, 32, 64), (64, 512, 1536), (1, 4)):
        training = replace(LARGE, batch_sizes=(batch,), micro_batch_size=micro)
        machines = replace(NODE, processes=processes, processes_per_node=min(8, processes))
        assert resolve_layout(LayoutConfig(auto=True), training, machines).processes == processes


def test_what_is_not_given_is_sharded() -> None:
    config = LayoutConfig(tensor=2, pipeline=2)
    assert resolve_layout(config, LARGE, NODE) == Layout(data_shard=2, tensor=2, pipeline=2)


@pytest.mark.parametrize(
    ("layout", "changes", "message"),
    [
        ({"tensor": 3}, {}, "multiply to 6; start 6 processes"),
        ({"tensor": 8, "context": 2}, {}, "multiply to 16; start 16 processes"),
        ({"tensor": 5, "data_shard": 1}, {}, r"tensor = 5 does not divide the model's heads .* \(32\)"),
        ({"tensor": 8}, {"vocab_size": 50_001}, r"does not divide the vocabulary \(50001\)"),
        ({"context": 8}, {"sequence_length": 2040}, "not a multiple of that"),
        ({}, {"batch_sizes": (500,)}, "cannot be dealt to .* = 8 processes"),
        ({}, {"batch_sizes": (512, 44)}, "the batch of 44 sequences cannot be dealt"),
        ({}, {"micro_batch_size": 48}, "micro_batch_size = 48 does not divide the 64 sequences"),
        ({"pipeline": 8}, {"batch_sizes": (16,)}, "8 stages needs as many micro-batches"),
        (
            {"pipeline": 4, "pipeline_schedule": "interleaved_1f1b"},
            {"batch_sizes": (72,)},
            "needs a multiple of pipeline = 4 micro-batches",
        ),
        (
            {"pipeline": 8, "pipeline_schedule": "interleaved_1f1b"},
            {"model": ModelConfig.model_validate({"preset": "tiny-gpt-neox", "num_hidden_layers": 12})},
            "16 stages are more than the model's 12 layers",
        ),
        (
            {"pipeline": 2, "pipeline_schedule": "zbv_zero_bubble"},
            {"checkpointing": "selective"},
            "selective checkpointing cannot follow",
        ),
        (
            {"pipeline": 2, "pipeline_schedule": "interleaved_zero_bubble"},
            {"compile": True},
            "torch.compile cannot follow",
        ),
        ({"tensor": 2}, {"float8": True}, "float8 works with tensor = 1"),
    ],
)
def test_a_layout_that_cannot_work_is_refused_with_what_to_change(
    layout: dict[str, Any], changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(TsumuguError, match=message):
        resolve_layout(LayoutConfig(**layout), replace(LARGE, **changes), NODE)


def test_all_faults_are_told_at_once() -> None:
    training = replace(LARGE, vocab_size=50_001, batch_sizes=(500,))
    with pytest.raises(TsumuguError) as error:
        resolve_layout(LayoutConfig(tensor=2), training, NODE)
    assert str(error.value).count("\n  - ") == 2


def test_auto_is_a_word_and_excludes_degrees() -> None:
    assert LayoutConfig.model_validate("auto") == LayoutConfig(auto=True)
    again = LayoutConfig.model_validate(LayoutConfig(auto=True).model_dump())
    assert again == LayoutConfig(auto=True)
    with pytest.raises(ValidationError, match="leave out either auto or the degrees"):
        LayoutConfig(auto=True, tensor=2)


def test_micro_batches_keep_a_pipeline_busy_unless_told_otherwise() -> None:
    training = replace(LARGE, micro_batch_size=None)
    assert micro_batch_size(Layout(data_shard=8), training, 512) == 64
    assert micro_batch_size(Layout(data_shard=2, pipeline=4), training, 512) == 64
    assert micro_batch_size(Layout(data_shard=8), LARGE, 512) == 4


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
