"""The results of one model in a folder, and what an evaluation adds to them.

What is there of the same model, asked alike, is kept; what is there of another model in the same
place, or of the same one with other weights, gives way.
"""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from tsumugu.errors import TsumuguError
from tsumugu.evaluation.measuring import Windows
from tsumugu.evaluation.perplexity import Predicted
from tsumugu.evaluation.results import (
    RESULTS,
    Results,
    TaskFigures,
    TextFigures,
    machine,
    read_documents,
    read_results,
    versions,
    write_results,
)
from tsumugu.evaluation.texts import Texts
from tsumugu.files import read_json, write_json

_ASKED = "asked.json"
"""How the tasks of a folder were asked, beside its results."""
_NOT_THE_MODEL = {"name", "place", "prompt_start", "add_bos", "max_length"}
"""Facts that may differ between two evaluations of one model."""


def known_model(
    folder: Path, *, place: str, fingerprint: str, add_bos: bool | None, device: torch.device
) -> dict[str, Any] | None:
    """What results in a folder say of a model, if opening it again would say the same.

    Args:
        folder: of its results.
        place: where it lies now.
        fingerprint: of its files, `subject.fingerprint_of`.
        add_bos: as it is to be asked now.
        device: on which it would be computed.

    Raises:
        TsumuguError: the results are damaged.
    """
    if not (folder / RESULTS).exists():
        return None
    earlier = read_results(folder)
    wanted = {"name": place, "place": place, "fingerprint": fingerprint, "add_bos": add_bos}
    if earlier.machine.get("device") != device.type:
        return None
    # An earlier version of this program did not note all of them.
    return earlier.model if wanted.items() <= earlier.model.items() else None


class KeptResults:
    """The results of one model, and what is added to them."""

    def __init__(self, folder: Path, model: Mapping[str, Any], device: torch.device) -> None:
        """Keep what is there, if it is of the same model.

        Args:
            folder: of results.
            model: its name, and the facts that a subject has.
            device: on which it is computed.
        """
        self.folder = folder
        self._asked: dict[str, Any] = {}
        self._begun = time.perf_counter()
        processes = dist.get_world_size() if dist.is_initialized() else 1
        self.results = Results(
            model=dict(model),
            versions=versions(),
            machine=machine(device, processes=processes),
            seconds=0.0,
        )
        if (folder / RESULTS).exists():
            earlier = read_results(folder)
            if _identity(earlier.model) == _identity(model):
                kept = {key: getattr(earlier, key) for key in ("perplexity", "tasks", "seconds")}
                self.results = self.results.model_copy(update=kept)
                if (folder / _ASKED).exists():
                    self._asked = read_json(folder / _ASKED)

    def has_task(self, name: str, asked: Mapping[str, Any]) -> bool:
        """Whether a task was asked like this."""
        return name in self.results.tasks and self._asked.get(name) == asked

    def kept_documents(self, text: Texts, windows: Windows) -> tuple[Predicted, ...] | None:
        """The documents of an earlier evaluation, if these are the same and were read alike."""
        figures = self.results.perplexity.get(text.name)
        if figures is None or Windows(figures.context_tokens, figures.stride) != windows:
            return None
        if figures.unreadable != len(text.unreadable):
            return None
        try:
            found = read_documents(self.folder, text.name)
        except TsumuguError:
            # Of a write that was cut off. They are made again.
            return None
        same = [(one.id, one.source) for one in found] == [(one.id, one.source) for one in text.documents]
        return found if same else None

    def add(
        self,
        *,
        perplexity: Mapping[str, TextFigures] | None = None,
        documents: Mapping[str, Sequence[Predicted]] | None = None,
        tasks: Mapping[str, TaskFigures] | None = None,
        items: Mapping[str, Sequence[Mapping[str, Any]]] | None = None,
        asked: Mapping[str, Any] | None = None,
    ) -> None:
        """Write more results."""
        now = time.perf_counter()
        self.results = self.results.model_copy(
            update={
                "perplexity": {**self.results.perplexity, **(perplexity or {})},
                "tasks": {**self.results.tasks, **(tasks or {})},
                "seconds": round(self.results.seconds + now - self._begun, 3),
            }
        )
        self._begun = now
        if asked:
            # Whoever is killed between two files has asked nothing yet.
            others = {name: how for name, how in self._asked.items() if name not in asked}
            write_json(self.folder / _ASKED, others)
            self._asked = {**others, **asked}
        write_results(self.folder, self.results, documents=documents, items=items)
        if asked:
            write_json(self.folder / _ASKED, self._asked)

    def only(self, texts: Sequence[str], tasks: Sequence[str]) -> Results:
        """What this call asked for."""
        update = {
            "perplexity": {name: self.results.perplexity[name] for name in texts},
            "tasks": {name: self.results.tasks[name] for name in tasks},
        }
        return self.results.model_copy(update=update)


def _identity(model: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in model.items() if key not in _NOT_THE_MODEL}
