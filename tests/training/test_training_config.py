"""The `pretrain` section says what does not fit together."""

from typing import Any

import pytest
from pydantic import ValidationError

from tsumugu.training.config import PretrainConfig

BASE: dict[str, Any] = {
    "steps": 100,
    "global_batch_size": 32,
    "sequence_length": 16,
    "optimizer": {"learning_rate": 0.01},
}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"optimizer": {"learning_rate": 0.1, "muon_learning_rate": 0.02}}, "for optimizer.name = muon"),
        ({"optimizer": {"learning_rate": 0.1, "muon_ns_steps": 3}}, "for optimizer.name = muon"),
        ({"optimizer": {"learning_rate": 0.1, "name": "muon", "muon_ns_steps": 4}}, "3 or 5"),
        ({"optimizer": {"learning_rate": 0.1, "name": "lion"}}, "'adamw' or 'muon'"),
        ({"schedule": {"decay_share": 0.1}}, "decay_share is for schedule.name = wsd; it is cosine"),
        ({"schedule": {"name": "inverse_sqrt"}}, "warmup_steps must be at least 1"),
        ({"schedule": {"warmup_steps": 101}}, "is more than steps = 100"),
        (
            {"schedule": {"name": "wsd", "warmup_steps": 81}},
            "warmup_steps = 81 and the 20 steps of decay are more than steps = 100",
        ),
        ({"micro_batch_size": 5}, "micro_batch_size = 5 does not divide global_batch_size = 32"),
        ({"batch_size_warmup": {"start": 5, "steps": 9}}, "start = 5 does not divide global_batch_size = 32"),
        (
            {"batch_size_warmup": {"start": 4, "steps": 9}, "micro_batch_size": 8},
            "micro_batch_size = 8 does not divide batch_size_warmup.start = 4",
        ),
        ({"batch_size_warmup": {"start": 4, "steps": 101}}, "steps = 101 is more than steps = 100"),
        ({"stability": {"spike_sigmas": 0.0}}, "greater than 0"),
        ({"stability": {"window": 3}}, "greater than or equal to 4"),
        ({"activation_checkpointing": {"every": 2}}, "every = 2 says nothing with mode = none"),
        (
            {"compile": True, "activation_checkpointing": {"mode": "full", "memory_budget": 0.5}},
            "memory_budget takes the place of a mode; mode is full",
        ),
        ({"activation_checkpointing": {"memory_budget": 0.5}}, "set compile = true"),
        ({"activation_checkpointing": {"memory_budget": 1.5}}, "less than or equal to 1"),
        ({"profile": {"first_step": 99, "steps": 3}}, "3 steps from step 99 on are more than steps = 100"),
        ({"tracking": ("wandb", "wandb")}, "names one twice"),
        ({"tracking": ("mlflow",)}, "'tensorboard', 'wandb' or 'trackio'"),
        ({"precision": "float16"}, "'auto', 'float32', 'bfloat16' or 'float8'"),
        ({"precision": "float8", "sequence_length": 68}, "do not divide sequence_length = 68"),
    ],
)
def test_what_does_not_fit_is_said(changes: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PretrainConfig.model_validate(BASE | changes)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer": {"learning_rate": 0.1, "name": "muon", "muon_learning_rate": 0.02}},
        {"optimizer": {"learning_rate": 0.1, "name": "muon", "muon_ns_steps": 3}},
        {"schedule": {"name": "wsd", "warmup_steps": 80, "decay_share": 0.2}},
        {"batch_size_warmup": {"start": 8, "steps": 100}, "micro_batch_size": 4},
        {"compile": True, "activation_checkpointing": {"memory_budget": 0.5}},
        {"activation_checkpointing": {"mode": "selective", "every": 2}},
        {"profile": {"first_step": 98, "steps": 3}},
        {"tracking": ()},
    ],
)
def test_what_fits_reads_back_unchanged(changes: dict[str, Any]) -> None:
    config = PretrainConfig.model_validate(BASE | changes)
    assert PretrainConfig.model_validate_json(config.model_dump_json()) == config


def test_a_key_that_nobody_has_set_is_no_other_training() -> None:
    muon = {"learning_rate": 0.1, "name": "muon"}
    plain, quick = (
        PretrainConfig.model_validate(BASE | {"optimizer": optimizer}).result_settings()["optimizer"]
        for optimizer in (muon, muon | {"muon_ns_steps": 3})
    )
    assert "muon_ns_steps" not in plain  # type: ignore[operator]
    assert quick == {**plain, "muon_ns_steps": 3}  # type: ignore[dict-item]
