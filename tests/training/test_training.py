"""Schedule, optimizer, checkpoints, metrics, and the loop's own promises."""

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import SafetensorError

from conftest import memory_shard
from tsumugu.errors import TsumuguError
from tsumugu.files import read_json
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.model.initialization import initialize
from tsumugu.tokens.loader import Loader
from tsumugu.tokens.mixture import Mixture
from tsumugu.tokens.packing import PackTask, pack_shard
from tsumugu.tokens.sequences import BestFit, Concatenated, Sequences
from tsumugu.tokens.shards import TokenStream
from tsumugu.training.checkpoint import latest_checkpoint, load_checkpoint, save_checkpoint
from tsumugu.training.config import OptimizerConfig, PretrainConfig, ScheduleConfig
from tsumugu.training.metrics import MetricsLog, read_metrics
from tsumugu.training.optimizer import build_optimizer
from tsumugu.training.schedule import learning_rate
from tsumugu.training.trainer import Data, train

MODEL = ModelConfig(num_hidden_layers=1, hidden_size=16, num_attention_heads=2, max_position_embeddings=32)
VOCABULARY = 50


def settings(**changes: object) -> PretrainConfig:
    base = PretrainConfig(
        steps=12,
        global_batch_size=4,
        sequence_length=16,
        dropout=0.2,
        optimizer=OptimizerConfig(learning_rate=0.01),
        schedule=ScheduleConfig(warmup_steps=3),
        validation_every=6,
        checkpoint_every=4,
    )
    return base.model_copy(update=changes)


def decoder(config: PretrainConfig) -> Decoder:
    model = Decoder(MODEL, VOCABULARY, dropout=config.dropout)
    initialize(model, 0)
    return model


def loader(source: Sequences) -> Loader:
    return Loader(
        sources=(source,),
        mixture=Mixture(("",), np.array([source.count]), np.array([1])),
        seed=1,
        batch_size=4,
        sequence_length=16,
        padding_id=2,
    )


def data() -> Data:
    tokens = (np.arange(2000) ** 2 // 7 % VOCABULARY).astype(np.uint16)
    whole = TokenStream((memory_shard(tokens, np.array([0, len(tokens)])),))
    return Data(train=loader(Concatenated(whole, 16)), validation=whole)


def test_schedule_warms_up_and_decays_to_its_share() -> None:
    config = settings(steps=100, schedule=ScheduleConfig(warmup_steps=10, final_share=0.1))
    rates = [learning_rate(step, config) for step in range(1, 101)]
    assert rates[0] == pytest.approx(0.001)
    assert max(rates) == rates[9] == 0.01
    assert rates[54] == pytest.approx(0.01 * (0.1 + 0.9 * 0.5))
    assert rates[-1] == pytest.approx(0.001)
    assert all(a > b for a, b in itertools.pairwise(rates[9:]))


def test_only_matrices_decay() -> None:
    model = decoder(settings())
    decayed, free = build_optimizer(model, OptimizerConfig(learning_rate=0.1)).param_groups
    assert decayed["weight_decay"] == 0.1
    assert free["weight_decay"] == 0
    assert {p.dim() for p in decayed["params"]} == {2}
    assert {p.dim() for p in free["params"]} == {1}


def test_a_stopped_run_goes_on_to_the_same_bits(tmp_path: Path) -> None:
    config = settings()
    whole = decoder(config)
    train(whole, data(), config, folder=tmp_path / "whole", seed=1)

    stopped = decoder(config)

    forward_passes = iter(range(1, 100))

    def stop_at_the_eighth(module: object, inputs: object) -> None:
        if next(forward_passes) == 8:
            raise KeyboardInterrupt

    hook = stopped.register_forward_pre_hook(stop_at_the_eighth)
    with pytest.raises(KeyboardInterrupt):
        train(stopped, data(), config, folder=tmp_path / "stopped", seed=1)
    hook.remove()
    assert (
        latest_checkpoint(tmp_path / "stopped" / "checkpoints")
        == tmp_path / "stopped" / "checkpoints" / "step-4"
    )

    resumed = decoder(config)
    train(resumed, data(), config, folder=tmp_path / "stopped", seed=1)
    for name, parameter in whole.named_parameters():
        assert torch.equal(parameter, dict(resumed.named_parameters())[name]), name
    rows = [
        [
            (row["step"], row.get("loss"), row.get("validation_loss"))
            for row in read_metrics(folder / "metrics.jsonl")
        ]
        for folder in (tmp_path / "whole", tmp_path / "stopped")
    ]
    assert rows[0] == rows[1]


def test_micro_batches_give_the_gradient_of_the_whole_batch(tmp_path: Path) -> None:
    models = []
    for micro in (None, 1):
        config = settings(dropout=0.0, steps=3, micro_batch_size=micro)
        model = decoder(config)
        train(model, data(), config, folder=tmp_path / str(micro), seed=1)
        models.append(model)
    for one, other in zip(models[0].parameters(), models[1].parameters(), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-3)


def packed(folder: Path) -> Data:
    """Documents of uneven lengths, so that some rows are mostly padding."""
    lengths = [17, 3, 11, 9, 9, 9, 12, 5, 30, 9, 10]
    tokens = (np.arange(sum(lengths)) ** 2 // 7 % VOCABULARY).astype(np.uint16)
    shard = memory_shard(tokens, np.cumsum([0, *lengths]))
    pack_shard(PackTask(shard, 17, folder))
    whole = TokenStream((shard,))
    return Data(train=loader(BestFit(whole, folder)), validation=whole)


def test_padding_carries_no_loss_and_micro_batches_weigh_by_their_targets(tmp_path: Path) -> None:
    found = packed(tmp_path / "packing")
    batch = found.train.batch(0)
    assert batch.loss_mask is not None
    counted = batch.loss_mask.sum(axis=1).tolist()
    assert len(set(counted)) > 1, "rows have equally many targets; the test would show nothing"
    rows, models = [], []
    for micro in (None, 2, 1):
        config = settings(dropout=0.0, steps=3, micro_batch_size=micro)
        model = decoder(config)
        if micro is None:
            logits = model(torch.from_numpy(batch.tokens[:, :-1])).detach()
            losses = torch.nn.functional.cross_entropy(
                logits.transpose(1, 2), torch.from_numpy(batch.tokens[:, 1:]), reduction="none"
            )
            expected = float(losses[torch.from_numpy(batch.loss_mask)].mean())
        train(model, found, config, folder=tmp_path / str(micro), seed=1)
        rows.append([r["loss"] for r in read_metrics(tmp_path / str(micro) / "metrics.jsonl") if "loss" in r])
        models.append(model)
    assert rows[0][0] == pytest.approx(expected, rel=1e-5)
    for other, model in zip(rows[1:], models[1:], strict=True):
        assert other == pytest.approx(rows[0], rel=1e-4)
        for one, two in zip(models[0].parameters(), model.parameters(), strict=True):
            torch.testing.assert_close(one, two, atol=1e-5, rtol=1e-3)


def test_step_n_reads_batch_n_minus_one(tmp_path: Path) -> None:
    config = settings(dropout=0.0, steps=3, checkpoint_every=2)
    found, model, seen = data(), decoder(config), []
    model.register_forward_pre_hook(
        lambda module, inputs: seen.append(inputs[0].clone()) if module.training else None
    )
    train(model, found, config, folder=tmp_path, seed=1)
    assert len(seen) == 3
    for step, tokens in enumerate(seen, start=1):
        assert (tokens.numpy() == found.train.batch(step - 1).tokens[:, :-1]).all()


def test_training_learns_and_reports(tmp_path: Path) -> None:
    config = settings(steps=60, dropout=0.0)
    train(decoder(config), data(), config, folder=tmp_path, seed=1)
    rows = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "loss" in row]
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    assert set(rows[0]) == {
        "step", "tokens", "loss", "grad_norm", "learning_rate", "tokens_per_second", "seconds",
    }  # fmt: skip
    assert rows[-1]["tokens"] == 60 * 4 * 16
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    assert kept == ["step-56", "step-60"]


def test_a_loss_that_is_no_number_stops_the_run_with_advice(tmp_path: Path) -> None:
    config = settings()
    model = decoder(config)
    with torch.no_grad():
        dict(model.named_parameters())["norm.weight"].fill_(float("nan"))
    with pytest.raises(TsumuguError, match="lower pretrain.optimizer.learning_rate"):
        train(model, data(), config, folder=tmp_path, seed=1)


def test_a_checkpoint_restores_weights_moments_and_step(tmp_path: Path) -> None:
    config = settings()
    model = decoder(config)
    optimizer = build_optimizer(model, config.optimizer)
    model(torch.randint(0, VOCABULARY, (2, 8))).sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path, model, optimizer, step=9, keep=1)
    other = Decoder(MODEL, VOCABULARY)
    other_optimizer = build_optimizer(other, config.optimizer)
    assert load_checkpoint(tmp_path / "step-9", other, other_optimizer) == 9
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(one, two)
        for key, value in optimizer.state[one].items():
            assert torch.equal(value, other_optimizer.state[two][key])


def test_half_written_checkpoints_are_not_found_and_are_cleared_away(tmp_path: Path) -> None:
    (tmp_path / ".step-7.123.tmp").mkdir()
    assert latest_checkpoint(tmp_path) is None
    model = decoder(settings())
    save_checkpoint(tmp_path, model, build_optimizer(model, settings().optimizer), step=5, keep=2)
    assert [path.name for path in tmp_path.iterdir()] == ["step-5"]


def test_metrics_are_cut_back_to_the_checkpoint(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    rows = [json.dumps({"step": step, "seconds": step * 2.0}) for step in (1, 2, 3)]
    path.write_text("\n".join(rows) + '\n{"step": 4, "sec')
    log = MetricsLog(path, last_step=2)
    assert log.seconds == 4.0
    log.append({"step": 3, "seconds": 9.0})
    log.close()
    assert [row["step"] for row in read_metrics(path)] == [1, 2, 3]


def test_the_stage_reports_the_facts_of_the_training(finished_run: Path) -> None:
    counts = read_json(finished_run / "pretrain" / "manifest.json")["counts"]
    assert counts["steps"] == 40
    assert counts["tokens"] == 40 * 4 * 64
    assert counts["parameters"] > 0


def test_a_kill_between_two_removals_is_made_good_on_the_next_start(tmp_path: Path) -> None:
    config = settings()
    model = decoder(config)
    train(model, data(), config, folder=tmp_path, seed=1)
    kept = sorted(path.name for path in (tmp_path / "checkpoints").iterdir())
    (tmp_path / "checkpoints" / "step-1").mkdir()
    (tmp_path / "checkpoints" / ".step-0.7.tmp").mkdir()
    train(model, data(), config, folder=tmp_path, seed=1)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == kept


def test_a_full_disk_is_named_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(tensors: object, path: Path) -> None:
        path.write_bytes(b"half")
        raise SafetensorError("No space left on device (os error 28)")

    monkeypatch.setattr("tsumugu.training.checkpoint.save_file", full)
    model = decoder(settings())
    with pytest.raises(OSError, match="cannot be written: No space left"):
        save_checkpoint(tmp_path, model, build_optimizer(model, settings().optimizer), step=5, keep=2)
    assert list(tmp_path.iterdir()) == []
