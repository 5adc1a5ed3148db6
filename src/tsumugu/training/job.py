"""What a training run is given."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tsumugu.tokens.loader import Loader
from tsumugu.training.config import PretrainConfig
from tsumugu.training.parallelize import ParallelModel
from tsumugu.training.processes import Process
from tsumugu.training.tracking import Trackers
from tsumugu.training.validation import Validation


@dataclass(frozen=True)
class Job:
    """A training run as this process sees it."""

    model: ParallelModel
    config: PretrainConfig
    loader: Loader
    validation: Validation
    process: Process
    seed: int
    folder: Path
    """For checkpoints, `metrics.jsonl` and `events.jsonl`."""
    side_folder: Path
    """For traces and the like, which are not part of the result."""
    micro_batch_size: int
    flops_per_token: int
    peak_flops: float | None
    """Of one device; None if unknown."""
    trackers: Trackers
    examine: Callable[[ParallelModel], dict[str, float]] | None = None
    """Asks the model as it is now, on all processes together; the scores by name are the first one's."""
