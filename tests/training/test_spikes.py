"""Steps that are not sound: left out, counted, gone back from, and all of it told."""

import itertools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jobs import BATCH, assert_same, config, figures, files, job, loader, weights
from safetensors.torch import load_file

from tsumugu.errors import TsumuguError
from tsumugu.training import trainer
from tsumugu.training.config import PretrainConfig, StabilityConfig
from tsumugu.training.events import read_events
from tsumugu.training.job import Job
from tsumugu.training.metrics import read_metrics
from tsumugu.training.schedule import learning_rate
from tsumugu.training.step import StepResult, compute_gradients, micro_batches
from tsumugu.training.trainer import train

Poison = Callable[[Job, int], bool]
"""Whether the gradient of this model on this sample is no number."""


class Killed(BaseException):
    """In the place of SIGKILL: nothing between here and the test may notice."""


def samples(*numbers: int) -> Poison:
    return lambda made, sample: sample in numbers


def settings(**changes: Any) -> PretrainConfig:
    stability = StabilityConfig(window=4, skips_before_rewind=2, rewinds_before_stop=2, spike_sigmas=None)
    return config(**{"steps": 16, "stability": stability, "validation_every": 100, **changes})


@pytest.fixture
def poison(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Make a step on chosen samples end in numbers that are none, or kill the training there."""

    def spread(poisoned: Poison, *, kill_at: int = 0) -> None:
        calls = itertools.count(1)

        def spoiled(job: Job, batch: Any, *, stop: Callable[[], bool]) -> StepResult:
            if next(calls) == kill_at:
                raise Killed
            parts = micro_batches(batch, job.micro_batch_size, job.model)
            job.model.train()
            result = compute_gradients(job.model, parts, max_grad_norm=1.0, stop=stop)
            if any(poisoned(job, _sample(row)) for row in batch.tokens):
                for _, parameter in job.model.named_parameters():
                    assert parameter.grad is not None
                    parameter.grad.fill_(float("nan"))
                return StepResult(float("nan"), float("nan"), result.targets, result.signals)
            return result

        monkeypatch.setattr(trainer, "_gradients", spoiled)

    return spread


_ROWS = {row.tobytes(): number for number, row in enumerate(loader().read([range(200)]).tokens)}


def _sample(row: Any) -> int:
    return _ROWS[row.tobytes()]


def told(folder: Path, *kinds: str) -> list[dict[str, Any]]:
    """Events of these kinds, without times."""
    events = read_events(folder / "events.jsonl")
    return [{k: v for k, v in e.items() if k != "time"} for e in events if e["event"] in kinds]


def steps_read(folder: Path) -> list[list[int]]:
    """The samples of every step in `metrics.jsonl`."""
    found = []
    for row in read_metrics(folder / "metrics.jsonl"):
        if "samples" in row:
            pieces = row.get("read", [[row["samples"] - BATCH, row["samples"]]])
            found.append([number for piece in pieces for number in range(*piece)])
    return found


def test_a_step_that_is_no_number_is_left_out_and_counted(tmp_path: Path, poison: Any) -> None:
    poison(samples(5 * BATCH + 3))
    made = job(tmp_path, settings())
    progress = train(made)
    assert (progress.step, progress.updates, progress.samples) == (16, 15, 16 * BATCH)
    rows = [row for row in read_metrics(tmp_path / "metrics.jsonl") if "samples" in row]
    assert [row["step"] for row in rows if "loss" not in row] == [6]
    assert [event["step"] for event in told(tmp_path, "skipped")] == [6]
    assert told(tmp_path, "skipped")[0]["samples"] == [[5 * BATCH, 6 * BATCH]]
    assert told(tmp_path, "skipped")[0]["reason"] == "the loss is nan"
    assert all(p.isfinite().all() for _, p in made.model.named_parameters())


def test_a_step_left_out_is_a_step_that_never_was(tmp_path: Path, poison: Any) -> None:
    poison(samples(15 * BATCH))
    one = job(tmp_path / "one", settings())
    train(one)
    poison(samples())
    other = job(tmp_path / "other", settings(steps=15, schedule=one.config.schedule))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trainer, "learning_rate", lambda step, config: learning_rate(step, one.config))
        train(other)
    assert_same(weights(one.model), weights(other.model))


FAILING = [6 * BATCH + 1, 7 * BATCH + 7]
"""Samples of steps 7 and 8."""


def test_repeated_failures_go_back_and_leave_out_what_was_read(tmp_path: Path, poison: Any) -> None:
    poison(samples(*FAILING))
    progress = train(job(tmp_path, settings()))
    assert (progress.step, progress.updates) == (16, 16)
    (rewound,) = told(tmp_path, "rewound")
    assert (rewound["step"], rewound["to"]) == (8, 4)
    assert rewound["samples"] == [[7 * BATCH, 8 * BATCH]]
    bad = set(range(6 * BATCH, 8 * BATCH))
    expected = [number for number in range(18 * BATCH) if number not in bad]
    read = steps_read(tmp_path)
    assert [number for numbers in read for number in numbers] == expected
    assert [len(numbers) for numbers in read] == [BATCH] * 16
    assert [row["step"] for row in read_metrics(tmp_path / "metrics.jsonl") if "loss" in row] == list(
        range(1, 17)
    )


def test_without_a_checkpoint_it_goes_back_to_the_beginning(tmp_path: Path, poison: Any) -> None:
    poison(samples(BATCH, 2 * BATCH))
    made = job(tmp_path, settings())
    progress = train(made)
    assert told(tmp_path, "rewound")[0]["to"] == 0
    assert progress.updates == 16
    bad = range(BATCH, 3 * BATCH)
    assert [n for row in steps_read(tmp_path) for n in row] == [n for n in range(18 * BATCH) if n not in bad]


@pytest.mark.parametrize("kill_at", range(6, 17))
def test_killed_anywhere_around_a_rewind_it_ends_the_same(tmp_path: Path, poison: Any, kill_at: int) -> None:
    poison(samples(*FAILING))
    whole = job(tmp_path / "whole", settings())
    train(whole)
    # Calls: steps 1 to 8, the last two of them in vain; then 5 to 16 after the rewind.
    poison(samples(*FAILING), kill_at=kill_at)
    with pytest.raises(Killed):
        train(job(tmp_path / "killed", settings()))
    poison(samples(*FAILING))
    again = job(tmp_path / "killed", settings())
    train(again)
    assert_same(weights(again.model), weights(whole.model))
    assert figures(tmp_path / "killed") == figures(tmp_path / "whole")
    assert files(tmp_path / "killed" / "checkpoints") == files(tmp_path / "whole" / "checkpoints")


def test_when_rewinds_do_not_help_it_gives_up_and_says_what_to_do(tmp_path: Path, poison: Any) -> None:
    poison(samples(*range(6 * BATCH, 99 * BATCH)))
    with pytest.raises(TsumuguError) as caught:
        train(job(tmp_path / "run", settings()))
    said = str(caught.value)
    assert said.startswith("pretrain: training has diverged at step 8: the loss is nan. Going back to a ")
    assert "did not help, 2 times." in said
    assert "Lower pretrain.optimizer.learning_rate" in said
    assert said.endswith(f"tsumugu tokens show {tmp_path} --batch 8")
    assert [event["event"] for event in told(tmp_path / "run", "rewound", "gave up")] == [
        "rewound", "rewound", "gave up",
    ]  # fmt: skip
    # Steps 7 and 8 in vain, and twice again with what came after.
    read = list(range(6 * BATCH)), list(range(11 * BATCH, 12 * BATCH))
    assert [n for row in steps_read(tmp_path / "run")[:6] for n in row] == read[0]
    assert steps_read(tmp_path / "run")[-1] == read[1]
    # Again, and it comes to the same end.
    with pytest.raises(TsumuguError, match="training has diverged at step 8"):
        train(job(tmp_path / "run", settings()))


def test_a_spike_is_left_out_only_where_spikes_are_looked_for(tmp_path: Path, monkeypatch: Any) -> None:
    original = trainer._gradients

    def spiking(job: Job, batch: Any, *, stop: Callable[[], bool]) -> StepResult:
        result = original(job, batch, stop=stop)
        loss = 50.0 if _sample(batch.tokens[0]) == 9 * BATCH else result.loss
        return StepResult(loss, result.grad_norm, result.targets, result.signals)

    monkeypatch.setattr(trainer, "_gradients", spiking)
    for sigmas, skipped in ((None, []), (20.0, [10])):
        stability = StabilityConfig(window=8, spike_sigmas=sigmas)
        train(job(tmp_path / str(sigmas), settings(stability=stability)))
        assert [event["step"] for event in told(tmp_path / str(sigmas), "skipped")] == skipped


def test_no_checkpoint_ever_holds_what_is_no_number(tmp_path: Path, poison: Any) -> None:
    # Step 4 fails, after which a checkpoint is due.
    poison(samples(3 * BATCH))
    made = job(tmp_path, settings(keep_checkpoints=9))
    train(made)
    for checkpoint in sorted((tmp_path / "checkpoints").iterdir()):
        tensors = load_file(checkpoint / "shard-00000.safetensors")
        assert all(tensor.isfinite().all() for tensor in tensors.values()), checkpoint
    assert len(list((tmp_path / "checkpoints").iterdir())) == 4
