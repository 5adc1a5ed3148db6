"""Our model behind the `LM` interface of lm-evaluation-harness, and its tasks run offline."""

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.scoring import score
from tsumugu.model.decoder import Decoder
from tsumugu.tokenizer.encoder import Encoder

TASK_FOLDER = Path(__file__).parent / "tasks"
_MOST_NEW_TOKENS = 256


def run_tasks(
    model: Decoder,
    encoder: Encoder,
    tasks: Sequence[str],
    *,
    length: int,
    batch_size: int,
) -> dict[str, dict[str, Any]]:
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
    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    results = simple_evaluate(
        model=_language_model(model, encoder, length=length, batch_size=batch_size),
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


def _language_model(model: Decoder, encoder: Encoder, *, length: int, batch_size: int) -> Any:
    """An instance of the harness's `LM`; made here, since the harness is an optional dependency."""
    from lm_eval.api.model import LM

    start, eos = encoder.prompt_start, encoder.eos_id

    class TsumuguLM(LM):  # type: ignore[misc]
        """Answers requests with the sums of log-probabilities of our decoder."""

        def loglikelihood(self, requests: list[Any]) -> list[tuple[float, bool]]:
            """Log-probability of each continuation after its context."""
            sequences = [_join(encoder, *request.args) for request in requests]
            scored = score(
                model,
                sequences,
                length=length,
                batch_size=batch_size,
                description="evaluate: tasks",
            )
            return [(one.log_probability, one.greedy) for one in scored]

        def loglikelihood_rolling(self, requests: list[Any]) -> list[float]:
            """Log-probability of each whole text."""
            sequences = [(_ids([start, *encoder.encode(request.args[0])]), 1) for request in requests]
            scored = score(
                model,
                sequences,
                length=length,
                batch_size=batch_size,
                description="evaluate: texts",
            )
            return [one.log_probability for one in scored]

        def generate_until(self, requests: list[Any]) -> list[str]:
            """Greedy continuations up to a stop text."""
            return [_continue(model, encoder, *request.args, eos=eos, length=length) for request in requests]

    return TsumuguLM()


def _join(encoder: Encoder, context: str, continuation: str) -> tuple[NDArray[np.int64], int]:
    """The ids of both, and where the continuation's begin, as the harness's own models count it."""
    before = encoder.encode(context)
    whole = encoder.encode(context + continuation)
    return _ids([encoder.prompt_start, *whole]), min(len(before) + 1, len(whole))


@torch.no_grad()
def _continue(
    model: Decoder,
    encoder: Encoder,
    context: str,
    settings: dict[str, Any],
    *,
    eos: int,
    length: int,
) -> str:
    stops = settings.get("until") or []
    stops = [stops] if isinstance(stops, str) else stops
    device = next(model.parameters()).device
    prompt = [encoder.prompt_start, *encoder.encode(context)]
    new: list[int] = []
    text = ""
    while len(new) < settings.get("max_gen_toks", _MOST_NEW_TOKENS) and not any(
        stop in text for stop in stops
    ):
        seen = torch.tensor([(prompt + new)[-length:]], device=device)
        token = int(model(seen)[0, -1].argmax())
        if token == eos:
            break
        new.append(token)
        text = encoder.decode(new)
    for stop in stops:
        text = text.split(stop)[0]
    return text


def _ids(values: list[int]) -> NDArray[np.int64]:
    return np.array(values, dtype=np.int64)
