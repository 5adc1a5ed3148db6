"""Chosen tasks to task objects of lm-evaluation-harness: the only place that talks to its TaskManager."""

import os
from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml
from jinja2 import TemplateError

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.tasks.groups import LEADERBOARD, TaskChoice
from tsumugu.evaluation.tasks.task_files import TASK_FOLDER, check_task_file, read_task_files

# What a slip in a task file turns into once the harness works with it.
_SLIPS = (
    AssertionError,
    AttributeError,
    ImportError,
    KeyError,
    SyntaxError,
    TemplateError,
    TypeError,
    ValueError,
    yaml.YAMLError,
)


def open_tasks(
    choices: Sequence[TaskChoice],
    data: Path | None = None,
    *,
    folder: Path = TASK_FOLDER,
    dynamic_length: bool = True,
) -> tuple[list[Any], Any]:
    """Task objects for `simple_evaluate(tasks=..., num_fewshot=None)`, in order, and their TaskManager.

    A choice's `limit` is not in them: it is an argument of `simple_evaluate`.

    Args:
        data: folder of local data files; stays the one of `TSUMUGU_DATA` where None.
        folder: where the task files are.
        dynamic_length: as in `HarnessTask`; False for models that do not know `longest_of`.

    Raises:
        TsumuguError: the harness is missing, a task file is wrong, or its data are not to be had.
    """
    try:
        import lm_eval.tasks
        from lm_eval.api.registry import AGGREGATION_REGISTRY
        from lm_eval.config.task import TaskConfig

        from tsumugu.evaluation.tasks.data import DATA_VARIABLE
    except ImportError as error:
        raise TsumuguError(
            f"tasks need lm-evaluation-harness ({error}). Install it with pip install 'tsumugu[evaluate]'"
        ) from error
    if data is not None:
        os.environ[DATA_VARIABLE] = str(data)
    files = read_task_files(folder)
    known = [field.name for field in fields(TaskConfig)]
    for file in files.values():
        check_task_file(file, keys=known, aggregations=AGGREGATION_REGISTRY)
    # Not the harness's whole collection: reading its thousands of files takes longer than a quick task.
    leaderboard = Path(lm_eval.tasks.__file__).parent / "japanese_leaderboard"
    manager = lm_eval.tasks.TaskManager(include_path=[folder, leaderboard], include_defaults=False)
    opened = []
    for choice in choices:
        if choice.name not in files and choice.name not in LEADERBOARD:
            raise TsumuguError(f"there is no task {choice.name!r} in {folder}")
        place = files[choice.name].path if choice.name in files else leaderboard / f"{choice.name}.yaml"
        task = _open(manager, choice, place)
        task.dynamic_length = dynamic_length
        opened.append(task)
    return opened, manager


def _open(manager: Any, choice: TaskChoice, place: Path) -> Any:
    from tsumugu.evaluation.tasks.data import missing

    changes: dict[str, Any] = {"task": choice.name}
    if choice.num_fewshot is not None:
        changes["num_fewshot"] = choice.num_fewshot
    if choice.name in LEADERBOARD:
        changes |= _local_leaderboard(choice.name)
    try:
        # The manager changes keys of a registered task only where it is named inside a group.
        return manager.load({"group": "chosen", "task": [changes]})["tasks"][choice.name]
    except TsumuguError:
        raise
    except _SLIPS as error:
        raise TsumuguError(f"{place}: {type(error).__name__}: {error}") from error
    except (OSError, RuntimeError) as error:
        # Only the harness's own tasks load by themselves; ours say it in `data`.
        if choice.name not in LEADERBOARD:
            raise
        raise TsumuguError(missing(LEADERBOARD[choice.name], error)) from error


def _local_leaderboard(name: str) -> dict[str, Any]:
    """Changes to one of the harness's own tasks: nothing but where the data come from.

    Where only the evaluated split is at hand, few-shot examples come from it, without the question.
    """
    from tsumugu.evaluation.tasks.data import TEST, TRAIN, local_file
    from tsumugu.evaluation.tasks.harness_task import warn_of_split

    data_set = LEADERBOARD[name]
    if local_file(data_set, TEST) is None:
        return {}
    evaluated = "test" if data_set in ("mgsm", "xlsum", "xwinograd") else "validation"
    changes: dict[str, Any] = {"custom_dataset": _rows_named(data_set, evaluated)}
    if data_set != "xwinograd" and local_file(data_set, TRAIN) is None:
        # The harness leaves the question out only where examples come from `test_split`.
        changes |= {"training_split": None, "validation_split": None, "test_split": evaluated}
        changes["fewshot_split"] = evaluated
        warn_of_split(name)
    return changes


def _rows_named(data_set: str, evaluated: str) -> Callable[..., Any]:
    from datasets import Dataset, DatasetDict

    from tsumugu.evaluation.tasks.data import TEST, local_rows

    def rows(**_: object) -> DatasetDict:
        names = {TEST: evaluated}
        found = local_rows(data_set).items()
        return DatasetDict({names.get(split, split): Dataset.from_list(one) for split, one in found})

    return rows
