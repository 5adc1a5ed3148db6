"""What a training is, without what trains it."""

from dataclasses import dataclass
from pathlib import Path

from tsumugu.model.config import ModelConfig
from tsumugu.tuning.config import TuneConfig


@dataclass(frozen=True)
class Phase:
    """One training: supervised, or by preferences."""

    name: str
    base: Path
    """The Hugging Face directory that it begins with."""
    output: Path
    """The folder that it leaves; with LoRA, `output/adapter` is what was learned."""
    work: Path
    """For checkpoints."""
    metrics: Path
    config: TuneConfig
    model: ModelConfig
    """What the recipe says of the model: which modules LoRA can take."""
    max_shard_size: str
    """Of a file of weights."""
    seed: int
    epochs: int
    learning_rate: float


@dataclass(frozen=True)
class Preference:
    """Two answers to a prompt, as ids."""

    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]
