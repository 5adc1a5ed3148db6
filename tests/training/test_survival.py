"""Runs of several processes that are stopped, killed and disturbed end as those that were not.

Most of it happens in a pool of processes that start once; real deaths happen to real workers of torchrun.
"""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import killing
import pytest
import torch
from jobs import (
    BATCH,
    at_forward_pass,
    build,
    config,
    figures,
    files,
    full_disk,
    job,
    loader,
    shape,
    whole,
)
from workers import Workers

from tsumugu.engine import Resources
from tsumugu.errors import Stopped, TsumuguError
from tsumugu.files import read_json
from tsumugu.model.config import ModelConfig
from tsumugu.recipe import load_recipe
from tsumugu.training import step as steps
from tsumugu.training.checkpoint import Checkpoints, Progress
from tsumugu.training.config import OptimizerConfig, StabilityConfig
from tsumugu.training.events import read_events
from tsumugu.training.layout import Layout
from tsumugu.training.metrics import read_metrics
from tsumugu.training.optimizer import build_optimizer
from tsumugu.training.stage import pretrain_together
from tsumugu.training.step import compute_gradients, micro_batches
from tsumugu.training.trainer import train

Numbers = dict[str, str]
"""Checksums of whole tensors by name."""


def kinds(folder: Path) -> list[str]:
    return [event["event"] for event in read_events(folder / "events.jsonl")]


# A checkpoint under another layout.

SAVED_UNDER = Layout(data_shard=2, tensor=2, pipeline=2)
LOADED_UNDER = [
    SAVED_UNDER,
    Layout(data_shard=4),
    Layout(data_replicate=2, tensor=2),
    Layout(data_shard=2, context=2),
    Layout(pipeline=2, pipeline_schedule="interleaved_1f1b"),
    Layout(pipeline=2, pipeline_schedule="zbv_zero_bubble"),
    Layout(),
]
ADAMW = OptimizerConfig(learning_rate=0.01)
MODELS = {
    "tied, AdamW": (shape("llama", layers=4, num_key_value_heads=2), ADAMW),
    "untied, Muon": (
        shape(layers=4, tie_word_embeddings=False),
        OptimizerConfig(learning_rate=0.01, name="muon"),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_checkpoint_is_the_same_numbers_under_any_layout(
    workers: Workers, tmp_path: Path, name: str
) -> None:
    model, optimizer = MODELS[name]
    expected = merged(workers.run(save, 8, tmp_path, SAVED_UNDER, model, optimizer))
    assert len(list((tmp_path / "step-2").glob("*.safetensors"))) == 8
    moments = 2 if optimizer.name == "adamw" else 1
    assert sum("layers.3.mlp.up.weight " in key for key in expected) == moments + (moments == 2)
    for layout in LOADED_UNDER:
        if layout.processes == 1:
            found = merged([load(0, tmp_path, layout, model, optimizer)])
        else:
            found = merged(workers.run(load, layout.processes, tmp_path, layout, model, optimizer))
        assert found == expected, str(layout)


def prepared(layout: Layout, model: ModelConfig, optimizer: OptimizerConfig, seed: int) -> Any:
    settings = config(dropout=0.0, optimizer=optimizer)
    micro = max(1, BATCH // layout.data // layout.stages)
    built = build(model, layout, settings, micro=micro, seed=seed)
    return built, build_optimizer(built.named_parameters(), optimizer, model=model), micro


def save(rank: int, folder: Path, layout: Layout, model: ModelConfig, settings: OptimizerConfig) -> Numbers:
    """Two steps and a checkpoint; the numbers are spoiled as soon as the save has returned."""
    built, optimizer, micro = prepared(layout, model, settings, seed=0)
    share = BATCH // layout.data
    for number in range(2):
        first = number * BATCH + built.data_rank * share
        built.train()
        parts = micro_batches(loader().read([range(first, first + share)]), micro, built)
        compute_gradients(built, parts, max_grad_norm=1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    expected = numbers(built, optimizer)
    checkpoints = Checkpoints(folder, keep=1)
    checkpoints.save(built, optimizer, Progress(step=2, updates=2))
    for _, parameter in built.named_parameters():
        parameter.detach().zero_()
    checkpoints.wait()
    return expected


def load(rank: int, folder: Path, layout: Layout, model: ModelConfig, settings: OptimizerConfig) -> Numbers:
    built, optimizer, _ = prepared(layout, model, settings, seed=9)
    progress = Checkpoints(folder, keep=1).restore(built, optimizer)
    assert progress == Progress(step=2, updates=2)
    return numbers(built, optimizer)


def numbers(built: Any, optimizer: torch.optim.Optimizer) -> Numbers:
    found = {}
    for name, parameter in built.named_parameters():
        known = "embedding.weight" if built.is_copy(name) else name
        found[known] = checksum(parameter)
        found.update({f"{known} {key}": checksum(value) for key, value in optimizer.state[parameter].items()})
    return found


def checksum(tensor: torch.Tensor) -> str:
    return hashlib.sha256(whole(tensor).numpy().tobytes()).hexdigest()


def merged(states: list[Numbers]) -> Numbers:
    """Of all processes; where several have the same tensor, they have the same numbers."""
    found: Numbers = {}
    for state in states:
        for name, value in state.items():
            assert found.setdefault(name, value) == value, name
    return found


# Disturbances of a group.

LAYOUTS = [Layout(data_shard=2, tensor=2), Layout(data_replicate=2, pipeline=2)]
TWO = Layout(data_shard=2)


def run(
    rank: int,
    folder: Path,
    layout: Layout,
    *,
    kill: dict[int, tuple[str, int]] | None = None,
    sigterm: tuple[int, int] | None = None,
    full: tuple[int, int] | None = None,
    nan: tuple[int, tuple[int, ...]] | None = None,
) -> str:
    """Train; how it ended. Ranks and numbers say where something happens, and when."""
    settings = config(stability=StabilityConfig(skips_before_rewind=2, spike_sigmas=None))
    made = job(folder, settings, rank=rank, layout=layout, model=shape(layers=2))
    if kill and rank in kill:
        killing.prepare(*kill[rank])
    with ExitStack() as stack:
        if sigterm and rank == sigterm[0]:
            at_forward_pass(made, sigterm[1], lambda: signal.raise_signal(signal.SIGTERM))
        if full:
            stack.enter_context(full_disk(rank=full[0], step=full[1]))
        if nan and rank == nan[0]:
            stack.enter_context(gradients_that_are_none(nan[1]))
        try:
            return f"{train(made).updates} updates"
        except (Stopped, TsumuguError) as error:
            return f"{type(error).__name__}: {error}"


def gradients_that_are_none(calls: tuple[int, ...]) -> Any:
    """On this process alone, in these steps that it takes."""
    original, count = steps.squared_norm, 0

    def spoiled(model: Any) -> torch.Tensor:
        nonlocal count
        count += 1
        return original(model) * (float("nan") if count in calls else 1)

    patch = pytest.MonkeyPatch.context()
    stack = ExitStack()
    stack.enter_context(patch).setattr(steps, "squared_norm", spoiled)
    return stack


class Disturbed:
    """`run` with its keywords, which the pool does not pass on."""

    def __init__(self, **trouble: Any) -> None:
        self.trouble = trouble

    def __call__(self, rank: int, folder: Path, layout: Layout) -> str:
        return run(rank, folder, layout, **self.trouble)


@pytest.fixture(scope="module")
def undisturbed(workers: Workers, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Folders of runs that nothing happened to, by layout."""
    found = {}
    for layout in [*LAYOUTS, TWO]:
        found[str(layout)] = tmp_path_factory.mktemp("undisturbed")
        ended = workers.run(Disturbed(), layout.processes, found[str(layout)], layout)
        assert ended == ["12 updates"] * layout.processes
    return found


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def assert_equal(folder: Path, undisturbed: Path, *, last: str = "step-12") -> None:
    assert files(folder / "checkpoints" / last) == files(undisturbed / "checkpoints" / last)
    assert figures(folder) == figures(undisturbed)


KILLS: list[dict[int, tuple[str, int]]] = [
    {0: ("kill in step", 7)},
    {1: ("kill in step", 6)},
    {0: ("kill in step", 9), 1: ("kill in step", 9)},
    {1: ("kill while writing", 2)},
    {0: ("kill while writing", 1), 1: ("kill while writing", 1)},
    {0: ("kill when all have written", 2)},
    {0: ("kill before the name is given", 2)},
    {0: ("kill before the old ones go", 3)},
]


@pytest.mark.parametrize("kill", KILLS, ids=str)
def test_killed_anywhere_they_go_on_to_the_same_bits(
    workers: Workers, tmp_path: Path, undisturbed: dict[str, Path], kill: dict[int, tuple[str, int]]
) -> None:
    with Workers(2) as doomed, pytest.raises((EOFError, RuntimeError)):
        doomed.run(Disturbed(kill=kill), 2, tmp_path, TWO)
    assert workers.run(Disturbed(), 2, tmp_path, TWO) == ["12 updates"] * 2
    assert_equal(tmp_path, undisturbed[str(TWO)])
    assert names(tmp_path / "checkpoints") == ["step-12", "step-8"]


@pytest.mark.parametrize("layout", LAYOUTS, ids=str)
@pytest.mark.parametrize(("rank", "number"), [(3, 7), (0, 13)])
def test_sigterm_to_one_process_stops_all_and_they_go_on_to_the_same_bits(
    workers: Workers, tmp_path: Path, undisturbed: dict[str, Path], layout: Layout, rank: int, number: int
) -> None:
    ended = workers.run(Disturbed(sigterm=(rank, number)), 4, tmp_path, layout)
    assert len(set(ended)) == 1
    assert ended[0].startswith("Stopped: pretrain: asked to stop after step ")
    assert "step-12" not in names(tmp_path / "checkpoints")
    assert workers.run(Disturbed(), 4, tmp_path, layout) == ["12 updates"] * 4
    assert_equal(tmp_path, undisturbed[str(layout)])
    assert kinds(tmp_path) == ["started", "stopped", "resumed"]


@pytest.mark.parametrize("rank", [0, 2])
def test_a_full_disk_of_one_process_ends_all_with_the_same_words(
    workers: Workers, tmp_path: Path, undisturbed: dict[str, Path], rank: int
) -> None:
    layout = LAYOUTS[0]
    ended = workers.run(Disturbed(full=(rank, 8)), 4, tmp_path, layout)
    assert len(set(ended)) == 1
    folder = tmp_path / "checkpoints"
    assert ended[0].startswith(
        f"TsumuguError: pretrain: no checkpoint can be written below {folder}: [Errno 28]"
    )
    assert f"No space left on device: '{folder}/.step-8." in ended[0]
    assert f"shard-{rank:05d}.safetensors'" in ended[0]
    assert names(folder) == ["step-4"]
    workers.run(Disturbed(), 4, tmp_path, layout)
    assert_equal(tmp_path, undisturbed[str(layout)])


def test_a_damaged_share_is_noticed_by_all(
    workers: Workers, tmp_path: Path, undisturbed: dict[str, Path]
) -> None:
    layout = LAYOUTS[1]
    folder = tmp_path / "run"
    shutil.copytree(undisturbed[str(layout)], folder)
    path = folder / "checkpoints" / "step-12" / "shard-00001.safetensors"
    content = bytearray(path.read_bytes())
    content[-3] ^= 16
    path.write_bytes(content)
    workers.run(Disturbed(), 4, folder, layout)
    assert_equal(folder, undisturbed[str(layout)])
    assert kinds(folder) == ["started", "damaged", "resumed"]
    for checkpoint in (folder / "checkpoints").iterdir():
        os.truncate(checkpoint / "shard-00002.safetensors", 99)
    ended = workers.run(Disturbed(), 4, folder, layout)
    assert len(set(ended)) == 1
    assert "no checkpoint below" in ended[0]


def test_a_gradient_that_is_no_number_on_one_process_is_one_on_all(workers: Workers, tmp_path: Path) -> None:
    layout = LAYOUTS[0]
    # Step 6 is left out; steps 8 and 9 are too, and training goes back to step 8.
    trouble = Disturbed(nan=(3, (6, 9, 10)))
    assert workers.run(trouble, 4, tmp_path, layout) == ["11 updates"] * 4
    events = [(event["event"], event["step"]) for event in read_events(tmp_path / "events.jsonl")]
    assert events == [("started", 0), ("skipped", 6), ("skipped", 9), ("rewound", 10)]
    rows = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "samples" in row]
    assert [row["samples"] // BATCH for row in rows] == [*range(1, 9), *range(11, 15)]


# Real workers of torchrun, and the real command.


def small_run(finished: Path, folder: Path) -> Path:
    """A run folder in which only the training is left to do."""
    kept = shutil.ignore_patterns("pretrain*", "evaluate*", "release*", "report*")
    return Path(shutil.copytree(finished, folder, ignore=kept))


def command(plan: dict[str, Any], recipe: Path, folder: Path, *, torchrun: int = 0) -> list[str]:
    program = [str(Path(__file__).with_name("killing.py")), json.dumps(plan)]
    given = ["pretrain", str(recipe), "--run-folder", str(folder)]
    if not torchrun:
        return [sys.executable, *program, *given]
    launcher = ["--standalone", "--max-restarts", "4", "--nproc-per-node", str(torchrun)]
    return [sys.executable, "-m", "torch.distributed.run", *launcher, *program, *given, *WORDS]


WORDS = ["pretrain.layout.data_shard=2", "pretrain.tracking=[]"]


def finish(rank: int, recipe: Path, folder: Path, words: list[str]) -> None:
    """The pretrain stage, in the pool's group of two."""
    given = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": 2, "LOCAL_WORLD_SIZE": 2}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in given.items():
            patch.setenv(name, str(value))
        pretrain_together(load_recipe(recipe, words), folder, resources=Resources(1))


def test_whoever_dies_and_whenever_torchrun_goes_on_to_the_same_bits(
    workers: Workers, tmp_path: Path, finished_run: Path, recipe_path: Path
) -> None:
    plan = {
        "0/1": ["kill in step", 7],
        "1/1": ["error in step", 7],
        "2/0": ["SIGTERM torchrun in step", 3],
    }
    folder = small_run(finished_run, tmp_path / "killed")
    ended = subprocess.run(
        command(plan, recipe_path, folder, torchrun=2), capture_output=True, text=True, timeout=200
    )
    assert ended.stderr.count("error: process 1: [Errno 5] Input/output error: '/somewhere/tokens.npy'") == 1
    assert ended.stderr.count("pretrain: asked to stop after step") == 1
    partial = folder / "pretrain.partial"
    assert kinds(partial) == ["started", "resumed", "resumed", "stopped"]
    workers.run(finish, 2, recipe_path, folder, WORDS)

    other = small_run(finished_run, tmp_path / "undisturbed")
    workers.run(finish, 2, recipe_path, other, WORDS)
    assert_equal(folder / "pretrain", other / "pretrain", last="step-40")
    assert not list(folder.rglob("*.tmp"))
    # What one process computes, but for rounding and dropout.
    alone = read_json(finished_run / "pretrain" / "manifest.json")["counts"]
    found = read_json(folder / "pretrain" / "manifest.json")["counts"]
    assert found["processes"] == 2
    assert found["validation_loss"] == pytest.approx(alone["validation_loss"], rel=0.05)


def test_sigterm_ends_the_command_with_143_and_another_number_of_processes_goes_on(
    workers: Workers, tmp_path: Path, finished_run: Path, recipe_path: Path
) -> None:
    folder = small_run(finished_run, tmp_path / "run")
    ended = subprocess.run(
        command({"0/0": ["SIGTERM in step", 7]}, recipe_path, folder),
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert ended.returncode == 143
    assert ended.stderr.splitlines()[-1] == (
        "pretrain: asked to stop after step 7; the checkpoint is written, and the same command goes on "
        "from it"
    )
    assert "error" not in ended.stderr
    assert "Traceback" not in ended.stderr
    workers.run(finish, 2, recipe_path, folder, WORDS)
    rows = [row for row in read_metrics(folder / "pretrain" / "metrics.jsonl") if "loss" in row]
    assert [row["step"] for row in rows] == list(range(1, 41))
    one = read_metrics(finished_run / "pretrain" / "metrics.jsonl")
    assert [row["loss"] for row in rows[:7]] == [row["loss"] for row in one if "loss" in row][:7]


def test_what_all_processes_find_wrong_is_told_once(
    tmp_path: Path, finished_run: Path, recipe_path: Path
) -> None:
    folder = small_run(finished_run, tmp_path / "run")
    words = command({}, recipe_path, folder, torchrun=2)
    words = ["0" if word == "4" else word for word in words]
    ended = subprocess.run([*words, "pretrain.layout.tensor=3"], capture_output=True, text=True, timeout=100)
    assert ended.returncode == 1
    assert (
        ended.stderr.count("error: pretrain.layout: data_shard 2 x tensor 3 cannot work on 2 processes") == 1
    )
    assert ended.stderr.count("cannot work") == 1
    # The only traceback is torchrun's own.
    assert ended.stderr.count("Traceback") == 1
