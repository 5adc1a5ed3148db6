"""A model answers tasks while it is trained: the same scores in every layout, and no memory left behind."""

import gc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from workers import Workers

from tsumugu.engine import Resources
from tsumugu.evaluation.examining import examiner
from tsumugu.pipeline import run_stages
from tsumugu.recipe import Recipe, load_recipe
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.training.config import TaskEvaluationConfig
from tsumugu.training.layout import Layout
from tsumugu.training.metrics import read_metrics
from tsumugu.training.parallelize import Settings, build_model
from tsumugu.training.processes import build_mesh

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def workers() -> Iterator[Workers]:
    with Workers(2) as found:
        yield found


def examined(rank: int, run: Path, layout: Layout) -> tuple[dict[str, float], int]:
    """Scores of a model with its first weights, and the bytes of tensors that are left."""
    recipe, encoder = load_recipe(run / "recipe.yaml"), load_encoder(run / "tokenizer")
    model = build_model(
        recipe.model,
        encoder.vocab_size,
        layout=layout,
        mesh=build_mesh(layout, CPU) if layout.processes > 1 else None,
        device=CPU,
        settings=Settings(seed=3),
    )
    ask = examiner(TaskEvaluationConfig(every=1, limit=40), encoder, sequence_length=128, dtype=torch.float32)
    numbers = torch.random.get_rng_state()
    before = tensor_bytes()
    scores = ask(model)
    assert torch.equal(torch.random.get_rng_state(), numbers), "training would draw other numbers"
    return scores, tensor_bytes() - before


def tensor_bytes() -> int:
    gc.collect()
    found = (one for one in gc.get_objects() if issubclass(type(one), torch.Tensor))
    return sum(one.numel() * one.element_size() for one in found if one.device.type != "meta")


@pytest.mark.parametrize("layout", [Layout(data_shard=2), Layout(pipeline=2), Layout(tensor=2)], ids=str)
def test_every_layout_gets_the_scores_of_one_process(
    workers: Workers, finished_run: Path, layout: Layout
) -> None:
    alone, left = examined(0, finished_run, Layout())
    assert set(alone) == {"kotowari/acc", "kotowari/acc_norm"}
    assert left == 0
    (scores, left), (others, other_left) = workers.run(examined, 2, finished_run, layout)
    assert scores == alone
    assert others == {}
    assert left == other_left == 0


def test_a_run_that_is_examined_ends_with_the_same_weights(
    finished_run: Path, recipe: Recipe, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    for stage in ("corpus", "tokenizer", "tokens"):
        (folder / stage).parent.mkdir(exist_ok=True)
        (folder / stage).symlink_to(finished_run / stage)
    watched: Any = recipe.pretrain.model_copy(update={"evaluation": TaskEvaluationConfig(every=20, limit=8)})
    run_stages(
        recipe.model_copy(update={"pretrain": watched}),
        folder,
        last="pretrain",
        resources=Resources(1),
        say=lambda text: None,
    )
    rows = read_metrics(folder / "pretrain" / "metrics.jsonl")
    assert [row["step"] for row in rows if "kotowari/acc" in row] == [20, 40]
    one, other = (
        next((run / "pretrain" / "checkpoints" / "step-40").glob("*.safetensors")).read_bytes()
        for run in (finished_run, folder)
    )
    assert one == other
