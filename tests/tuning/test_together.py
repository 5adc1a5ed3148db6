"""Several processes tune as one does: the same steps, the same loss, and a stop that all agree on."""

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file
from small_models import write_small_model
from small_tokenizers import written_folder

from tsumugu.errors import Stopped, TsumuguError
from tsumugu.model.config import ModelConfig
from tsumugu.release.loading import load_tokenizer
from tsumugu.tuning import together
from tsumugu.tuning.config import PreferenceConfig, TuneConfig, TuneFiles, TuneInput
from tsumugu.tuning.packing import Row, make_rows
from tsumugu.tuning.phase import Phase, Preference
from tsumugu.tuning.template import Message, encode, encode_answer, encode_prompt, open_template
from tsumugu.tuning.training import prefer, tune

# The last of 22 rows make half a step.
QUESTIONS = [(f"{a}に{b}を足すと？", f"{a + b}です。") for a in range(2, 13) for b in range(1, 2)]


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_model(tmp_path_factory.mktemp("base") / "model", written_folder("modern"), "gpt_neox")


def a_config(processes: int, **settings: Any) -> TuneConfig:
    return TuneConfig(
        data=(TuneInput(path="-", source="test", license="CC0-1.0"),),
        **{
            "learning_rate": 3e-3,
            "epochs": 2,
            "global_batch_size": 4,
            "micro_batch_size": 2,
            "checkpoint_every": 2,
            "processes": processes,
            **settings,
        },
    )


def a_phase(folder: Path, base: Path, config: TuneConfig) -> Phase:
    model = ModelConfig(
        num_hidden_layers=2, hidden_size=32, num_attention_heads=2, max_position_embeddings=160
    )
    return Phase(
        name="test",
        base=base,
        output=folder / "output",
        work=folder / "work",
        metrics=folder / "metrics.jsonl",
        config=config,
        model=model,
        max_shard_size="5GB",
        seed=1,
        epochs=config.effective_epochs,
        learning_rate=config.effective_learning_rate,
    )


def some_rows(base: Path) -> list[Row]:
    tokenizer = load_tokenizer(base)
    template = open_template("modern", tokenizer)
    encoded = [
        encode(template, (Message("user", q), Message("assistant", a)), tokenizer) for q, a in QUESTIONS
    ]
    return make_rows(encoded, max_length=64, packing=False)


def weights(phase: Phase) -> dict[str, torch.Tensor]:
    return dict(load_file(phase.output / "model.safetensors"))


def losses(phase: Phase) -> list[float]:
    return [json.loads(line)["loss"] for line in phase.metrics.read_text().splitlines()]


def test_two_processes_learn_what_one_learns(tmp_path: Path, base: Path) -> None:
    rows, tokenizer = some_rows(base), load_tokenizer(base)
    alone = a_phase(tmp_path / "alone", base, a_config(1))
    both = a_phase(tmp_path / "both", base, a_config(2))
    tune(alone, rows, tokenizer)
    history = tune(both, rows, tokenizer)
    assert [row["loss"] for row in history] == losses(both)
    assert len(history) == 6
    assert losses(both) == pytest.approx(losses(alone), rel=1e-4)
    found, wanted = weights(both), weights(alone)
    for name, value in wanted.items():
        torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_all_stop_at_the_same_step_and_go_on_to_the_same_bytes(tmp_path: Path, base: Path) -> None:
    rows, tokenizer = some_rows(base), load_tokenizer(base)
    config = a_config(2, method="lora", lora={"dropout": 0.3}, epochs=4)
    whole = a_phase(tmp_path / "whole", base, config)
    tune(whole, rows, tokenizer)
    stopped = a_phase(tmp_path / "stopped", base, config)

    def ask_after_a_step() -> None:
        while not stopped.metrics.exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    asking = threading.Thread(target=ask_after_a_step)
    asking.start()
    try:
        with pytest.raises(Stopped, match="goes on from here"):
            tune(stopped, rows, tokenizer)
    finally:
        asking.join()
    assert 1 <= len(losses(stopped)) < len(losses(whole))
    tune(stopped, rows, tokenizer)
    assert losses(stopped) == losses(whole)
    for path in (whole.output / "model.safetensors", whole.output / "adapter" / "adapter_model.safetensors"):
        assert (stopped.output / path.relative_to(whole.output)).read_bytes() == path.read_bytes()


def test_preferences_are_learned_together(tmp_path: Path, base: Path) -> None:
    tokenizer = load_tokenizer(base)
    template = open_template("modern", tokenizer)
    pairs = [
        Preference(
            encode_prompt(template, (Message("user", question),), tokenizer),
            encode_answer(template, answer, tokenizer),
            encode_answer(template, "分かりません。", tokenizer),
        )
        # As many as fill their steps.
        for question, answer in QUESTIONS[:8]
    ]
    settings = PreferenceConfig(data=(TuneFiles(path="-", source="pairs", license="CC0-1.0"),))
    alone = a_phase(tmp_path / "alone", base, a_config(1))
    both = a_phase(tmp_path / "both", base, a_config(2))
    prefer(alone, pairs, tokenizer, settings)
    prefer(both, pairs, tokenizer, settings)
    assert losses(both) == pytest.approx(losses(alone), rel=1e-4)


def test_a_process_that_fails_is_told(tmp_path: Path, base: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rows, tokenizer = some_rows(base), load_tokenizer(base)
    phase = a_phase(tmp_path, tmp_path / "no-model", a_config(2))
    with pytest.raises(TsumuguError, match="a process of the test training failed"):
        tune(phase, rows, tokenizer)
    assert "no-model" in capfd.readouterr().err
    assert not phase.output.exists()


def test_more_processes_than_gpus_and_steps_that_do_not_divide_are_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(TsumuguError, match=r"tune.processes = 3, and this machine shows 2 GPUs"):
        together._refuse_too_many(3)
    with pytest.raises(ValidationError, match="micro_batch_size = 2 times processes = 3 does not divide"):
        a_config(3)
    assert "processes" not in a_config(1).result_settings()
    assert a_config(2).result_settings()["processes"] == 2
