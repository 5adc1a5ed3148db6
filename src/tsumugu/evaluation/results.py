"""What an evaluation of a model leaves in a folder: `results.json`, and what it is a summary of.

    results.json               figures of every text and task, the model, versions, the machine
    documents/TEXT.jsonl       one line for each document: what it cost
    items/TASK.jsonl           one line for each question: id, hash, metrics

The files of documents and items are written first, so whoever finds a figure finds its documents.
Any later evaluation of the same model adds to the folder.
"""

import hashlib
import json
import math
import os
import platform
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.perplexity import ALL, Predicted
from tsumugu.files import write_json, write_text
from tsumugu.versions import installed_versions

RESULTS = "results.json"
_LIBRARIES = ("numpy", "torch", "transformers", "tokenizers", "sentencepiece", "lm_eval", "datasets")
_LONGEST_NAME = 120


class _Part(BaseModel):
    # What a later version adds is kept; what this one knows must be right.
    model_config = ConfigDict(extra="allow", frozen=True, strict=True, allow_inf_nan=False)


class SourceFigures(_Part):
    """Of `perplexity.summarize`, which says what they mean."""

    documents: int
    tokens: int
    characters: int
    bytes: int
    nats_per_token: float
    perplexity_per_token: float
    perplexity_per_character: float
    perplexity_per_byte: float
    bits_per_byte: float
    bits_per_byte_stderr: float | None
    bits_per_byte_interval: tuple[float, float]


class TextFigures(_Part):
    """Of one text: what was read, how, and what came out."""

    documents: int
    tokens: int
    characters: int
    bytes: int
    context_tokens: int
    stride: int
    unfaithful_documents: int
    """Whose tokens give another text."""
    unknown_tokens: int
    unreadable: int
    """Documents that could not be read, and are not in the others."""
    sources: dict[str, SourceFigures]
    """By source, and under `all`."""

    @property
    def total(self) -> SourceFigures:
        """Of all sources."""
        return self.sources[ALL]


class Metric(_Part):
    """A value with its standard error, where they exist: a correlation with a constant does not."""

    value: float | None
    stderr: float | None


class TaskFigures(_Part):
    """Of one task."""

    version: int | float | str | None
    num_fewshot: int
    few_shot_from: str | None
    """The part of the data that examples were drawn from."""
    questions: int
    metrics: dict[str, Metric]
    main_metric: str
    chance: float | None
    """The main metric of blind guesses."""
    majority: float | None
    """The main metric of always the same answer."""
    truncated: int = 0
    """Prompts that lost their beginning, one for each choice of a question."""
    empty: int = 0
    """Answers without a token."""

    def cautions(self) -> Iterator[str]:
        """What makes the scores something else than they seem, in words."""
        if self.truncated:
            yield (
                f"{self.truncated:,} prompts, of {self.questions:,} questions, were longer than the model "
                f"can see and lost their beginning"
            )
        if self.empty:
            yield f"{self.empty:,} answers have no token and count as certain"


class Results(_Part):
    """All of `results.json`."""

    format: Literal[1] = 1
    model: dict[str, Any]
    """`name`, and what is known of the model."""
    perplexity: dict[str, TextFigures] = Field(default_factory=dict)
    tasks: dict[str, TaskFigures] = Field(default_factory=dict)
    versions: dict[str, str]
    machine: dict[str, Any]
    seconds: float
    """That the evaluations took which made these results."""

    @property
    def name(self) -> str:
        """Of the model."""
        return str(self.model["name"])

    def to_json(self) -> dict[str, Any]:
        """As it is written."""
        return self.model_dump(mode="json")


_DOCUMENT = TypeAdapter(Predicted)


def write_results(
    folder: Path,
    results: Results,
    *,
    documents: Mapping[str, Sequence[Predicted]] | None = None,
    items: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
) -> None:
    """Write `results.json`, and before it the documents (by text) and items (by task) that are new."""
    for text, several in (documents or {}).items():
        _write_lines(documents_path(folder, text), (asdict(one) for one in several))
    for task, each in (items or {}).items():
        _write_lines(items_path(folder, task), each)
    write_json(folder / RESULTS, results.to_json())


def read_results(folder: Path) -> Results:
    """The results in a folder.

    Raises:
        TsumuguError: there are none, or they are damaged or of another format; the message says where.
    """
    path = folder / RESULTS
    try:
        found = Results.model_validate_json(path.read_bytes())
    except FileNotFoundError as error:
        raise TsumuguError(
            f"{folder}: there is no {RESULTS} here. Make one: tsumugu evaluate model MODEL --output DIR, "
            f"which writes DIR/MODEL/{RESULTS}"
        ) from error
    except OSError as error:
        raise TsumuguError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise _damaged(path, error) from error
    if "name" not in found.model:
        raise TsumuguError(
            f"{path} is damaged: model.name is missing. Delete it and evaluate the model again"
        )
    for text, figures in found.perplexity.items():
        if ALL not in figures.sources:
            raise TsumuguError(
                f"{path} is damaged: perplexity.{text}.sources has no {ALL!r}. Delete it and evaluate the "
                f"model again"
            )
    return found


def read_documents(folder: Path, text: str) -> tuple[Predicted, ...]:
    """What each document of a text cost the model whose results are in `folder`, in their order.

    Raises:
        TsumuguError: there are none, or they are damaged, or not those of `results.json`.
    """
    figures = read_results(folder).perplexity.get(text)
    if figures is None:
        raise TsumuguError(f"{folder / RESULTS}: there is no text {text!r}")
    path = documents_path(folder, text)
    found = []
    for number, line in _lines(path):
        try:
            found.append(_DOCUMENT.validate_json(line, strict=True))
        except ValidationError as error:
            raise _damaged(path, error, line=number) from error
        if not math.isfinite(found[-1].nats):
            raise TsumuguError(f"{path}, line {number}: nats are no number. Evaluate the model again")
    counted = (len(found), sum(one.tokens for one in found), sum(one.bytes for one in found))
    if counted != (figures.documents, figures.tokens, figures.bytes):
        raise TsumuguError(
            f"{path} has {counted[0]} documents of {counted[2]} bytes, and {RESULTS} speaks of "
            f"{figures.documents} of {figures.bytes}. Delete {folder} and evaluate the model again"
        )
    return tuple(found)


def read_items(folder: Path, task: str) -> tuple[dict[str, Any], ...]:
    """What the model made of each question of a task, in their order: id, hash, values of metrics.

    Raises:
        TsumuguError: there are none, or they are damaged.
    """
    path = items_path(folder, task)
    found = []
    for number, line in _lines(path):
        try:
            item = json.loads(line)
        except ValueError as error:
            raise TsumuguError(f"{path}, line {number}: {error}. Evaluate the model again") from error
        if not isinstance(item, dict) or "id" not in item:
            raise TsumuguError(f"{path}, line {number}: not an item with an id. Evaluate the model again")
        found.append(item)
    return tuple(found)


def safe_name(name: str) -> str:
    """A name for files and folders: `line-corporation/japanese-large-lm-1.7b` has `--` for its slash."""
    safe = re.sub(r"[^\w.-]+", "_", name.replace("/", "--")).strip(".-_")
    if len(safe) > _LONGEST_NAME:
        safe = f"{safe[-_LONGEST_NAME:].strip('.-_')}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"
    return safe or "unnamed"


def versions() -> dict[str, str]:
    """Of what computes the figures."""
    return installed_versions(_LIBRARIES)


def machine(device: torch.device, *, processes: int = 1) -> dict[str, Any]:
    """What the figures were computed on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    return {
        "device": device.type,
        "device_name": name,
        "processes": processes,
        "threads": torch.get_num_threads(),
        "cores": os.cpu_count(),
        "system": platform.platform(),
    }


def documents_path(folder: Path, text: str) -> Path:
    """Where the documents of a text are."""
    return folder / "documents" / f"{safe_name(text)}.jsonl"


def items_path(folder: Path, task: str) -> Path:
    """Where the questions of a task are."""
    return folder / "items" / f"{safe_name(task)}.jsonl"


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    lines = (json.dumps(dict(row), ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
    write_text(path, "".join(lines))


def _lines(path: Path) -> list[tuple[int, str]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise TsumuguError(f"{path} cannot be read: {error}. Evaluate the model again") from error
    # Not splitlines, for which a line may end inside of a string.
    return [(number, line) for number, line in enumerate(text.split("\n"), 1) if line]


def _damaged(path: Path, error: ValidationError, *, line: int | None = None) -> TsumuguError:
    first = error.errors(include_url=False)[0]
    where = ".".join(map(str, first["loc"]))
    at = f", line {line}" if line else ""
    key = f" {where}:" if where else ""
    return TsumuguError(
        f"{path}{at} is damaged, or of another version of Tsumugu:{key} {first['msg']}. Delete it and "
        f"evaluate the model again"
    )
