"""Groups of tasks under one name, and from the names that a user gives to what is run.

`jp-stable-8` has the tasks and few-shot counts of the fork's suite `ja8.conf`; a template is picked
with a colon, `jp-stable-8:0.5`. The default, 0.2, is what the fork used for base models: there the
data sets without it take 0.0, and JCommonsenseQA takes 0.2.1, as the fork itself advises since October
2023 (LINE's entry on its leaderboard is from September 2023 and has 0.2; the task of that name exists).

`line-2023` is what LINE's announcement of August 2023 reports beside perplexity: AI王 without examples,
and JSQuAD with three. The title came into the fork's JSQuAD prompts on 30 September 2023, so the
announcement's were those of version 1.1, without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.tasks.task_files import TaskFile, read_task_files, suggestion


@dataclass(frozen=True)
class TaskChoice:
    """One task as it is to be run."""

    name: str
    num_fewshot: int | None = None
    """Examples in the prompt; None for what the task file says."""
    limit: int | None = None
    """Only the first so many questions; None for all."""


JP_STABLE_SHOTS = {
    "jsquad": 2,
    "jcommonsenseqa": 3,
    "jnli": 3,
    "marc_ja": 3,
    "jaqket": 1,
    "xlsum": 1,
    "xwinograd": 0,
    "mgsm": 5,
}
DEFAULT_TEMPLATE = "0.2"
TEMPLATES = ("0.1", "0.2", "0.3", "0.4", "0.5")
# Where a data set has no prompt of that template, the one that the fork's scripts take instead.
_INSTEAD = {
    ("jcommonsenseqa", "0.2"): "0.2.1",
    ("jnli", "0.1"): "0.2",
    ("marc_ja", "0.1"): "0.2",
    ("xlsum", "0.1"): "0.0",
    ("xlsum", "0.2"): "0.0",
    ("mgsm", "0.1"): "0.0",
    ("mgsm", "0.2"): "0.0",
}

LEADERBOARD = {
    "ja_leaderboard_jaqket_v2": "jaqket",
    "ja_leaderboard_jcommonsenseqa": "jcommonsenseqa",
    "ja_leaderboard_jnli": "jnli",
    "ja_leaderboard_jsquad": "jsquad",
    "ja_leaderboard_marc_ja": "marc_ja",
    "ja_leaderboard_mgsm": "mgsm",
    "ja_leaderboard_xlsum": "xlsum",
    "ja_leaderboard_xwinograd": "xwinograd",
}
"""The harness's own Japanese tasks, and the data set of each in `data.SOURCES`."""


def jp_stable_name(data_set: str, template: str) -> str:
    """The task file of a data set with a template, or with the one that stands in for it."""
    if data_set == "xwinograd":
        return "jp_stable_xwinograd"
    return f"jp_stable_{data_set}_{_INSTEAD.get((data_set, template), template)}"


def jp_stable(template: str) -> tuple[TaskChoice, ...]:
    """The eight tasks of the fork's suite with one template."""
    return tuple(
        TaskChoice(jp_stable_name(data_set, template), shots) for data_set, shots in JP_STABLE_SHOTS.items()
    )


def line_2023(template: str) -> tuple[TaskChoice, ...]:
    """What LINE's announcement reports; the template is JSQuAD's."""
    return TaskChoice("aio", 0), TaskChoice(jp_stable_name("jsquad", template), 3)


def quick(template: str) -> tuple[TaskChoice, ...]:
    """Minutes on a CPU: enough to see that a model has learned something, not to compare it with others."""
    return (
        TaskChoice("kotowari", 0),
        TaskChoice(jp_stable_name("jcommonsenseqa", template), 3, limit=200),
        TaskChoice(jp_stable_name("jsquad", template), 2, limit=50),
    )


_MAKERS = {"line-2023": line_2023, "jp-stable-8": jp_stable, "quick": quick}

GROUPS: dict[str, tuple[TaskChoice, ...]] = {
    **{name: make(DEFAULT_TEMPLATE) for name, make in _MAKERS.items()},
    "japanese_leaderboard": tuple(TaskChoice(name) for name in LEADERBOARD),
}
"""Every group with its default template. `japanese_leaderboard` is the harness's, as it is."""


@dataclass(frozen=True)
class GroupText:
    """A text whose perplexity belongs to a group."""

    name: str
    files: str
    """A pattern of local files in the folder of task data; they come before the dataset."""
    dataset: str
    """On the Hugging Face hub."""
    subset: str
    split: str
    limit: int
    """Documents."""


TEXTS = {
    "line-2023": GroupText(
        name="c4-ja-validation",
        files="c4-ja-validation*.json*",
        dataset="hf://datasets/allenai/c4",
        subset="ja",
        split="validation",
        limit=1000,
    )
}
"""LINE's perplexity is of a part of C4 that the announcement does not name; here it is the first documents of
the validation split of C4's Japanese part (mC4), and what compares are bits per byte."""


def group_texts(names: Sequence[str]) -> list[GroupText]:
    """The texts that belong to groups among some names of tasks and groups."""
    groups = dict.fromkeys(name.partition(":")[0] for name in names)
    return [TEXTS[group] for group in groups if group in TEXTS]


def resolve_tasks(names: Sequence[str]) -> list[TaskChoice]:
    """The tasks behind names of tasks and groups (`NAME` or `GROUP:TEMPLATE`), each once, in order.

    Raises:
        TsumuguError: an unknown name or template, or one task asked for in two ways.
    """
    chosen: dict[str, TaskChoice] = {}
    for name in names:
        for choice in _resolve(name):
            before = chosen.setdefault(choice.name, choice)
            if before != choice:
                raise TsumuguError(
                    f"the task {choice.name} is asked for twice: {_manner(before)}, and {_manner(choice)} by "
                    f"{name}. Run the two in evaluations of their own."
                )
    return list(chosen.values())


def all_tasks() -> dict[str, TaskFile | None]:
    """Every task that `resolve_tasks` knows, with its file; the harness's own have none here."""
    return {**read_task_files(), **dict.fromkeys(LEADERBOARD)}


def _resolve(name: str) -> tuple[TaskChoice, ...]:
    group, colon, template = name.partition(":")
    if group in _MAKERS:
        if colon and template not in TEMPLATES:
            raise TsumuguError(
                f"{name}: there is no template {template!r}; there are {', '.join(TEMPLATES)} "
                f"(0.2 for base models, 0.5 for LINE's and rinna's instruction-tuned ones)"
            )
        return _MAKERS[group](template or DEFAULT_TEMPLATE)
    if name in GROUPS:
        return GROUPS[name]
    known = all_tasks()
    if name in known:
        return (TaskChoice(name),)
    meant = suggestion(name, [*known, *GROUPS]) or "."
    raise TsumuguError(
        f"there is no task or group {name!r}{meant} "
        f"Groups: {', '.join(GROUPS)}. docs/tasks.md lists every task."
    )


def _manner(choice: TaskChoice) -> str:
    shots = "the file's number of" if choice.num_fewshot is None else str(choice.num_fewshot)
    return f"with {shots} examples on {choice.limit or 'all'} questions"
