"""Trainings that learn, that end the same however often they stop, and that leave what was learned."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from small_models import write_small_model
from small_tokenizers import written_folder
from transformers import TrainerCallback

from tsumugu.errors import Stopped
from tsumugu.model.config import ModelConfig
from tsumugu.recipe import load_recipe
from tsumugu.release.loading import load_model, load_tokenizer
from tsumugu.tuning import training
from tsumugu.tuning.config import PreferenceConfig, TuneConfig, TuneFiles, TuneInput
from tsumugu.tuning.measuring import answer_loss
from tsumugu.tuning.packing import Row, epochs_of, make_rows
from tsumugu.tuning.phase import Phase, Preference
from tsumugu.tuning.template import Message, encode, encode_answer, encode_prompt, open_template
from tsumugu.tuning.training import prefer, target_modules, tune
from tsumugu.tuning.watching import Watcher

ARCHITECTURES: dict[str, Any] = {"gpt2": "gpt2", "gpt_neox": "gpt-neox", "llama": "llama"}
QUESTIONS = [(f"{a}に{b}を足すと？", f"{a + b}です。") for a in range(2, 8) for b in range(2, 4)]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Threads wait for each other longer than such small models compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    folder = tmp_path_factory.mktemp("bases")

    def find(model_type: str) -> Path:
        path = folder / model_type
        return path if path.exists() else write_small_model(path, written_folder("modern"), model_type)

    return find


def a_config(**settings: Any) -> TuneConfig:
    return TuneConfig(
        data=(TuneInput(path="-", source="test", license="CC0-1.0"),),
        **{
            "learning_rate": 3e-3,
            "epochs": 2,
            "global_batch_size": 4,
            "micro_batch_size": 2,
            "checkpoint_every": 2,
            **settings,
        },
    )


def a_phase(folder: Path, base: Path, config: TuneConfig, model_type: str = "gpt_neox") -> Phase:
    return Phase(
        name="test",
        base=base,
        output=folder / "output",
        work=folder / "work",
        metrics=folder / "metrics.jsonl",
        config=config,
        model=ModelConfig(
            architecture=ARCHITECTURES[model_type],
            num_hidden_layers=2,
            hidden_size=32,
            num_attention_heads=2,
            max_position_embeddings=160,
        ),
        max_shard_size="5GB",
        seed=1,
        epochs=config.effective_epochs,
        learning_rate=config.effective_learning_rate,
    )


def some_rows(base: Path, config: TuneConfig) -> list[Row]:
    tokenizer = load_tokenizer(base)
    template = open_template("modern", tokenizer)
    encoded = [
        encode(template, (Message("user", q), Message("assistant", a)), tokenizer) for q, a in QUESTIONS
    ]
    return make_rows(encoded, max_length=64, packing=config.packing)


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.mark.parametrize("settings", [{"method": "full"}, {"method": "full", "packing": True}])
def test_tuning_lowers_the_loss_of_the_answers(
    tmp_path: Path, base: Callable[[str], Path], settings: dict[str, Any]
) -> None:
    config, folder = a_config(epochs=4, **settings), base("gpt_neox")
    rows = some_rows(folder, config)
    phase = a_phase(tmp_path, folder, config)
    before = answer_loss(load_model(folder), rows)
    history = tune(phase, rows, load_tokenizer(folder))
    after = answer_loss(load_model(phase.output), rows)
    assert after.tokens == before.tokens
    assert after.nats_per_token < 0.9 * before.nats_per_token
    # The first step is the loss of its own answers under the model as it came.
    first = epochs_of(len(rows), epochs=4, seed=1)[: config.global_batch_size]
    expected = answer_loss(load_model(folder), [rows[place] for place in first])
    assert history[0]["loss"] == pytest.approx(expected.nats_per_token, rel=1e-3)
    steps = -(-len(rows) * 4 // 4)
    assert [row["step"] for row in history] == list(range(1, steps + 1))
    assert [json.loads(line) for line in phase.metrics.read_text().splitlines()] == history
    assert history[-1]["learning_rate"] < history[1]["learning_rate"]


class _Dies(TrainerCallback):  # type: ignore[misc]
    """The end of a process, by an exception."""

    def __init__(self, step: int) -> None:
        self._step = step

    def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if state.global_step == self._step:
            raise KeyboardInterrupt


class _Asks(_Dies):
    """SIGTERM, as a cluster sends it."""

    def on_step_begin(self, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if state.global_step == self._step:
            os.kill(os.getpid(), signal.SIGTERM)


@pytest.mark.parametrize("method", ["full", "lora"])
def test_resume_equals_uninterrupted(
    tmp_path: Path, base: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    # Dropout: the state of the random numbers must go on too.
    config, folder = a_config(method=method, lora={"dropout": 0.3}), base("gpt_neox")
    rows, tokenizer = some_rows(folder, config), load_tokenizer(folder)
    whole = a_phase(tmp_path / "whole", folder, config)
    tune(whole, rows, tokenizer)
    stopped = a_phase(tmp_path / "stopped", folder, config)

    class Interrupted(Watcher):
        """Our callback with an interruption."""

        interruption: TrainerCallback

        def on_step_begin(self, *arguments: Any, **rest: Any) -> None:
            self.interruption.on_step_begin(*arguments, **rest)

    monkeypatch.setattr(training, "Watcher", Interrupted)
    Interrupted.interruption = _Dies(3)
    with pytest.raises(KeyboardInterrupt):
        tune(stopped, rows, tokenizer)
    assert not stopped.output.exists()
    # A checkpoint that was being written counts for nothing.
    torn = stopped.work / "checkpoints" / "checkpoint-5"
    torn.mkdir()
    (torn / "trainer_state.json").write_text("{")
    Interrupted.interruption = _Asks(4)
    with pytest.raises(Stopped, match="after step 5 of 6"):
        tune(stopped, rows, tokenizer)
    Interrupted.interruption = _Dies(-1)
    tune(stopped, rows, tokenizer)
    assert files(stopped.output) == files(whole.output)
    assert stopped.metrics.read_text() == whole.metrics.read_text()


@pytest.mark.parametrize("model_type", ["gpt2", "gpt_neox", "llama"])
def test_the_merged_model_equals_the_base_with_its_adapter(
    tmp_path: Path, base: Callable[[str], Path], model_type: str
) -> None:
    from peft import PeftModel

    config, folder = a_config(method="lora", epochs=1, learning_rate=1e-2), base(model_type)
    phase = a_phase(tmp_path, folder, config, model_type)
    tune(phase, some_rows(folder, config), load_tokenizer(folder))
    found = json.loads((phase.output / "adapter" / "adapter_config.json").read_text())
    assert set(found["target_modules"]) == set(target_modules(phase.model))
    assert str(tmp_path) not in json.dumps(found)

    ids = torch.tensor([[5, 9, 30, 12, 7]])
    released = load_model(phase.output).eval()
    beside = PeftModel.from_pretrained(load_model(folder), str(phase.output / "adapter")).eval()
    with torch.no_grad():
        torch.testing.assert_close(released(ids).logits, beside(ids).logits, rtol=1e-4, atol=1e-4)
        untouched = load_model(folder).eval()
        assert float((untouched(ids).logits - released(ids).logits).abs().max()) > 1e-2


def some_preferences(base: Path) -> list[Preference]:
    tokenizer = load_tokenizer(base)
    template = open_template("modern", tokenizer)
    return [
        Preference(
            encode_prompt(template, (Message("user", question),), tokenizer),
            encode_answer(template, answer, tokenizer),
            encode_answer(template, "分かりません。", tokenizer),
        )
        for question, answer in QUESTIONS
    ]


@pytest.mark.parametrize("method", ["full", "lora"])
def test_preferences_lower_their_loss_and_leave_the_reference_alone(
    tmp_path: Path, base: Callable[[str], Path], method: str
) -> None:
    config, folder = a_config(method=method), base("gpt_neox")
    phase = replace(a_phase(tmp_path, folder, config), epochs=4, learning_rate=2e-3)
    settings = PreferenceConfig(data=(TuneFiles(path="-", source="pairs", license="CC0-1.0"),))
    history = prefer(phase, some_preferences(folder), load_tokenizer(folder), settings)
    # Before the first update the model is its reference, and both answers are worth the same: ln 2.
    assert history[0]["loss"] == pytest.approx(0.6931, abs=1e-3)
    assert history[-1]["loss"] < 0.6 * history[0]["loss"]
    old, new = (load_file(path / "model.safetensors") for path in (folder, phase.output))
    assert old.keys() == new.keys()
    assert any(not torch.equal(old[name], new[name]) for name in old)


def test_a_seed_of_its_own_is_one_more_setting_and_none_changes_nothing(recipe_path: Path) -> None:
    files = [{"path": "x.jsonl", "source": "x", "license": "CC0-1.0"}]
    plain = load_recipe(recipe_path, keys={"tune.data": files})
    seeded = load_recipe(recipe_path, keys={"tune.data": files, "tune.seed": 5})
    assert plain.tune is not None
    assert seeded.tune is not None
    assert (plain.tuning_seed, seeded.tuning_seed) == (plain.seed, 5)
    assert "seed" not in plain.tune.result_settings()
    assert seeded.tune.result_settings()["seed"] == 5
