"""How processes share the work: what `auto` chooses, and in which words the impossible is refused."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from tsumugu.errors import TsumuguError
from tsumugu.model.config import ModelConfig
from tsumugu.planning.auto import choose_layout
from tsumugu.planning.cluster import device_cluster
from tsumugu.recipe import Recipe
from tsumugu.training import stage
from tsumugu.training.layout import (
    Layout,
    LayoutConfig,
    Machines,
    Training,
    micro_batch_size,
    resolve_layout,
)
from tsumugu.training.processes import Process

TRAINING = Training(
    model=ModelConfig.model_validate({"preset": "tiny-llama"}),
    vocab_size=480,
    sequence_length=64,
    batch_sizes=(8,),
    micro_batch_size=None,
    precision="float32",
)
LARGE = replace(
    TRAINING,
    model=ModelConfig.model_validate({"preset": "tsumugu-3.6b"}),
    vocab_size=51_200,
    sequence_length=4096,
    batch_sizes=(512,),
    micro_batch_size=2,
    precision="bfloat16",
)


A100 = "NVIDIA A100-SXM4-80GB"


def auto(training: Training, device: str, processes: int, per_node: int, memory: int | None = None) -> Layout:
    cluster = device_cluster(device, processes, per_node, memory=memory)
    return choose_layout(LayoutConfig(auto=True), training, cluster)[0]


def refusal(layout: dict[str, Any] | str, processes: int, **changes: Any) -> str:
    with pytest.raises(TsumuguError) as caught:
        choose_layout(
            LayoutConfig.model_validate(layout),
            replace(TRAINING, **changes),
            device_cluster("cpu", processes, processes, memory=None),
        )
    return str(caught.value)


@pytest.mark.parametrize(
    ("layout", "processes", "changes", "told"),
    [
        (
            {"tensor": 2},
            1,
            {},
            "cannot work on one process:\n  - its degrees multiply to 2, not to 1; start 2",
        ),
        ({"data_shard": 3}, 4, {}, "its degrees multiply to 3, not to 4; start 3 processes"),
        ({"data_replicate": 3}, 3, {}, "cannot be dealt to data_replicate x data_shard = 3 processes"),
        ({"tensor": 4}, 4, {}, "tensor = 4 does not divide the model's heads of keys and values (2)"),
        ({"tensor": 2}, 2, {"vocab_size": 461}, "tensor = 2 does not divide the vocabulary (461)"),
        ({"context": 3}, 3, {}, "context = 3 cuts a sequence into 6 equal pieces"),
        (
            {"context": 2, "tensor": 2},
            4,
            {"sequence_length": 68, "precision": "float8"},
            "float8 works with tensor = 1",
        ),
        ({"pipeline": 8}, 8, {}, "8 stages are more than the model's 4 layers; lower pipeline"),
        (
            {"pipeline": 4, "pipeline_schedule": "interleaved_1f1b"},
            4,
            {},
            "8 stages are more than the model's 4 layers; lower pipeline, or choose 1f1b",
        ),
        (
            {"pipeline": 2},
            4,
            {"micro_batch_size": 4},
            "needs at least as many micro-batches; a batch of 8 has 1 per process. Lower micro_batch_size",
        ),
        ({"pipeline": 2}, 4, {"batch_sizes": (2,)}, "has 1 per process. Raise global_batch_size"),
        (
            {"pipeline": 2, "pipeline_schedule": "interleaved_1f1b"},
            2,
            {"batch_sizes": (10,), "micro_batch_size": 2},
            "interleaved_1f1b needs a multiple of pipeline = 2 micro-batches; a batch of 10 has 5",
        ),
        ({}, 2, {"micro_batch_size": 8}, "micro_batch_size = 8 does not divide the 4 sequences"),
        ({}, 4, {"batch_sizes": (2, 4, 6, 8)}, "choose a batch_size_warmup.start that is a multiple of it"),
        (
            {"pipeline": 2, "pipeline_schedule": "zbv_zero_bubble"},
            2,
            {"checkpointing": "selective"},
            "choose activation_checkpointing.mode = full, or another schedule",
        ),
        (
            {"pipeline": 2, "pipeline_schedule": "interleaved_zero_bubble"},
            2,
            {"compile": True},
            "choose compile = false, or another schedule",
        ),
        ("auto", 5, {}, "auto finds nothing for 5 processes:\n  - tensor 1, pipeline 1: the batch of 8"),
    ],
)
def test_a_layout_that_cannot_work_is_refused_with_what_to_change(
    layout: dict[str, Any] | str, processes: int, changes: dict[str, Any], told: str
) -> None:
    assert told in refusal(layout, processes, **changes)


def test_all_faults_are_told_at_once_and_one_of_the_batches() -> None:
    told = refusal({"tensor": 3}, 4, batch_sizes=(2, 4, 6, 8))
    assert told.count("\n  - ") == 3
    assert refusal({}, 3, batch_sizes=(2, 4, 8)).count("dealt to") == 1


@pytest.mark.parametrize("word", ["fsdp", None, True, 2, ["tensor"]])
def test_what_is_no_layout_is_told_what_one_is(word: object) -> None:
    with pytest.raises(ValidationError, match="the word auto, or degrees such as"):
        LayoutConfig.model_validate(word)


@pytest.mark.parametrize("more", [{"tensor": 2}, {"data_shard": 1}, {"pipeline_schedule": "gpipe"}])
def test_auto_leaves_nothing_to_be_chosen(more: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="auto chooses everything"):
        LayoutConfig.model_validate({"auto": True, **more})


def test_the_word_auto_reads_back_unchanged() -> None:
    auto = LayoutConfig.model_validate("auto")
    assert LayoutConfig.model_validate(auto.model_dump()) == auto == LayoutConfig(auto=True)


@pytest.mark.parametrize(
    ("training", "machines", "degrees"),
    [
        (TRAINING, ("cpu", 1, 1), (1, 1, 1)),
        # As many sequences as processes: data parallelism alone.
        (TRAINING, ("cpu", 8, 8), (8, 1, 1)),
        # More processes than sequences: what is left shares matrices, then layers.
        (TRAINING, ("cpu", 16, 8), (8, 2, 1)),
        (replace(TRAINING, batch_sizes=(2, 8)), ("cpu", 4, 4), (2, 2, 1)),
        (replace(TRAINING, batch_sizes=(6,), micro_batch_size=1), ("cpu", 4, 4), (2, 2, 1)),
        (replace(TRAINING, vocab_size=481, batch_sizes=(6,)), ("cpu", 4, 4), (2, 1, 2)),
        (LARGE, (A100, 8, 8, 80 * 10**9), (8, 1, 1)),
        (LARGE, (A100, 64, 8, 80 * 10**9), (64, 1, 1)),
        (replace(LARGE, checkpointing="full"), (A100, 64, 8, 12 * 10**9), (64, 1, 1)),
    ],
)
def test_auto_prefers_data_parallelism(
    training: Training, machines: tuple[Any, ...], degrees: tuple[int, int, int]
) -> None:
    layout = auto(training, *machines)
    assert (layout.data, layout.tensor, layout.pipeline) == degrees


def test_auto_shards_weights_where_whole_ones_do_not_fit() -> None:
    # Weights, gradients and moments of 3.7 billion parameters are 60 GB; activations come on top.
    assert auto(LARGE, A100, 8, 8, 80 * 10**9).data_shard > 1


def test_auto_shares_matrices_or_layers_where_a_device_is_too_small() -> None:
    layout = auto(LARGE, A100, 64, 8, 12 * 10**9)
    assert layout.tensor * layout.pipeline * layout.context > 1


def test_auto_says_how_much_is_missing_where_nothing_fits() -> None:
    with pytest.raises(TsumuguError, match=r"needs \d+ GiB per device at least, of 4"):
        auto(LARGE, A100, 2, 2, 4 * 10**9)


@pytest.mark.parametrize("micro_batch_size", [None, 128])
def test_auto_takes_large_micro_batches_where_they_fit(micro_batch_size: int | None) -> None:
    training = replace(TRAINING, batch_sizes=(128,), micro_batch_size=micro_batch_size)
    cluster = device_cluster("cpu", 1, 1, memory=None)
    assert choose_layout(LayoutConfig(auto=True), training, cluster) == (Layout(), 128)


def test_auto_takes_smaller_micro_batches_where_the_whole_share_fits_nowhere() -> None:
    training = replace(LARGE, micro_batch_size=None)
    cluster = device_cluster(A100, 8, 8, memory=80 * 10**9)
    layout, micro = choose_layout(LayoutConfig(auto=True), training, cluster)
    assert 1 <= micro < 512 // layout.data


@pytest.mark.parametrize("settings", [{"optimizer": "muon"}, {"precision": "bfloat16"}])
def test_auto_knows_every_training_that_a_cpu_can_do(settings: dict[str, Any]) -> None:
    assert auto(replace(TRAINING, **settings), "cpu", 2, 2).processes == 2


def test_a_training_that_goes_on_keeps_the_layout_it_began_with(
    recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    process = Process(0, 4, 0, 4, torch.device("cpu"))
    began = stage._choose(recipe, tmp_path, 460, process)
    other = {**began, "layout": asdict(Layout(data_shard=2, pipeline=2))}
    (tmp_path / "pretrain-logs").mkdir()
    (tmp_path / "pretrain-logs" / "layout.json").write_text(json.dumps(other))
    # Without a checkpoint it begins anew; with one, what it began with counts, if it was chosen for the same.
    assert stage._choose(recipe, tmp_path, 460, process) == began
    monkeypatch.setattr(stage, "latest_checkpoint", lambda folder: folder / "step-5")
    assert stage._choose(recipe, tmp_path, 460, process) == other
    assert stage._choose(recipe, tmp_path, 460, replace(process, world_size=2, local_world_size=2)) != other
    smaller = recipe.pretrain.model_copy(update={"micro_batch_size": 1})
    chosen = stage._choose(recipe.model_copy(update={"pretrain": smaller}), tmp_path, 460, process)
    assert chosen["micro_batch_size"] == 1


def test_auto_reckons_with_the_precision_of_the_training() -> None:
    # Twice the bytes of activations: what fits in bfloat16 does not in float32.
    half = replace(LARGE, micro_batch_size=16, checkpointing="selective", compile=True)
    memory = next(gb for gb in range(20, 200) if fits(half, gb)) + 2
    assert not fits(replace(half, precision="float32"), memory)


def fits(training: Training, gigabytes: int) -> bool:
    try:
        auto(training, A100, 8, 8, gigabytes * 10**9)
    except TsumuguError:
        return False
    return True


def test_degrees_that_are_not_given_are_those_that_are_left() -> None:
    config = LayoutConfig.model_validate({"tensor": 2, "data_replicate": 2})
    assert resolve_layout(config, TRAINING, Machines(8, 8)) == Layout(
        data_replicate=2, data_shard=2, tensor=2
    )


@pytest.mark.parametrize(
    ("layout", "share", "size"),
    [
        (Layout(data_shard=2), 12, 12),
        (Layout(pipeline=2), 12, 6),
        # Three of seven sequences would leave one over.
        (Layout(pipeline=2), 7, 1),
        (Layout(pipeline=4), 4, 1),
        # Four stages, and a multiple of two micro-batches.
        (Layout(pipeline=2, pipeline_schedule="interleaved_1f1b"), 12, 3),
        (Layout(pipeline=2, pipeline_schedule="interleaved_1f1b"), 10, 1),
        (Layout(pipeline=4), 3, 1),
    ],
)
def test_a_pipeline_gets_the_largest_micro_batches_that_keep_it_busy(
    layout: Layout, share: int, size: int
) -> None:
    assert micro_batch_size(layout, TRAINING, share * layout.data) == size
