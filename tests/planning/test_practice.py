"""What other trainers do otherwise costs, or saves, what it should."""

from dataclasses import replace

import pytest

from tsumugu.model.config import ModelConfig
from tsumugu.planning.cluster import find_cluster
from tsumugu.planning.timing import StepTime, step_time
from tsumugu.planning.workload import OURS, Candidate, Practice, Workload
from tsumugu.training.layout import Layout

MODEL = ModelConfig(num_hidden_layers=32, hidden_size=4096, num_attention_heads=32)
WORK = Workload(MODEL, vocab_size=51_200, sequence_length=2048, global_batch_size=256, steps=1)
CLUSTER = find_cluster("64xA100-80GB")
SHARDED = Candidate(Layout(data_shard=64), micro_batch_size=2)
TENSOR = Candidate(Layout(data_shard=8, tensor=8), micro_batch_size=4)


def seconds(candidate: Candidate, practice: Practice = OURS, work: Workload = WORK) -> StepTime:
    return step_time(work, candidate, CLUSTER, practice)


def test_full_checkpointing_that_stops_early_leaves_out_the_last_product_of_a_layer() -> None:
    candidate = replace(SHARDED, checkpointing="full")
    stops, whole = seconds(candidate), seconds(candidate, Practice(recompute_stops=False))
    # The MLP's second matrix has a third of a layer's products, 4 of 12; attention and the rest stay.
    saved = 1 - stops.recompute / whole.recompute
    assert 0.25 < saved < 1 / 3
    assert stops.compute == whole.compute


def test_slower_attention_counts_most_for_long_sequences() -> None:
    def slower(length: int) -> float:
        work = replace(WORK, sequence_length=length)
        return (
            seconds(SHARDED, Practice(attention_speed=0.5), work).compute
            / seconds(SHARDED, work=work).compute
        )

    assert 1 < slower(2048) < slower(8192) < slower(32_768) < 2


def test_without_sequence_parallelism_every_process_does_all_of_the_norms() -> None:
    alone = Practice(sequence_parallel=False)
    assert seconds(TENSOR, alone).compute > 1.02 * seconds(TENSOR).compute
    assert seconds(SHARDED, alone).seconds == seconds(SHARDED).seconds


def test_hidden_communication_slows_the_computation_beside_it() -> None:
    slow = replace(CLUSTER, network_bandwidth=CLUSTER.network_bandwidth / 1.5)
    fast = step_time(WORK, replace(SHARDED, micro_batch_size=4), CLUSTER)
    slower = step_time(WORK, replace(SHARDED, micro_batch_size=4), slow)
    assert fast.hidden > 0
    assert slower.hidden > fast.hidden
    assert slower.data > fast.data
    assert slower.compute == fast.compute


def test_what_is_gathered_once_per_step_is_paid_once() -> None:
    once = seconds(SHARDED, Practice(sync_every_micro_batch=False))
    every = seconds(SHARDED)
    assert SHARDED.micro_batches(WORK) == 2
    assert once.data + once.hidden < 0.75 * (every.data + every.hidden)


def test_hidden_tensor_communication_is_not_waited_for() -> None:
    assert seconds(TENSOR, Practice(tensor_hidden=0.5)).tensor == pytest.approx(seconds(TENSOR).tensor / 2)


def test_more_stages_per_process_wait_less_and_send_while_they_compute() -> None:
    layout = Layout(data_shard=8, pipeline=8, pipeline_schedule="interleaved_1f1b")
    candidate = Candidate(layout, micro_batch_size=1)
    four, two = (seconds(candidate, Practice(virtual_stages=n)) for n in (4, 2))
    assert four.bubble == pytest.approx(two.bubble / 2)
    assert four.pipeline == two.pipeline == 0
