"""The planner's memory beside PyTorch's tracker, and what must hold of any way of training."""

from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import pytest

from tsumugu.model import loss
from tsumugu.model.config import ModelConfig
from tsumugu.planning.in_flight import in_flight
from tsumugu.planning.memory import memory, memory_of_rank
from tsumugu.planning.parts import CHUNK_ELEMENTS, SMALLEST_CHUNK
from tsumugu.planning.reality import tracked_memory
from tsumugu.planning.schedules import order
from tsumugu.planning.workload import Candidate, Checkpointing, Workload
from tsumugu.training.layout import Layout, Schedule

MODES: tuple[Checkpointing, ...] = ("none", "selective", "full")


def small(architecture: str, **more: Any) -> Workload:
    shape: dict[str, Any] = {
        "architecture": architecture,
        "num_hidden_layers": 4,
        "hidden_size": 128,
        "num_attention_heads": 4,
        "max_position_embeddings": 256,
    }
    if architecture == "llama":
        shape |= {"num_key_value_heads": 2, "qk_norm": True}
    model = ModelConfig.model_validate(shape)
    return replace(Workload(model, 2048, 256, 8, 1, precision="bfloat16", compile=False), **more)


LARGE = Workload(ModelConfig.model_validate({"preset": "japanese-large-lm-3.6b"}), 51_200, 2048, 512, 1000)


@pytest.mark.parametrize("architecture", ["gpt2", "gpt-neox", "llama"])
@pytest.mark.parametrize(
    ("layout", "size", "mode"),
    [
        (Layout(), 8, "none"),
        (Layout(data_shard=4), 2, "none"),
        (Layout(data_shard=4), 1, "full"),
        (Layout(data_shard=2, tensor=2), 4, "selective"),
    ],
)
def test_memory_is_what_the_tracker_finds(
    architecture: str, layout: Layout, size: int, mode: Checkpointing
) -> None:
    workload, candidate = small(architecture), Candidate(layout, size, mode)
    tracked = tracked_memory(workload, candidate)
    assert memory(workload, candidate, kernels="cpu").total == pytest.approx(tracked, rel=0.02)


@pytest.mark.parametrize(
    ("workload", "candidate"),
    [
        (small("gpt-neox", precision="float32"), Candidate(Layout(), 8, "full")),
        (small("llama"), Candidate(Layout(data_shard=2, context=2), 4)),
        (small("llama"), Candidate(Layout(data_replicate=2, data_shard=2), 1, "selective", every=3)),
        (small("gpt2", optimizer="muon"), Candidate(Layout(data_shard=2), 4)),
    ],
)
def test_so_it_is_in_other_ways(workload: Workload, candidate: Candidate) -> None:
    tracked = tracked_memory(workload, candidate)
    assert memory(workload, candidate, kernels="cpu").total == pytest.approx(tracked, rel=0.02)


@pytest.mark.parametrize(
    ("schedule", "rank", "error"),
    [
        ("1f1b", 0, 0.03),
        ("1f1b", 1, 0.03),
        ("gpipe", 1, 0.03),
        ("interleaved_1f1b", 0, 0.03),
        ("interleaved_zero_bubble", 0, 0.15),
    ],
)
def test_memory_of_a_pipeline_is_what_the_tracker_finds(schedule: Schedule, rank: int, error: float) -> None:
    workload = small("gpt-neox")
    candidate = Candidate(Layout(data_shard=2, pipeline=2, pipeline_schedule=schedule), 1)
    tracked = tracked_memory(workload, candidate, rank=rank)
    said = memory_of_rank(workload, candidate, rank, kernels="cpu")
    assert said.total == pytest.approx(tracked, rel=error)


def test_the_tracker_refuses_compiled_layers() -> None:
    with pytest.raises(ValueError, match="compile=False"):
        tracked_memory(small("gpt2", compile=True), Candidate(Layout(), 8))


def test_the_chunks_are_those_of_the_loss() -> None:
    assert loss._CHUNK_ELEMENTS == CHUNK_ELEMENTS
    assert loss._SMALLEST_CHUNK == SMALLEST_CHUNK


@pytest.mark.parametrize("schedule", get_args(Schedule))
@pytest.mark.parametrize(("processes", "batches"), [(2, 4), (2, 24), (4, 8), (4, 40)])
def test_micro_batches_in_flight_are_those_of_the_schedule(
    schedule: Schedule, processes: int, batches: int
) -> None:
    layout = Layout(pipeline=processes, pipeline_schedule=schedule)
    for rank, actions in enumerate(order(layout, batches)):
        stages = layout.stage_ids(rank)
        held, found = [0] * len(stages), set()
        for action in actions:
            # A split backward pass holds on until its second part.
            change = {"F": 1, "B": -1, "I": 0, "W": -1}[action.kind]
            held[stages.index(action.stage)] += change
            found.add(tuple(held))
        most = {
            one
            for one in found
            if not any(
                other != one and all(a >= b for a, b in zip(other, one, strict=True)) for other in found
            )
        }
        assert set(in_flight(layout, batches, rank)) == most


@pytest.mark.parametrize("schedule", get_args(Schedule))
@pytest.mark.parametrize("mode", ["none", "full"])
def test_the_fullest_process_is_found(schedule: Schedule, mode: Checkpointing) -> None:
    layout = Layout(data_shard=4, pipeline=6, pipeline_schedule=schedule)
    workload = replace(LARGE, global_batch_size=4 * 24)
    candidate = Candidate(layout, 1, mode)
    ranks = [memory_of_rank(workload, candidate, rank).total for rank in range(6)]
    assert memory(workload, candidate).total == max(ranks)


@pytest.mark.parametrize("mode", MODES)
def test_more_sharding_never_needs_more(mode: Checkpointing) -> None:
    needed = [
        memory(LARGE, Candidate(Layout(data_replicate=64 // n, data_shard=n), 2, mode)).total
        for n in (1, 2, 4, 8, 16, 32, 64)
    ]
    assert all(more > less for more, less in pairwise(needed))


@pytest.mark.parametrize(
    "layout", [Layout(data_shard=8), Layout(data_shard=8, tensor=4), Layout(1, 4, 1, 1, 5)]
)
@pytest.mark.parametrize("compiled", [False, True])
def test_who_computes_again_keeps_less(layout: Layout, compiled: bool) -> None:
    workload = replace(LARGE, compile=compiled)
    none, selective, full = (memory(workload, Candidate(layout, 2, mode)).total for mode in MODES)
    assert full < selective < none
    every_second = memory(workload, Candidate(layout, 2, "full", every=2)).total
    assert full < every_second < none


def test_larger_micro_batches_and_longer_sequences_need_more() -> None:
    layout = Layout(data_shard=8)
    needed = [memory(LARGE, Candidate(layout, size)).total for size in (1, 2, 4, 8)]
    assert all(less < more for less, more in pairwise(needed))
    longer = replace(LARGE, sequence_length=4096)
    assert memory(longer, Candidate(layout, 2)).activations > memory(LARGE, Candidate(layout, 2)).activations


def test_muon_keeps_one_moment_of_a_matrix() -> None:
    candidate = Candidate(Layout(data_shard=8), 1)
    adamw, muon = (memory(replace(LARGE, optimizer=name), candidate).optimizer for name in ("adamw", "muon"))
    assert 0.5 * adamw < muon < 0.6 * adamw


def test_parts_add_up() -> None:
    found = memory(LARGE, Candidate(Layout(data_shard=8), 1))
    parts = (found.weights, found.gradients, found.optimizer, found.activations, found.logits, found.buffers)
    assert found.tensors == sum(parts)
    assert found.total == found.tensors + found.fragmentation
    assert min(parts) >= 0
