"""Models on texts and tasks, one model in memory at a time: the work of `tsumugu evaluate model`.

Each model's results lie in a folder of its own, and what is there for the same model, text and
settings is not computed again. Under torchrun, documents and questions are shared among the
processes; the first one alone writes.
"""

import gc
import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.evaluation.contamination import CONTAMINATION, contamination_of_run
from tsumugu.evaluation.harness import TaskResult, open_together, run_tasks
from tsumugu.evaluation.keeping import KeptResults, known_model
from tsumugu.evaluation.measuring import Measured, measure, windows_for, windows_of
from tsumugu.evaluation.perplexity import Difference, Predicted, paired_difference, summarize_sources
from tsumugu.evaluation.results import RESULTS, Results, TaskFigures, TextFigures, safe_name
from tsumugu.evaluation.subject import Subject, fingerprint_of, open_subject
from tsumugu.evaluation.tasks.groups import TaskChoice
from tsumugu.evaluation.texts import Texts
from tsumugu.training.device import pick_device
from tsumugu.training.processes import broadcast_object

_ANSWERS = "answers"
"""What `run_tasks` keeps of a task that it did not finish."""


@dataclass(frozen=True)
class Settings:
    """How models are asked."""

    batch_size: int = 16
    context: int | None = None
    """Tokens that a model sees at once, if it can see more."""
    stride: int | None = None
    """By which windows over long texts move on; default: half of what the model sees."""
    data: Path | None = None
    """Where the data of tasks lie."""
    add_bos: bool | None = None
    trust_remote_code: bool = False


@dataclass(frozen=True)
class Assessed:
    """One model, assessed."""

    folder: Path
    results: Results
    documents: dict[str, tuple[Predicted, ...]]
    """By text."""
    unreadable: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """By text: the places and the reasons."""

    @property
    def name(self) -> str:
        """Of the model."""
        return self.results.name


@dataclass(frozen=True)
class Assessment:
    """All models of one call, with the texts and tasks of this call alone."""

    models: tuple[Assessed, ...]
    texts: tuple[str, ...]
    tasks: tuple[str, ...]

    def differences(self, text: str) -> list[tuple[str, Difference]]:
        """Of every other model from the first one, on a text."""
        first, *others = self.models
        return [
            (other.name, paired_difference(first.documents[text], other.documents[text])) for other in others
        ]

    def to_json(self) -> dict[str, Any]:
        """The results of every model, and their differences."""
        return {
            "models": [
                {
                    "folder": str(one.folder),
                    **one.results.to_json(),
                    "unreadable": {name: list(each) for name, each in one.unreadable.items() if each},
                }
                for one in self.models
            ],
            "differences": {
                text: [
                    {
                        "model": name,
                        "than": self.models[0].name,
                        **asdict(difference),
                        "excludes_zero": difference.excludes_zero,
                    }
                    for name, difference in self.differences(text)
                ]
                for text in self.texts
            },
        }


def assess(
    places: Sequence[str],
    texts: Sequence[Texts],
    tasks: Sequence[TaskChoice],
    *,
    output: Path,
    settings: Settings,
    say: Callable[[str], None] = lambda text: None,
) -> Assessment | None:
    """Assess every model, and leave `output/MODEL/results.json`.

    Args:
        places: of models, as in `open_subject`.
        texts: to be predicted.
        tasks: to be answered, of `groups.resolve_tasks`.
        output: folder of the models' folders.
        settings: how they are asked.
        say: told what happens.

    Returns:
        What was found out; None on all processes but the first.

    Raises:
        TsumuguError: a model cannot be opened or asked so, or two would share a folder.
    """
    for name, count in Counter(safe_name(place).casefold() for place in places).items():
        if count > 1:
            raise TsumuguError(f"{count} models would leave their results in {output / name}. Name each once")
    is_first = not dist.is_initialized() or dist.get_rank() == 0
    models: list[Assessed | None] = []
    opened: dict[str, Any] = {}
    for place in places:
        folder = output / safe_name(place)
        fingerprint = fingerprint_of(place)
        known = _known(place, fingerprint, folder, texts, tasks, settings=settings) if is_first else None
        # The first process alone knows.
        missing: list[str] | None = broadcast_object(None if isinstance(known, Assessed) else known)
        if missing is None:
            say(f"{place}: all of it is done already ({folder / RESULTS})")
            models.append(known if isinstance(known, Assessed) else None)
            continue
        # Data that are not there are missed before a large model is read.
        _open_tasks([task for task in tasks if task.name in missing], opened, settings)
        if models:
            _make_room()
        subject = open_subject(place, add_bos=settings.add_bos, trust_remote_code=settings.trust_remote_code)
        models.append(_assess(subject, texts, tasks, opened, folder=folder, settings=settings, say=say))
        del subject
    finished = tuple(one for one in models if one is not None)
    if not finished:
        return None
    return Assessment(finished, tuple(text.name for text in texts), tuple(task.name for task in tasks))


def _known(
    place: str,
    fingerprint: str,
    folder: Path,
    texts: Sequence[Texts],
    tasks: Sequence[TaskChoice],
    *,
    settings: Settings,
) -> Assessed | list[str]:
    """What an earlier evaluation has left of the model at a place, if that is all; else the names of the
    tasks that are missing. For this no model is opened."""
    device = pick_device()
    model = known_model(folder, place=place, fingerprint=fingerprint, add_bos=settings.add_bos, device=device)
    if model is None:
        return [task.name for task in tasks]
    found = KeptResults(folder, model, device)
    windows = windows_of(place, model["max_length"], context=settings.context, stride=settings.stride)
    documents = {text.name: found.kept_documents(text, windows) for text in texts}
    missing = [task.name for task in tasks if not found.has_task(task.name, _asked(task, model, settings))]
    kept = {name: each for name, each in documents.items() if each is not None}
    if missing or len(kept) < len(texts):
        return missing
    return _assessed(found, kept, texts, tasks)


def _assessed(
    found: KeptResults,
    documents: dict[str, tuple[Predicted, ...]],
    texts: Sequence[Texts],
    tasks: Sequence[TaskChoice],
) -> Assessed:
    return Assessed(
        found.folder,
        found.only([text.name for text in texts], [task.name for task in tasks]),
        documents,
        {text.name: text.unreadable for text in texts},
    )


def _open_tasks(tasks: Sequence[TaskChoice], opened: dict[str, Any], settings: Settings) -> list[Any]:
    """The harness's objects of some tasks, in order; each is opened once for all models."""
    new = [task for task in tasks if task.name not in opened]
    if new:
        opened |= zip((task.name for task in new), open_together(new, settings.data), strict=True)
    return [opened[task.name] for task in tasks]


def _make_room() -> None:
    """What the model before has left goes before the next one comes."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def text_figures(measured: Measured, *, unreadable: int = 0) -> TextFigures:
    """What results say of a text."""
    sources = summarize_sources(measured.documents)
    counts = {key: sources["all"][key] for key in ("documents", "tokens", "characters", "bytes")}
    return TextFigures.model_validate(
        {
            **counts,
            **asdict(measured.windows),
            "unfaithful_documents": measured.unfaithful_documents,
            "unknown_tokens": measured.unknown_tokens,
            "unreadable": unreadable,
            "sources": sources,
        },
        strict=False,
    )


def _assess(
    subject: Subject,
    texts: Sequence[Texts],
    tasks: Sequence[TaskChoice],
    opened: dict[str, Any],
    *,
    folder: Path,
    settings: Settings,
    say: Callable[[str], None],
) -> Assessed | None:
    model = {"name": subject.name, **subject.facts}
    windows = windows_for(subject, context=settings.context, stride=settings.stride)
    is_first = not dist.is_initialized() or dist.get_rank() == 0
    found = KeptResults(folder, model, subject.model.device) if is_first else None
    documents: dict[str, tuple[Predicted, ...]] = {}
    for text in texts:
        kept = found.kept_documents(text, windows) if found else None
        if broadcast_object(kept is not None):
            if found and kept:
                say(f"{subject.name}: {text.name} is done already ({folder / RESULTS})")
                documents[text.name] = kept
            continue
        measured = measure(
            subject,
            text,
            windows,
            batch_size=settings.batch_size,
            description=f"{subject.name}: {text.name}",
        )
        if found and measured:
            figures = text_figures(measured, unreadable=len(text.unreadable))
            found.add(perplexity={text.name: figures}, documents={text.name: measured.documents})
            documents[text.name] = measured.documents
    _answer(found, subject, tasks, opened, folder=folder, settings=settings, say=say)
    return _assessed(found, documents, texts, tasks) if found else None


def _answer(
    found: KeptResults | None,
    subject: Subject,
    tasks: Sequence[TaskChoice],
    opened: dict[str, Any],
    *,
    folder: Path,
    settings: Settings,
    say: Callable[[str], None],
) -> None:
    asked = {task.name: _asked(task, subject.facts, settings) for task in tasks}
    done = [name for name in asked if found and found.has_task(name, asked[name])]
    for name in done:
        say(f"{subject.name}: {name} is done already ({folder / RESULTS})")
    # The first process alone knows.
    done = broadcast_object(done)
    missing = [task for task in tasks if task.name not in done]
    if not missing:
        return
    answered = run_tasks(
        subject,
        missing,
        batch_size=settings.batch_size,
        cache=folder / _ANSWERS,
        opened=_open_tasks(missing, opened, settings),
    )
    if found:
        tainted = _tainted(subject, answered, folder)
        found.add(
            tasks={
                name: TaskFigures.model_validate(result.facts | tainted.get(name, {}))
                for name, result in answered.items()
            },
            items={name: result.items for name, result in answered.items()},
            asked={name: asked[name] for name in answered},
        )


def _tainted(subject: Subject, answered: Mapping[str, TaskResult], folder: Path) -> dict[str, dict[str, Any]]:
    """For a run, what of the tasks its training documents hold: to be added to the facts of each."""
    run = subject.facts.get("run")
    if run is None:
        return {}
    found = contamination_of_run(
        Path(run),
        {name: result.texts for name, result in answered.items()},
        work=folder / CONTAMINATION,
        resources=Resources(len(os.sched_getaffinity(0))),
    )
    return {name: {CONTAMINATION: result.to_json()} for name, result in found.items()}


def _asked(task: TaskChoice, model: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """On what answers depend, beside the model and the task."""
    return {
        "num_fewshot": task.num_fewshot,
        "limit": task.limit,
        "prompt_start": model["prompt_start"],
        "max_length": model["max_length"],
        "data": None if settings.data is None else str(settings.data.resolve()),
    }
