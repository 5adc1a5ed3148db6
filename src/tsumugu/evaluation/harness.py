"""Tasks of lm-evaluation-harness, answered by our adapter: scores, their errors, and every item."""

import io
import logging
import random
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.answers import AnswerFile
from tsumugu.evaluation.statistics import mean_and_stderr
from tsumugu.evaluation.subject import Subject
from tsumugu.evaluation.tasks.baselines import task_baseline
from tsumugu.evaluation.tasks.groups import TaskChoice
from tsumugu.training.processes import first_before_others

_RESAMPLES = 200
_SEED = 1234


@dataclass(frozen=True)
class TaskResult:
    """What a model reached on a task."""

    facts: dict[str, Any]
    """As `results.json` has it: version, few-shot count, questions, metrics with standard errors, ..."""
    items: list[dict[str, Any]]
    """One per question: `id`, `hash` (of the question as the data set has it), and its metrics."""
    texts: list[str]
    """What each question says, without instructions and examples."""


def run_tasks(
    subject: Subject,
    choices: Sequence[TaskChoice],
    *,
    batch_size: int,
    data: Path | None = None,
    cache: Path | None = None,
    quiet: bool = False,
    opened: Sequence[Any] | None = None,
) -> dict[str, TaskResult]:
    """Ask a model the questions of some tasks.

    Under torchrun all processes call it together and share the questions; the results are the first
    one's, the others get none. Greedy and seeded: the same model gets the same scores again.

    Args:
        subject: who is asked.
        choices: of `groups.resolve_tasks`.
        batch_size: rows in one forward pass of one process.
        data: a folder of local data files; default: that of TSUMUGU_DATA, if there is one.
        cache: a folder for what is answered already, so that a crash costs no answer twice.
        quiet: without progress bars.
        opened: what `open_together` gave for these choices, where they are open already.

    Raises:
        TsumuguError: lm-evaluation-harness is not installed, a task file is wrong, or data are missing.
    """
    if not choices:
        return {}
    if opened is None:
        opened = open_together(choices, data)
    from tsumugu.evaluation.answering import TsumuguLM

    model = TsumuguLM(subject, batch_size=batch_size, quiet=quiet)
    if cache is not None:
        owner = {**subject.facts, "prompt_start": list(subject.prompt_start)}
        model.answers = first_before_others(
            f"answers {cache}", lambda: AnswerFile(cache, owner, rank=model.rank)
        )
    return evaluate_tasks(model, choices, opened)


def open_together(choices: Sequence[TaskChoice], data: Path | None = None) -> list[Any]:
    """The harness's task objects of some choices, in order; downloads are the first process's.

    Raises:
        TsumuguError: as `run_tasks`.
    """
    try:
        import lm_eval  # noqa: F401
    except ImportError as error:
        raise TsumuguError(
            f"evaluate.tasks needs lm-evaluation-harness ({error}). Install it with "
            f"pip install 'tsumugu[evaluate]', or run without tasks: evaluate.tasks=[]"
        ) from error
    from tsumugu.evaluation.tasks.task_loading import open_tasks

    logging.getLogger("lm_eval").setLevel(logging.ERROR)
    names = " ".join(choice.name for choice in choices)
    tasks: list[Any] = first_before_others(f"tasks {names}", lambda: open_tasks(choices, data)[0])
    return tasks


def evaluate_tasks(model: Any, choices: Sequence[TaskChoice], opened: Sequence[Any]) -> dict[str, TaskResult]:
    """Put the questions of opened tasks to a `TsumuguLM`; those with one limit together."""
    by_limit: dict[int | None, list[int]] = defaultdict(list)
    for index, choice in enumerate(choices):
        by_limit[choice.limit].append(index)
    found: dict[str, TaskResult] = {}
    for limit, chosen in by_limit.items():
        found |= _evaluate(model, {choices[i].name: opened[i] for i in chosen}, limit)
    return {choice.name: found[choice.name] for choice in choices if choice.name in found}


def _evaluate(model: Any, tasks: Mapping[str, Any], limit: int | None) -> dict[str, TaskResult]:
    from lm_eval.evaluator import evaluate

    for task in tasks.values():
        # Examples are drawn anew each time, from the same numbers.
        task.set_fewshot_seed(seed=_SEED)
    with ExitStack() as stack:
        stack.enter_context(_own_random_numbers())
        stack.enter_context(_without_bars(model.quiet))
        for task in tasks.values():
            stack.enter_context(_examples_of_one_process(task, model.rank, model.world_size))
        results = evaluate(
            lm=model,
            task_dict={"tasks": dict(tasks), "groups": {}},
            limit=limit,
            bootstrap_iters=0,
            log_samples=True,
        )
    unusual = {kind: _sum(model, dict(counts)) for kind, counts in model.unusual.items()}
    if results is None:
        return {}
    found = {}
    for name, task in tasks.items():
        samples = results["samples"][name]
        found[name] = _result(task, samples, results["results"][name], unusual)
    return found


def _sum(model: Any, counts: dict[str, int]) -> dict[str, int]:
    """Counts by task, of all processes together."""
    everyone = model.gather_object(counts)
    total: dict[str, int] = defaultdict(int)
    for theirs in everyone or []:
        for name, count in theirs.items():
            total[name] += count
    return total


def _result(
    task: Any,
    samples: Sequence[Mapping[str, Any]],
    scores: Mapping[str, Any],
    unusual: Mapping[str, Mapping[str, int]],
) -> TaskResult:
    from tsumugu.evaluation.tasks.harness_task import few_shot_split

    name = task.config.task
    samples = sorted(samples, key=lambda sample: (sample["filter"], sample["doc_id"]))
    filters = sorted({sample["filter"] for sample in samples})
    metrics: dict[str, dict[str, float | None]] = {}
    by_item: dict[int, dict[str, float]] = defaultdict(dict)
    for filtered in filters:
        of_filter = [sample for sample in samples if sample["filter"] == filtered]
        for metric in of_filter[0]["metrics"]:
            label = metric if len(filters) == 1 else f"{metric} ({filtered})"
            values = [sample[metric] for sample in of_filter]
            metrics[label] = {
                "value": _number(scores[f"{metric},{filtered}"]),
                "stderr": _stderr(values, task.aggregation()[metric]),
            }
            for sample, value in zip(of_filter, values, strict=True):
                if isinstance(value, int | float):
                    by_item[sample["doc_id"]][label] = float(value)
    first = [sample for sample in samples if sample["filter"] == filters[0]]
    baseline = task_baseline(first)
    return TaskResult(
        facts={
            "version": task.config.metadata.get("version") if task.config.metadata else None,
            "num_fewshot": task.config.num_fewshot or 0,
            "few_shot_from": few_shot_split(task),
            "questions": len(first),
            "metrics": metrics,
            "main_metric": next(iter(metrics)),
            "chance": baseline.chance if baseline else None,
            "majority": baseline.majority if baseline else None,
            **{kind: counts.get(name, 0) for kind, counts in unusual.items()},
        },
        items=[
            {"id": sample["doc_id"], "hash": sample["doc_hash"], **by_item[sample["doc_id"]]}
            for sample in first
        ],
        texts=[_question_text(sample["doc"]) for sample in first],
    )


def _stderr(values: Sequence[Any], aggregate: Any) -> float | None:
    """Standard error over questions: of a mean, by its formula; of anything else (a correlation, a
    balanced accuracy), the standard deviation over bootstrap samples."""
    if all(isinstance(value, int | float) for value in values):
        return mean_and_stderr(values)[1]
    if len(values) < 2:
        return None
    draw = np.random.default_rng(0)
    resampled = [
        aggregate([values[index] for index in draw.integers(0, len(values), len(values))])
        for _ in range(_RESAMPLES)
    ]
    return _number(np.std([value for value in resampled if np.isfinite(value)], ddof=1))


def _number(value: Any) -> float | None:
    """JSON has no word for what is not a number."""
    return float(value) if np.isfinite(value) else None


def _question_text(example: Any) -> str:
    """The texts of an example, in the order of its fields."""
    if isinstance(example, str):
        return example
    if isinstance(example, Mapping):
        return "\n".join(filter(None, (_question_text(value) for value in example.values())))
    if isinstance(example, Sequence):
        return "\n".join(filter(None, (_question_text(value) for value in example)))
    return ""


@contextmanager
def _without_bars(quiet: bool) -> Iterator[None]:
    """The harness shows a bar of its own while it writes prompts, and has no switch for it."""
    if not quiet:
        yield
        return
    with redirect_stderr(io.StringIO()):
        yield


@contextmanager
def _examples_of_one_process(task: Any, rank: int, processes: int) -> Iterator[None]:
    """Give each question the examples that it has when one process asks all of them.

    A sampler draws from one row of random numbers, question after question. A process that asks every
    n-th question alone would draw what belongs to others, so it draws for those between as well.
    """
    if processes == 1 or not task.config.num_fewshot:
        yield
        return
    plain, questions, place = task.sampler.sample, list(task.eval_docs), 0

    def sample(n: int, eval_doc: Any = None, **keys: Any) -> Any:
        nonlocal place
        while place % processes != rank:
            plain(n, eval_doc=None if eval_doc is None else questions[place], **keys)
            place += 1
        place += 1
        return plain(n, eval_doc=eval_doc, **keys)

    task.sampler.sample = sample
    try:
        yield
    finally:
        del task.sampler.sample


@contextmanager
def _own_random_numbers() -> Iterator[None]:
    """Tasks may draw; what they draw is always the same, and nobody else's numbers change."""
    state, numpy_state = random.getstate(), np.random.get_state()
    with torch.random.fork_rng():
        random.seed(_SEED)
        np.random.seed(_SEED)
        torch.manual_seed(_SEED)
        try:
            yield
        finally:
            random.setstate(state)
            np.random.set_state(numpy_state)
