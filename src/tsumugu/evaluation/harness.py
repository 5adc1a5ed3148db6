"""Tasks of lm-evaluation-harness, answered by our adapter and run offline."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.subject import Subject

TASK_FOLDER = Path(__file__).parent / "tasks"


def run_tasks(subject: Subject, tasks: Sequence[str], *, batch_size: int) -> dict[str, dict[str, Any]]:
    """Accuracy and standard error of every task, zero-shot, by task name.

    Raises:
        TsumuguError: lm-evaluation-harness is not installed.
    """
    # The task files lie here and need nothing from the network.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        from lm_eval.evaluator import simple_evaluate
        from lm_eval.tasks import TaskManager
    except ImportError as error:
        raise TsumuguError(
            f"evaluate.tasks needs lm-evaluation-harness ({error}). Install it with "
            f"pip install 'tsumugu[evaluate]', or run without tasks: evaluate.tasks=[]"
        ) from error
    from tsumugu.evaluation.answering import TsumuguLM

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    results = simple_evaluate(
        model=TsumuguLM(subject, batch_size=batch_size),
        tasks=list(tasks),
        task_manager=TaskManager(include_path=str(TASK_FOLDER), include_defaults=False),
        num_fewshot=0,
        bootstrap_iters=0,
        log_samples=False,
    )
    return {
        name: {
            "accuracy": found["acc,none"],
            "accuracy_stderr": _binomial_stderr(found["acc,none"], results["n-samples"][name]["effective"]),
            "accuracy_by_length": found["acc_norm,none"],
            "questions": results["n-samples"][name]["effective"],
            "chance": 0.25,
        }
        for name, found in results["results"].items()
    }


def _binomial_stderr(accuracy: float, questions: int) -> float:
    return float(np.sqrt(accuracy * (1 - accuracy) / (questions - 1)))
