"""Time of a step and the search over layouts: what must hold whatever the constants are."""

from dataclasses import replace
from typing import get_args

import pytest

from tsumugu.model.config import ModelConfig
from tsumugu.model.counts import flops_per_token
from tsumugu.planning.cluster import find_cluster
from tsumugu.planning.network import network
from tsumugu.planning.search import FILLED, Choices, search
from tsumugu.planning.timing import mfu, step_time
from tsumugu.planning.workload import Candidate, Checkpointing, Practice, Workload
from tsumugu.training.layout import Layout, Machines, Training, layout_faults

LINE = Workload(
    ModelConfig.model_validate({"preset": "japanese-large-lm-1.7b"}),
    vocab_size=51_200,
    sequence_length=2048,
    global_batch_size=512,
    steps=1000,
)
SEVENTY = Workload(
    ModelConfig(
        architecture="llama",
        num_hidden_layers=80,
        hidden_size=8192,
        num_attention_heads=64,
        num_key_value_heads=8,
        intermediate_size=28_672,
        max_position_embeddings=8192,
        tie_word_embeddings=False,
    ),
    vocab_size=128_256,
    sequence_length=8192,
    global_batch_size=2048,
    steps=1000,
)
A100 = find_cluster("64xA100-80GB")


def seconds(
    layout: Layout, cluster: str = "64xA100-80GB", mode: Checkpointing = "selective", every: int = 1
) -> float:
    return step_time(LINE, Candidate(layout, 4, mode, every), find_cluster(cluster)).seconds


def test_a_step_is_the_sum_of_its_parts_and_no_faster_than_the_peak() -> None:
    time = step_time(LINE, Candidate(Layout(data_shard=16, tensor=2, pipeline=2), 4, "full"), A100)
    parts = (time.compute, time.recompute, time.optimizer, time.tensor, time.context, time.data)
    assert time.seconds == pytest.approx(sum(parts) + time.pipeline + time.bubble)
    assert all(part > 0 for part in (*parts[:4], time.pipeline, time.bubble))
    ideal = LINE.tokens_per_step * flops_per_token(LINE.model, 51_200, 2048) / 64 / 312e12
    assert ideal < time.compute
    assert mfu(LINE, A100, ideal) == pytest.approx(1)


def test_what_is_computed_again_takes_time() -> None:
    layout = Layout(data_shard=64)
    times = [seconds(layout, mode=mode) for mode in get_args(Checkpointing)]
    assert times == sorted(times)
    assert seconds(layout, mode="full", every=2) < times[2]


def test_a_faster_device_and_a_faster_network_are_faster() -> None:
    layout = Layout(data_shard=64)
    assert seconds(layout, "64xH100") < seconds(layout)
    slow = replace(A100, network_bandwidth=1e9)
    candidate = Candidate(layout, 4)
    assert step_time(LINE, candidate, slow).data > step_time(LINE, candidate, A100).data


def test_tensor_parallelism_across_nodes_is_slower_than_within_one() -> None:
    candidate = Candidate(Layout(data_shard=8, tensor=8), 4)
    narrow = replace(A100, devices_per_node=4)
    assert step_time(LINE, candidate, narrow).tensor > 2 * step_time(LINE, candidate, A100).tensor


def test_groups_lie_in_nodes_as_training_places_them() -> None:
    links = network(Layout(data_replicate=4, data_shard=4, tensor=4), A100)
    assert links.tensor.bandwidth == network(Layout(data_shard=8), A100).shard.bandwidth
    # Two of a shard group's four are in a node, and use two adapters.
    assert links.shard.bandwidth == pytest.approx(2 * links.replicate.bandwidth)


def test_a_group_that_straddles_nodes_is_as_slow_as_the_network() -> None:
    odd = network(Layout(data_shard=3, pipeline=8), find_cluster("24xH100"))
    even = network(Layout(data_shard=2, pipeline=12), find_cluster("24xH100"))
    assert odd.shard.bandwidth < even.shard.bandwidth


def test_a_message_to_a_neighbour_crosses_one_link_however_long_the_pipeline() -> None:
    short, long = (network(Layout(pipeline=count), find_cluster(f"{8 * count}xH100")) for count in (16, 32))
    assert short.pipeline.send(1e6) == long.pipeline.send(1e6)


def test_the_head_makes_its_process_the_slowest_although_it_has_a_layer_less() -> None:
    # 30 layers on 4 processes are 8, 8, 7 and 7; a head of many pieces takes longer than a layer.
    model = ModelConfig.model_validate({"preset": "japanese-large-lm-3.6b"})
    small, large = (Workload(model, pieces, 2048, 512, 1) for pieces in (8_192, 204_800))
    candidate = Candidate(Layout(data_shard=16, pipeline=4), 2)
    alone = step_time(small, candidate, A100).compute
    assert step_time(replace(small, vocab_size=4_096), candidate, A100).compute == alone
    assert step_time(large, candidate, A100).compute > 1.1 * alone


def test_float32_moves_twice_as_many_bytes() -> None:
    candidate = Candidate(Layout(data_shard=8, tensor=8), 4)
    half, whole = (
        step_time(replace(LINE, precision=precision), candidate, A100)
        for precision in ("bfloat16", "float32")
    )
    assert whole.tensor > 1.8 * half.tensor


def test_muon_computes_more_and_a_shared_matrix_once() -> None:
    muon = replace(LINE, optimizer="muon")
    shared, copied = Candidate(Layout(data_shard=64), 4), Candidate(Layout(data_replicate=64), 4)
    assert step_time(muon, shared, A100).optimizer > 2 * step_time(LINE, shared, A100).optimizer
    assert step_time(muon, copied, A100).optimizer == pytest.approx(
        64 * step_time(muon, shared, A100).optimizer
    )
    quick = replace(muon, muon_ns_steps=3)
    assert step_time(quick, shared, A100).optimizer < 0.8 * step_time(muon, shared, A100).optimizer


def test_a_float8_peak_of_a_device_whose_namesakes_have_none_is_planned() -> None:
    cluster = replace(A100, peak_flops={**A100.peak_flops, "float8": 600e12})
    assert (
        step_time(replace(LINE, precision="float8"), Candidate(Layout(data_shard=64), 4), cluster).seconds > 0
    )


def test_more_micro_batches_make_the_bubble_smaller() -> None:
    layout = Layout(data_shard=16, pipeline=4)
    few, more = (step_time(LINE, Candidate(layout, size), A100).bubble for size in (4, 1))
    assert more < few
    interleaved = replace(layout, pipeline_schedule="interleaved_1f1b")
    assert step_time(LINE, Candidate(interleaved, 4), A100).bubble < few


def test_synchronising_once_per_step_hides_more() -> None:
    candidate = Candidate(Layout(data_shard=64), 1)
    slow = replace(A100, network_bandwidth=2e9)
    once = Practice(sync_every_micro_batch=False)
    assert step_time(LINE, candidate, slow, once).data < step_time(LINE, candidate, slow).data


def test_everything_that_is_planned_fits_works_and_is_in_order() -> None:
    plan = search(LINE, A100)
    assert plan.fastest
    times = [found.time.seconds for found in plan.fastest]
    assert times == sorted(times)
    for found in plan.all:
        assert found.memory.total <= FILLED * A100.memory
        candidate = found.candidate
        training = Training(
            LINE.model,
            51_200,
            2048,
            (512,),
            candidate.micro_batch_size,
            candidate.checkpointing,
            compile=True,
        )
        assert not layout_faults(candidate.layout, training, Machines(64, 8))
    ranked = [_degrees(found.candidate.layout) for found in plan.fastest]
    assert len(set(ranked)) == len(ranked)
    # Everything but the first is refused with a reason: what does not work, what does not fit, what is
    # slower.
    refused = {(one.tensor, one.context, one.pipeline) for one in plan.refused}
    assert len(refused) == len(plan.refused)
    assert set(ranked) - refused == {ranked[0]}
    assert all("slower" in one.reason for one in plan.refused if one.kind not in ("memory", "impossible"))


def _degrees(layout: Layout) -> tuple[int, int, int]:
    return layout.tensor, layout.context, layout.pipeline


def test_hours_price_and_energy_are_the_cluster_s() -> None:
    best = search(LINE, replace(A100, usd_per_hour=2.0)).fastest[0]
    assert best.hours == pytest.approx(1000 * best.time.seconds / 3600)
    assert best.usd == pytest.approx(best.hours * 64 * 2)
    assert best.kwh == pytest.approx(best.hours * 64 * 0.812)
    assert best.tokens_per_second == pytest.approx(512 * 2048 / best.time.seconds)


def test_fewer_devices_are_no_dearer() -> None:
    plan = search(LINE, A100)
    hours = {found.devices: found.hours * found.devices for found in plan.cheapest}
    assert set(hours) == {4, 8, 16, 32, 64}
    assert hours[8] <= hours[64]


def test_a_model_that_does_not_fit_is_refused_with_what_it_needs() -> None:
    plan = search(SEVENTY, find_cluster("8xA100-40GB"))
    assert not plan.fastest
    reasons = [one.reason for one in plan.refused if one.kind == "memory"]
    assert reasons
    assert all("GiB per device at least, of 40" in reason for reason in reasons)


def test_what_is_fixed_beforehand_is_kept() -> None:
    choices = Choices(checkpointing="full", micro_batch_sizes=lambda layout: [2], fewer_devices=False)
    plan = search(LINE, A100, choices)
    assert {(f.candidate.checkpointing, f.candidate.micro_batch_size) for f in plan.all} == {("full", 2)}
    assert plan.cheapest == plan.fastest[:1]


def test_seventy_billion_on_thousands_of_devices_is_planned() -> None:
    plan = search(SEVENTY, find_cluster("4096xH100"))
    assert plan.fastest
    assert 0.2 < plan.fastest[0].mfu < 0.7
