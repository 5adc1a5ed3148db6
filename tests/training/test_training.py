"""The training loop's own promises, in one process."""

import json
import math
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from jobs import (
    BATCH,
    LENGTH,
    VOCABULARY,
    assert_same,
    at_forward_pass,
    config,
    figures,
    files,
    job,
    loader,
    shape,
    text,
    weights,
)
from torch.nn import functional as F

from conftest import memory_shard
from tsumugu.errors import Stopped, TsumuguError
from tsumugu.files import read_json
from tsumugu.tokens.loader import Loader
from tsumugu.tokens.packing import PackTask, pack_shard
from tsumugu.tokens.sequences import BestFit
from tsumugu.tokens.shards import TokenStream
from tsumugu.training.config import BatchSizeWarmupConfig, PretrainConfig, ProfileConfig
from tsumugu.training.events import EventLog, read_events
from tsumugu.training.job import Job
from tsumugu.training.metrics import MetricsLog, append_line, open_lines, read_metrics
from tsumugu.training.schedule import batch_size, samples_before
from tsumugu.training.trainer import train


def interrupted(made: Job, number: int) -> None:
    """Train until the model begins its forward pass `number`, and be interrupted there."""

    def interrupt() -> None:
        raise KeyboardInterrupt

    at_forward_pass(made, number, interrupt)
    with pytest.raises(KeyboardInterrupt):
        train(made)


def events(folder: Path) -> list[str]:
    return [event["event"] for event in read_events(folder / "events.jsonl")]


@pytest.mark.parametrize("optimizer", ["adamw", "muon"])
def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path, optimizer: Any) -> None:
    settings = config()
    settings = config(optimizer=settings.optimizer.model_copy(update={"name": optimizer}))
    undisturbed = job(tmp_path / "whole", settings)
    train(undisturbed)

    # Steps 1 to 6, two passes of validation, step 7 and a half.
    stopped = job(tmp_path / "stopped", settings)
    interrupted(stopped, 10)
    resumed = job(tmp_path / "stopped", settings)
    train(resumed)

    assert_same(weights(resumed.model), weights(undisturbed.model))
    assert figures(tmp_path / "stopped") == figures(tmp_path / "whole")
    assert files(tmp_path / "stopped" / "checkpoints") == files(tmp_path / "whole" / "checkpoints")
    assert events(tmp_path / "whole") == ["started"]
    assert events(tmp_path / "stopped") == ["started", "resumed"]


def test_micro_batches_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    found = []
    for micro in (None, 2, 1):
        made = job(tmp_path / str(micro), config(dropout=0.0, steps=3, micro_batch_size=micro))
        train(made)
        found.append(weights(made.model))
    for other in found[1:]:
        for name, tensor in found[0].items():
            torch.testing.assert_close(other[name], tensor, atol=1e-5, rtol=1e-3)


def packed(folder: Path) -> Loader:
    """Documents of uneven lengths, so that some rows are mostly padding."""
    lengths = [17, 3, 11, 9, 9, 9, 12, 5, 30, 9, 10]
    tokens = (np.arange(sum(lengths)) ** 2 // 7 % VOCABULARY).astype(np.uint16)
    shard = memory_shard(tokens, np.cumsum([0, *lengths]))
    pack_shard(PackTask(shard, LENGTH + 1, folder))
    return loader(BestFit(TokenStream((shard,)), folder))


def test_padding_carries_no_loss_and_micro_batches_weigh_by_their_targets(tmp_path: Path) -> None:
    read = packed(tmp_path / "packing")
    batch = read.batch(0)
    assert batch.loss_mask is not None
    assert len(set(batch.loss_mask.sum(axis=1))) > 1, "rows have equally many targets; this shows nothing"
    made = job(tmp_path / "loss", config(dropout=0.0))
    logits = made.model.parts[0](torch.from_numpy(batch.tokens[:, :-1])).detach()
    losses = F.cross_entropy(logits.transpose(1, 2), torch.from_numpy(batch.tokens[:, 1:]), reduction="none")
    expected = float(losses[torch.from_numpy(batch.loss_mask)].mean())
    curves = []
    for micro in (None, 2, 1):
        made = job(tmp_path / str(micro), config(dropout=0.0, steps=3, micro_batch_size=micro), read=read)
        train(made)
        rows = [row for row in read_metrics(made.folder / "metrics.jsonl") if "loss" in row]
        curves.append([row["loss"] for row in rows])
        assert rows[0]["tokens"] == batch.loss_mask.sum()
    assert curves[0][0] == pytest.approx(expected, rel=1e-5)
    assert curves[1] == pytest.approx(curves[0], rel=1e-4)
    assert curves[2] == pytest.approx(curves[0], rel=1e-4)


def seen_tokens(made: Job) -> list[np.ndarray[Any, Any]]:
    """The inputs of every forward pass of training, as they come."""
    seen: list[np.ndarray[Any, Any]] = []
    made.model.parts[0].register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].numpy().copy()) if module.training else None
    )
    return seen


def test_step_n_reads_batch_n_minus_one(tmp_path: Path) -> None:
    made = job(tmp_path, config(dropout=0.0, steps=3))
    seen = seen_tokens(made)
    train(made)
    assert len(seen) == 3
    for index, tokens in enumerate(seen):
        assert (tokens == made.loader.batch(index).tokens[:, :-1]).all()


def test_a_batch_that_grows_reads_the_plans_samples(tmp_path: Path) -> None:
    growing = BatchSizeWarmupConfig(start=2, steps=6)
    settings = config(dropout=0.0, batch_size_warmup=growing, micro_batch_size=2, steps=9)
    made = job(tmp_path, settings)
    seen = seen_tokens(made)
    train(made)
    total = samples_before(10, settings)
    assert total < 9 * BATCH
    assert [batch_size(step, settings) for step in (1, 6, 7)] == [2, 6, 8]
    read = np.concatenate(seen)
    assert (read == made.loader.read([range(total)]).tokens[:, :-1]).all()
    rows = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "loss" in row]
    assert [row["samples"] for row in rows] == [samples_before(step + 1, settings) for step in range(1, 10)]
    assert rows[-1]["tokens"] == total * LENGTH


def test_training_learns_and_reports(tmp_path: Path) -> None:
    made = job(tmp_path, config(steps=60, dropout=0.0))
    progress = train(made)
    rows = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "loss" in row]
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    assert set(rows[0]) == {
        "step", "tokens", "samples", "loss", "grad_norm", "learning_rate", "tokens_per_second",
        "tflops_per_device", "memory_gb", "seconds",
    }  # fmt: skip
    assert rows[-1]["tokens"] == progress.tokens == 60 * BATCH * LENGTH
    assert rows[-1]["samples"] == progress.samples == 60 * BATCH
    assert progress.updates == 60
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-56", "step-60"]
    validated = [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl") if "validation_loss" in row]
    assert validated == list(range(6, 61, 6))


def losses_by_hand(made: Job, tokens: np.ndarray[Any, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy and logarithm of the softmax's denominator of every target."""
    made.model.eval()
    with torch.no_grad():
        logits = made.model.parts[0](torch.from_numpy(tokens[:, :-1].copy()))
    entropies = F.cross_entropy(
        logits.transpose(1, 2), torch.from_numpy(tokens[:, 1:].copy()), reduction="none"
    )
    return entropies, logits.logsumexp(dim=-1)


@pytest.mark.parametrize("z_loss", [0.0, 0.1])
def test_bits_per_byte_are_those_of_the_text_alone(tmp_path: Path, z_loss: float) -> None:
    byte_lengths = np.arange(VOCABULARY) % 5
    made = job(tmp_path, config(steps=2, z_loss=z_loss), byte_lengths=byte_lengths)
    train(made)
    row = read_metrics(tmp_path / "metrics.jsonl")[-1]
    read = text().read(0, 12 * LENGTH + 1).astype(np.int64)
    rows = np.stack([read[start : start + LENGTH + 1] for start in range(0, 12 * LENGTH, LENGTH)])
    entropies, _ = losses_by_hand(made, rows)
    assert row["validation_loss"] == pytest.approx(float(entropies.mean()), rel=1e-5)
    bits = float(entropies.sum()) / math.log(2) / byte_lengths[read[1:]].sum()
    assert row["validation_bits_per_byte"] == pytest.approx(bits, rel=1e-5)


def test_z_loss_is_part_of_the_training_loss(tmp_path: Path) -> None:
    made = job(tmp_path, config(steps=1, dropout=0.0, z_loss=0.1, schedule=config().schedule.model_copy()))
    entropies, denominators = losses_by_hand(made, made.loader.batch(0).tokens)
    train(made)
    expected = float((entropies + 0.1 * denominators.square()).mean())
    assert read_metrics(tmp_path / "metrics.jsonl")[0]["loss"] == pytest.approx(expected, rel=1e-5)


def test_chosen_steps_are_traced(tmp_path: Path) -> None:
    train(job(tmp_path, config(steps=4, profile=ProfileConfig(first_step=2, steps=2))))
    trace = read_json(tmp_path / "side" / "profile" / "rank-0.json")
    steps = {event["name"] for event in trace["traceEvents"] if "ProfilerStep" in event["name"]}
    assert steps == {"ProfilerStep#1", "ProfilerStep#2"}


def signalled(made: Job, number: int) -> str:
    """Train, with two SIGTERMs at forward pass `number`; what the stop says."""

    def twice() -> None:
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)

    at_forward_pass(made, number, twice)
    with pytest.raises(Stopped) as caught:
        train(made)
    return str(caught.value)


@pytest.mark.parametrize(
    ("number", "step"),
    # The validation has two forward passes and begins after step 6 and step 12.
    [(3, 3), (4, 4), (6, 6), (7, 6), (13, 11), (14, 12), (15, 12), (16, 12)],
)
def test_sigterm_saves_and_stops_wherever_it_comes(tmp_path: Path, number: int, step: int) -> None:
    before = signal.getsignal(signal.SIGTERM)
    settings = config(micro_batch_size=8)
    undisturbed = job(tmp_path / "whole", settings)
    train(undisturbed)
    folder = tmp_path / "stopped"
    told = signalled(job(folder, settings), number)
    assert told == (
        f"pretrain: asked to stop after step {step}; the checkpoint is written, and the same command goes "
        f"on from it"
    )
    assert signal.getsignal(signal.SIGTERM) is before
    assert (folder / "checkpoints" / f"step-{step}" / "state.json").exists()
    assert events(folder) == ["started", "stopped"]
    resumed = job(folder, settings)
    train(resumed)
    assert_same(weights(resumed.model), weights(undisturbed.model))
    assert figures(folder) == figures(tmp_path / "whole")


def test_a_stop_before_a_validation_that_is_stopped_again_measures_it_in_the_end(tmp_path: Path) -> None:
    settings = config(steps=6, micro_batch_size=8)
    folder = tmp_path / "stopped"
    signalled(job(folder, settings), 6)
    # The validation that is left is the first thing to do.
    signalled(job(folder, settings), 1)
    train(job(folder, settings))
    train(job(tmp_path / "whole", settings))
    assert figures(folder) == figures(tmp_path / "whole")


def test_a_validation_loss_that_is_no_number_is_no_row(tmp_path: Path) -> None:
    def spoil() -> None:
        made.model.parts[0].embedding.weight.data[5] = math.nan  # type: ignore[union-attr]

    made = job(tmp_path, config(steps=6))
    at_forward_pass(made, 7, spoil)
    with pytest.raises(TsumuguError, match="the trained model's validation loss is nan"):
        train(made)
    assert all("validation_loss" not in row for row in read_metrics(tmp_path / "metrics.jsonl"))


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [json.dumps({"step": step, "seconds": step * 2.0}) for step in (1, 2, 3)]
    path.write_text("\n".join(rows) + '\n{"step": 4, "sec')
    log = MetricsLog(path, last_step=2)
    assert log.seconds == 4.0
    log.append({"step": 3, "seconds": 9.0})
    log.close()
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]


def test_an_event_that_a_kill_cut_off_does_not_spoil_the_next(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    EventLog(path).append({"event": "started"})
    with path.open("a") as stream:
        stream.write('{"time": 5, "ev')
    EventLog(path).append({"event": "resumed"})
    assert events(tmp_path) == ["started", "resumed"]


def test_a_full_disk_is_told_with_the_name_of_the_file() -> None:
    with pytest.raises(OSError, match="No space left on device: '/dev/full'"):
        append_line(open_lines(Path("/dev/full")), "{}")


def test_the_stage_reports_the_facts_of_the_training(finished_run: Path) -> None:
    counts = read_json(finished_run / "pretrain" / "manifest.json")["counts"]
    assert counts["steps"] == 40
    assert counts["skipped_steps"] == 0
    assert counts["tokens"] == 40 * 4 * 64
    assert counts["parameters"] > 0
    assert counts["layout"] == "one process"
    rows = read_metrics(finished_run / "pretrain" / "metrics.jsonl")
    assert counts["validation_loss"] == rows[-1]["validation_loss"]
    assert counts["validation_bits_per_byte"] == rows[-1]["validation_bits_per_byte"]


def test_settings_of_the_tests_are_a_recipe_s() -> None:
    PretrainConfig.model_validate(config().model_dump())
    assert shape().num_hidden_layers == 1
