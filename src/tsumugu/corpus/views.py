"""What people look at in a finished corpus: some documents from everywhere, one file for each view."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tsumugu.corpus.config import CorpusConfig
from tsumugu.corpus.examples import duplicate_clusters, near_thresholds
from tsumugu.corpus.samples import examples_by_reason
from tsumugu.files import write_json


@dataclass(frozen=True)
class ViewTask:
    """All measured parts, the decisions on them, and the view that is wanted of them."""

    measured: tuple[Path, ...]
    decided: tuple[Path, ...]
    config: CorpusConfig
    output: Path
    """A folder's file of `VIEWS`."""


VIEWS: dict[str, Callable[[ViewTask], object]] = {
    # The one that takes longest first.
    "near_thresholds.json": lambda task: near_thresholds(task.measured, task.config.effective_rules),
    "examples.json": lambda task: examples_by_reason(task.measured, task.decided),
    "clusters.json": lambda task: duplicate_clusters(task.measured, task.decided),
}


def write_view(task: ViewTask) -> None:
    """Write one view."""
    write_json(task.output, VIEWS[task.output.name](task))
