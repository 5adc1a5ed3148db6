"""The `pretrain` section of a recipe."""

from typing import Annotated

from pydantic import Field, model_validator

from tsumugu.section import Section


class OptimizerConfig(Section):
    """AdamW (Loshchilov & Hutter 2019)."""

    learning_rate: Annotated[float, Field(gt=0)]
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """0.95 as in GPT-3; LINE reports that 0.999 made its training unstable."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """On matrices only; biases and norms do not decay."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0


class ScheduleConfig(Section):
    """Linear warm-up, then cosine decay (Loshchilov & Hutter 2017)."""

    warmup_steps: Annotated[int, Field(ge=0)] = 0
    final_share: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the learning rate that is left at the last step."""


class PretrainConfig(Section):
    """Token shards to a trained model."""

    steps: Annotated[int, Field(ge=1)]
    global_batch_size: Annotated[int, Field(ge=1)]
    """Sequences in one optimizer step."""
    micro_batch_size: Annotated[int, Field(ge=1)] | None = None
    """Sequences in one forward pass; the whole batch unless given."""
    sequence_length: Annotated[int, Field(ge=2)]
    """Tokens in one sequence."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on embeddings and on what every block adds; for many epochs on little text."""
    optimizer: OptimizerConfig
    schedule: ScheduleConfig = ScheduleConfig()
    validation_every: Annotated[int, Field(ge=1)] = 100
    """Steps between two measurements of the validation loss."""
    validation_sequences: Annotated[int, Field(ge=1)] = 64
    """Sequences of the validation split that these measurements read, always the same ones."""
    checkpoint_every: Annotated[int, Field(ge=1)] = 100
    """Steps between two checkpoints."""
    keep_checkpoints: Annotated[int, Field(ge=1)] = 2
    """Checkpoints that stay on disk, the newest ones."""

    @model_validator(mode="after")
    def _numbers_fit(self) -> "PretrainConfig":
        if self.schedule.warmup_steps > self.steps:
            raise ValueError(
                f"schedule.warmup_steps = {self.schedule.warmup_steps} is more than steps = {self.steps}"
            )
        if self.micro_batch_size and self.global_batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size = {self.micro_batch_size} does not divide "
                f"global_batch_size = {self.global_batch_size}"
            )
        return self
