"""A checkpoint is whole or absent, stays what it was, and says so when it is not."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from jobs import (
    MODEL,
    VOCABULARY,
    assert_same,
    at_forward_pass,
    build,
    config,
    files,
    full_disk,
    job,
    weights,
)
from torch import Tensor

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json
from tsumugu.model.decoder import Decoder
from tsumugu.training.checkpoint import Checkpoints, Progress, latest_checkpoint, load_weights
from tsumugu.training.checkpoint_files import ShardWriter
from tsumugu.training.events import read_events
from tsumugu.training.layout import Layout
from tsumugu.training.optimizer import build_optimizer
from tsumugu.training.parallelize import ParallelModel
from tsumugu.training.trainer import train


def made(seed: int = 0) -> tuple[ParallelModel, torch.optim.Optimizer]:
    """A model and an optimizer that has taken a step."""
    model = build(MODEL, Layout(), config(dropout=0.0), micro=2, seed=seed)
    optimizer = build_optimizer(model.named_parameters(), config().optimizer, model=MODEL)
    torch.manual_seed(seed)
    model.parts[0](torch.randint(0, VOCABULARY, (2, 8))).sum().backward()
    optimizer.step()
    return model, optimizer


def saved(folder: Path, *steps: int, keep: int = 9) -> Checkpoints:
    checkpoints = Checkpoints(folder, keep=keep)
    for step in steps:
        checkpoints.save(*made(step), Progress(step=step, updates=step))
    checkpoints.wait()
    return checkpoints


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def moments(model: ParallelModel, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    return {
        f"{name} {key}": value.clone()
        for name, parameter in model.named_parameters()
        for key, value in optimizer.state[parameter].items()
    }


def test_a_checkpoint_restores_weights_moments_and_counters(tmp_path: Path) -> None:
    model, optimizer = made()
    progress = Progress(step=9, updates=1, samples=70, tokens=800, guard={"losses": [0.1, 1 / 3]})
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(model, optimizer, progress)
    checkpoints.wait()
    other, other_optimizer = made(5)
    assert Checkpoints(tmp_path, keep=1).restore(other, other_optimizer) == progress
    assert_same(weights(other), weights(model))
    assert_same(moments(other, other_optimizer), moments(model, optimizer))
    decoder = Decoder(MODEL, VOCABULARY)
    load_weights(tmp_path / "step-9", decoder)
    assert_same(dict(decoder.named_parameters()), weights(model))


def test_what_is_saved_is_what_was_there_when_save_returned(tmp_path: Path) -> None:
    model, optimizer = made()
    expected = weights(model) | moments(model, optimizer)
    checkpoints = Checkpoints(tmp_path, keep=1)
    checkpoints.save(model, optimizer, Progress(step=1, updates=1))
    for parameter in model.parts[0].parameters():
        parameter.data.zero_()
        optimizer.state[parameter]["exp_avg"].zero_()
    checkpoints.restore(model, optimizer)
    assert_same(weights(model) | moments(model, optimizer), expected)


def test_the_same_numbers_are_the_same_bytes(tmp_path: Path) -> None:
    for name in "ab":
        saved(tmp_path / name, 4)
    assert files(tmp_path / "a") == files(tmp_path / "b")
    assert names(tmp_path / "a" / "step-4") == ["shard-00000.safetensors", "state.json"]


def test_half_written_checkpoints_are_not_found_and_are_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".step-7.123.tmp").mkdir()
    assert latest_checkpoint(tmp_path) is None
    assert Checkpoints(tmp_path, keep=2).restore(*made()) is None
    assert names(tmp_path) == []


def test_the_newest_ones_stay(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3, 10, 11, keep=2)
    assert names(tmp_path) == ["step-10", "step-11"]


def test_a_kill_between_two_removals_is_made_good_on_the_next_start(tmp_path: Path) -> None:
    saved(tmp_path, 1, 2, 3)
    Checkpoints(tmp_path, keep=2).restore(*made())
    assert names(tmp_path) == ["step-2", "step-3"]


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) * 2 // 3] ^= 4
    path.write_bytes(content)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size * 2 // 3)


def empty(path: Path) -> None:
    path.write_bytes(b"")


def turn_into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES: list[Callable[[Path], None]] = [flip, truncate, empty, Path.unlink, turn_into_folder]


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ["shard-00000.safetensors", "state.json"])
def test_a_damaged_checkpoint_is_noticed_and_the_one_before_it_used(
    tmp_path: Path, name: str, damage: Callable[[Path], None]
) -> None:
    saved(tmp_path, 4, 8, 12)
    damage(tmp_path / "step-12" / name)
    model, optimizer = made(1)
    checkpoints = Checkpoints(tmp_path, keep=2)
    progress = checkpoints.restore(model, optimizer)
    assert progress is not None
    assert progress.step == 8
    assert_same(weights(model), weights(made(8)[0]))
    assert [str(tmp_path / "step-12" / name) in told for told in checkpoints.damages] == [True]
    # It stays until there is a better one, which takes its place, and does not count as one that is kept.
    assert names(tmp_path) == ["step-12", "step-4", "step-8"]
    checkpoints.save(model, optimizer, Progress(step=10, updates=1))
    checkpoints.wait()
    assert names(tmp_path) == ["step-10", "step-8"]


@pytest.mark.parametrize("position", range(0, 100, 9))
def test_any_flipped_bit_of_the_state_is_noticed(tmp_path: Path, position: int) -> None:
    saved(tmp_path, 4)
    path = tmp_path / "step-4" / "state.json"
    content = bytearray(path.read_bytes())
    # White space says nothing.
    places = [place for place, byte in enumerate(content) if not chr(byte).isspace()]
    content[places[len(places) * position // 100]] ^= 1
    path.write_bytes(content)
    with pytest.raises(TsumuguError, match=r"no checkpoint below .* can be used: .*state.json"):
        Checkpoints(tmp_path, keep=1).restore(*made())


def test_if_all_are_damaged_it_says_so_and_what_to_do(tmp_path: Path) -> None:
    saved(tmp_path, 4, 8)
    flip(tmp_path / "step-4" / "shard-00000.safetensors")
    truncate(tmp_path / "step-8" / "shard-00000.safetensors")
    with pytest.raises(TsumuguError) as caught:
        Checkpoints(tmp_path, keep=2).restore(*made())
    told = str(caught.value)
    assert "step-4/shard-00000.safetensors is not what was written" in told
    left = (tmp_path / "step-8" / "shard-00000.safetensors").stat().st_size
    assert f"step-8/shard-00000.safetensors has {left} bytes of " in told
    assert "Restore one from a copy, or delete them to begin again" in told
    assert names(tmp_path) == ["step-4", "step-8"]
    with pytest.raises(TsumuguError, match=r"delete .* to train again"):
        load_weights(tmp_path / "step-8", Decoder(MODEL, VOCABULARY))


def test_a_run_over_a_damaged_checkpoint_ends_as_if_there_were_none(tmp_path: Path) -> None:
    whole, damaged = job(tmp_path / "whole"), tmp_path / "damaged"
    train(whole)
    train(job(damaged, config(steps=12)))
    flip(damaged / "checkpoints" / "step-12" / "shard-00000.safetensors")
    again = job(damaged)
    train(again)
    assert_same(weights(again.model), weights(whole.model))
    assert files(damaged / "checkpoints") == files(tmp_path / "whole" / "checkpoints")
    told = read_events(damaged / "events.jsonl")[1]
    assert told["event"] == "damaged"
    assert "step-12/shard-00000.safetensors is not what was written" in told["reason"]


def test_a_full_disk_is_named_leaves_nothing_and_the_next_run_goes_on(tmp_path: Path) -> None:
    whole = job(tmp_path / "whole")
    train(whole)
    folder = tmp_path / "full" / "checkpoints"
    with full_disk(step=8), pytest.raises(TsumuguError) as caught:
        train(job(tmp_path / "full"))
    told = str(caught.value)
    assert told.startswith(f"pretrain: no checkpoint can be written below {folder}: ")
    assert f"No space left on device: '{folder}/.step-8.{os.getpid()}.tmp/shard-00000.safetensors'" in told
    assert names(folder) == ["step-4"]
    resumed = job(tmp_path / "full")
    train(resumed)
    assert_same(weights(resumed.model), weights(whole.model))
    assert files(folder) == files(tmp_path / "whole" / "checkpoints")


def test_a_save_that_fails_ends_the_training_soon(tmp_path: Path) -> None:
    with full_disk(step=500), pytest.raises(TsumuguError, match="No space left"):
        train(job(tmp_path, config(steps=2000, checkpoint_every=500)))
    steps = [line for line in (tmp_path / "metrics.jsonl").read_text().splitlines() if '"loss"' in line]
    assert 500 <= len(steps) < 900


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_no_number_reaches_no_checkpoint(tmp_path: Path, value: float) -> None:
    made = job(tmp_path, config(steps=8, checkpoint_every=7, validation_every=7))
    bias = dict(made.model.named_parameters())["norm.bias"]

    def spoil() -> None:
        bias.data[3] = value

    # In the validation, where nothing else would notice.
    at_forward_pass(made, 8, spoil)
    with pytest.raises(
        TsumuguError, match="1 tensors of weights or moments hold numbers that are not finite"
    ):
        train(made)
    assert names(tmp_path / "checkpoints") == []


def test_a_write_that_fails_in_the_middle_of_publishing_leaves_the_earlier_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoints = saved(tmp_path, 4)
    before = files(tmp_path)

    def fail(self: ShardWriter, metadata: Any, results: Any) -> None:
        raise PermissionError(13, "Permission denied", "state.json")

    monkeypatch.setattr(ShardWriter, "finish", fail)
    checkpoints.save(*made(8), Progress(step=8, updates=8))
    with pytest.raises(TsumuguError, match="Permission denied: 'state.json'"):
        checkpoints.wait()
    assert files(tmp_path) == before


def test_no_warning_comes_with_one_process(tmp_path: Path, recwarn: pytest.WarningsRecorder) -> None:
    saved(tmp_path, 4).restore(*made())
    load_weights(tmp_path / "step-4", Decoder(MODEL, VOCABULARY))
    assert [str(warning.message) for warning in recwarn] == []


def test_the_state_is_plain_json(tmp_path: Path) -> None:
    saved(tmp_path, 4)
    state = read_json(tmp_path / "step-4" / "state.json")
    assert set(state) == {"step", "updates", "samples", "tokens", "guard", "files", "xxh3"}
