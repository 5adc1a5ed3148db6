"""Every layout computes what one process computes: losses and gradient norms of twenty steps."""

import functools
from typing import Any

import numpy as np
import pytest
import torch
from workers import Workers

from tsumugu.model.config import ModelConfig
from tsumugu.tokens.loader import Batch
from tsumugu.training.blocks import prepare_blocks
from tsumugu.training.config import ActivationCheckpointingConfig, OptimizerConfig, PretrainConfig
from tsumugu.training.layout import Layout
from tsumugu.training.optimizer import build_optimizer
from tsumugu.training.parallelize import ParallelModel, Settings, build_model
from tsumugu.training.processes import build_mesh
from tsumugu.training.step import compute_gradients, mean_loss, micro_batches
from tsumugu.training.whole import whole_decoder

VOCABULARY, LENGTH, BATCH, MICRO, STEPS = 64, 32, 16, 4, 20
TOLERANCE = 1e-5
"""Relative, in float32."""

Curve = list[tuple[float, float]]
"""Loss and gradient norm of every step; at the end the loss without dropout and gradients."""


def config(architecture: str, *, layers: int = 2, **more: Any) -> ModelConfig:
    shape = {"num_hidden_layers": layers, "hidden_size": 32, "num_attention_heads": 4}
    return ModelConfig.model_validate({"architecture": architecture, **shape, **more})


MODELS = {
    "gpt2": config("gpt2", max_position_embeddings=LENGTH),
    "gpt-neox": config("gpt-neox"),
    "gpt-neox, parallel residual": config("gpt-neox", parallel_residual=True),
    "llama": config("llama", num_key_value_heads=2, qk_norm=True),
    "gpt-neox, muP": config("gpt-neox", mup_base_width=16),
    "llama, untied": config("llama", tie_word_embeddings=False),
    # For several layers in a stage, and for several stages in a process.
    "gpt-neox, four layers": config("gpt-neox", layers=4),
    "gpt-neox, five layers": config("gpt-neox", layers=5),
    "llama, four layers": config("llama", layers=4, num_key_value_heads=2, qk_norm=True),
    "llama, untied, four layers": config("llama", layers=4, tie_word_embeddings=False),
    "gpt-neox, odd sizes": config("gpt-neox", hidden_size=20, num_attention_heads=2, intermediate_size=70),
}
ALONE = [
    ("gpt-neox", Layout(data_shard=2)),
    ("gpt-neox", Layout(data_replicate=2)),
    ("gpt-neox", Layout(tensor=2)),
    ("gpt-neox", Layout(context=2)),
    ("gpt-neox, four layers", Layout(pipeline=2)),
    ("gpt-neox, four layers", Layout(pipeline=2, pipeline_schedule="gpipe")),
    ("gpt-neox, four layers", Layout(pipeline=2, pipeline_schedule="interleaved_1f1b")),
    ("gpt-neox, four layers", Layout(pipeline=2, pipeline_schedule="interleaved_zero_bubble")),
    ("gpt-neox, four layers", Layout(pipeline=2, pipeline_schedule="zbv_zero_bubble")),
]
FAMILIES = [
    (name, layout)
    for name in ("gpt2", "gpt-neox, parallel residual", "llama", "llama, untied")
    for layout in (Layout(tensor=2), Layout(pipeline=2))
] + [("gpt2", Layout(context=2)), ("llama", Layout(context=2))]
TOGETHER = [
    ("gpt-neox", Layout(data_replicate=2, data_shard=2)),
    ("gpt-neox", Layout(data_shard=2, tensor=2)),
    ("gpt-neox, four layers", Layout(data_shard=2, pipeline=2)),
    ("gpt-neox", Layout(data_shard=2, context=2)),
    ("gpt-neox", Layout(tensor=2, pipeline=2)),
    ("gpt-neox", Layout(tensor=2, context=2)),
    ("gpt-neox", Layout(pipeline=2, context=2)),
    ("gpt-neox, four layers", Layout(data_shard=2, pipeline=2, pipeline_schedule="interleaved_1f1b")),
    ("gpt-neox", Layout(data_shard=2, tensor=2, pipeline=2)),
    ("gpt2", Layout(data_shard=2, tensor=2, pipeline=2)),
    ("llama", Layout(data_shard=2, tensor=2, pipeline=2)),
    ("gpt-neox, muP", Layout(data_shard=2, tensor=2, pipeline=2)),
    (
        "llama, four layers",
        Layout(data_replicate=2, tensor=2, pipeline=2, pipeline_schedule="zbv_zero_bubble"),
    ),
    ("gpt-neox", Layout(data_replicate=2, data_shard=2, context=2)),
]
# What does not divide: layers by stages, rows by processes; fewer rows than processes.
UNEVEN = [
    ("gpt-neox, five layers", Layout(pipeline=3)),
    ("gpt-neox, five layers", Layout(pipeline=2, pipeline_schedule="zbv_zero_bubble")),
    ("gpt-neox, odd sizes", Layout(data_shard=4, tensor=2)),
    ("gpt-neox, odd sizes", Layout(data_shard=8)),
    ("gpt-neox", Layout(context=4)),
    (
        "llama, untied, four layers",
        Layout(data_replicate=2, context=2, pipeline=2, pipeline_schedule="zbv_zero_bubble"),
    ),
]


@pytest.mark.parametrize(("name", "layout"), [*ALONE, *FAMILIES, *TOGETHER], ids=str)
def test_a_layout_computes_what_one_process_computes(workers: Workers, name: str, layout: Layout) -> None:
    curves = workers.run(curve, layout.processes, name, layout, "plain")
    assert all(other == curves[0] for other in curves), "the processes disagree about the figures"
    np.testing.assert_allclose(curves[0], single(name), rtol=TOLERANCE)


@pytest.mark.parametrize(("name", "layout"), UNEVEN, ids=str)
def test_what_does_not_divide_is_computed_all_the_same(workers: Workers, name: str, layout: Layout) -> None:
    found = workers.run(curve, layout.processes, name, layout, "plain", "none", False, FEW)[0]
    expected = curve(0, name, Layout(), "plain", "none", False, FEW)
    np.testing.assert_allclose(found, expected, rtol=TOLERANCE)


@pytest.mark.parametrize("kind", ["documents", "padded"])
@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("gpt2", Layout(data_shard=2, context=2)),
        ("llama", Layout(tensor=2, pipeline=2)),
        ("gpt-neox", Layout(context=2, pipeline=2)),
    ],
    ids=str,
)
def test_boundaries_and_padding_are_the_same_in_every_layout(
    workers: Workers, name: str, layout: Layout, kind: str
) -> None:
    found = workers.run(curve, layout.processes, name, layout, kind, "none", False, FEW)[0]
    np.testing.assert_allclose(found, curve(0, name, Layout(), kind, "none", False, FEW), rtol=TOLERANCE)


@pytest.mark.parametrize(
    ("mode", "compiled", "name", "layout"),
    [
        ("selective", False, "gpt-neox", Layout(data_shard=2, tensor=2, pipeline=2)),
        ("full", False, "gpt-neox", Layout(data_shard=2, tensor=2, pipeline=2)),
        ("full", False, "gpt-neox, four layers", Layout(pipeline=2, pipeline_schedule="zbv_zero_bubble")),
        ("selective", False, "gpt-neox", Layout(data_shard=2, context=2)),
        ("selective", True, "gpt-neox", Layout(tensor=2)),
        ("full", True, "gpt-neox", Layout(tensor=2)),
    ],
    ids=str,
)
def test_checkpointing_and_compilation_change_nothing(
    workers: Workers, mode: Any, compiled: bool, name: str, layout: Layout
) -> None:
    found = workers.run(curve, layout.processes, name, layout, "plain", mode, compiled, FEW)[0]
    np.testing.assert_allclose(found[:5], single(name)[:5], rtol=TOLERANCE)


@pytest.mark.parametrize("schedule", ["1f1b", "interleaved_1f1b"])
def test_batches_of_changing_size_go_through_a_pipeline(workers: Workers, schedule: Any) -> None:
    # A batch size that warms up, and a rewind to where it was smaller.
    sizes = (BATCH, BATCH // 2, BATCH)
    layout = Layout(pipeline=2, pipeline_schedule=schedule)
    arguments = ("gpt-neox, four layers", layout, "plain", "none", False, sizes)
    expected = curve(0, "gpt-neox, four layers", Layout(), *arguments[2:])
    np.testing.assert_allclose(workers.run(curve, 2, *arguments)[0], expected, rtol=TOLERANCE)


@pytest.mark.parametrize("layout", [Layout(data_shard=2), Layout(data_shard=2, pipeline=2)], ids=str)
def test_a_loss_without_gradients_leaves_the_parameters_that_the_optimizer_knows(
    workers: Workers, layout: Layout
) -> None:
    assert workers.run(lost_parameters, layout.processes, layout) == [[]] * layout.processes


def lost_parameters(rank: int, layout: Layout) -> list[str]:
    """Names of parameters that are others after a validation."""
    model = trainee("gpt2", layout, PretrainConfig(**RECIPE))
    before = dict(model.named_parameters())
    rows = BATCH // layout.data
    mine = slice(model.data_rank * rows, (model.data_rank + 1) * rows)
    mean_loss(model, micro_batches(batch(0, "plain", mine), MICRO, model))
    return [name for name, parameter in model.named_parameters() if parameter is not before[name]]


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("gpt2", Layout(data_shard=2, tensor=2, pipeline=2)),
        (
            "llama, untied, four layers",
            Layout(data_replicate=2, context=2, pipeline=2, pipeline_schedule="zbv_zero_bubble"),
        ),
        ("gpt-neox, odd sizes", Layout(data_shard=4, tensor=2)),
    ],
    ids=str,
)
def test_the_whole_model_is_what_one_process_has(workers: Workers, name: str, layout: Layout) -> None:
    alone = dict(trainee(name, Layout(), PretrainConfig(**RECIPE)).named_parameters())
    for found in workers.run(gathered, layout.processes, name, layout):
        assert list(found) == list(alone)
        for parameter, value in found.items():
            np.testing.assert_array_equal(value, alone[parameter].detach().numpy())


def gathered(rank: int, name: str, layout: Layout) -> dict[str, Any]:
    """All weights of the whole model, on this process."""
    whole = whole_decoder(trainee(name, layout, PretrainConfig(**RECIPE)), dtype=torch.float32)
    if whole.config.tie_word_embeddings:
        assert whole.head is not None
        assert whole.embedding is not None
        assert whole.head.weight is whole.embedding.weight
    assert not whole.training
    return {key: value.detach().numpy() for key, value in whole.named_parameters()}


def test_clipping_was_at_work() -> None:
    assert all(norm > 2 * MAX_GRAD_NORM for _, norm in single("gpt-neox")[:5])


MAX_GRAD_NORM = 0.4
FEW = (BATCH,) * 5


@functools.cache
def single(name: str) -> Curve:
    return curve(0, name, Layout(), "plain")


RECIPE: dict[str, Any] = {
    "steps": STEPS,
    "global_batch_size": BATCH,
    "sequence_length": LENGTH,
    # Adam divides by the size of the gradient; where that is rounding alone, eps keeps it small.
    "optimizer": OptimizerConfig(learning_rate=1e-3, eps=1e-6),
}


def trainee(name: str, layout: Layout, recipe: PretrainConfig) -> ParallelModel:
    """The part of a model that a process of `layout` has."""
    device = torch.device("cpu")
    return build_model(
        MODELS[name],
        VOCABULARY,
        layout=layout,
        mesh=build_mesh(layout, device) if layout.processes > 1 else None,
        device=device,
        settings=Settings(
            seed=3, z_loss=1e-3, prepare_blocks=functools.partial(prepare_blocks, config=recipe)
        ),
        micro_batch=(MICRO, LENGTH // layout.context),
    )


def curve(
    rank: int,
    name: str,
    layout: Layout,
    kind: str,
    mode: Any = "none",
    compiled: bool = False,
    batch_sizes: tuple[int, ...] = (BATCH,) * STEPS,
) -> Curve:
    """Train, as one of the processes of `layout`."""
    recipe = PretrainConfig(
        **RECIPE,
        compile=compiled,
        activation_checkpointing=ActivationCheckpointingConfig(mode=mode),
    )
    model = trainee(name, layout, recipe)
    optimizer = build_optimizer(model.named_parameters(), recipe.optimizer, model=MODELS[name])
    rows = BATCH // layout.data
    # A pipeline needs as many micro-batches as it has stages; elsewhere two show that they add up.
    size = min(MICRO, rows) if layout.pipeline > 1 else max(1, rows // 2)
    found = []
    for step, sequences in enumerate(batch_sizes):
        rows = sequences // layout.data
        mine = slice(model.data_rank * rows, (model.data_rank + 1) * rows)
        parts = micro_batches(batch(step, kind, mine), size, model)
        model.train()
        result = compute_gradients(model, parts, max_grad_norm=MAX_GRAD_NORM)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        found.append((result.loss, result.grad_norm))
    model.eval()
    return [*found, (mean_loss(model, parts).loss, 0.0)]


def batch(step: int, kind: str, rows: slice) -> Batch:
    """Rows of a batch that can be learned: counting in sevens, disturbed a little."""
    noise = np.random.default_rng(step).integers(0, 5, (BATCH, LENGTH + 1))
    tokens = (np.arange(BATCH * (LENGTH + 1)).reshape(BATCH, LENGTH + 1) * 7 + noise) % VOCABULARY
    mask = cu_seqlens = positions = None
    if kind == "padded":
        mask = np.arange(LENGTH) < LENGTH - np.arange(BATCH)[:, None]
        mask = mask[rows]
    if kind == "documents":
        begins = [[0, 5 + row % 7, 20] for row in range(BATCH)][rows]
        positions = np.zeros((len(begins), LENGTH), dtype=np.int64)
        for row, starts in enumerate(begins):
            for start in starts:
                positions[row, start:] = np.arange(LENGTH - start)
        flat = [row * LENGTH + start for row, starts in enumerate(begins) for start in starts]
        cu_seqlens = np.array([*flat, len(begins) * LENGTH], dtype=np.int32)
    return Batch(tokens[rows].astype(np.int64), mask, cu_seqlens, positions)
