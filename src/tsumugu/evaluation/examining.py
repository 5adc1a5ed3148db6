"""Tasks that a model answers while it is trained, on all processes together, whatever the layout."""

import gc
from collections.abc import Callable
from dataclasses import replace

import torch

from tsumugu.evaluation.answering import TsumuguLM
from tsumugu.evaluation.harness import evaluate_tasks, open_together
from tsumugu.evaluation.subject import native_subject
from tsumugu.evaluation.tasks.groups import resolve_tasks
from tsumugu.tokenizer.encoder import Encoder
from tsumugu.training.config import TaskEvaluationConfig
from tsumugu.training.parallelize import ParallelModel
from tsumugu.training.whole import whole_decoder


def examiner(
    settings: TaskEvaluationConfig, encoder: Encoder, *, sequence_length: int, dtype: torch.dtype
) -> Callable[[ParallelModel], dict[str, float]]:
    """What `Job.examine` is: a function from the model as it is to its scores, by `task/metric`.

    The tasks are opened here, so that a wrong name or missing data are told before training begins.
    While it is asked, every process holds the whole model; afterwards nothing of it is left.

    Args:
        settings: which tasks.
        encoder: the run's tokenizer.
        sequence_length: tokens that the model is trained to see at once.
        dtype: of matrix products.

    Raises:
        TsumuguError: as `harness.run_tasks`.
    """
    choices = resolve_tasks(settings.tasks)
    if settings.limit is not None:
        choices = [replace(choice, limit=settings.limit) for choice in choices]
    opened = open_together(choices)

    def examine(model: ParallelModel) -> dict[str, float]:
        whole = whole_decoder(model, dtype=dtype)
        subject = native_subject("live", whole, encoder, max_length=sequence_length)
        answering = TsumuguLM(subject, batch_size=settings.batch_size, quiet=True)
        try:
            results = evaluate_tasks(answering, choices, opened)
        finally:
            del answering, subject, whole
            gc.collect()
            if model.device.type == "cuda":
                torch.cuda.empty_cache()
        return {
            f"{name}/{metric}": found["value"]
            for name, result in results.items()
            for metric, found in result.facts["metrics"].items()
            if found["value"] is not None
        }

    return examine
