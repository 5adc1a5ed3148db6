"""What people look at in a finished corpus: some documents from everywhere, one file for each view."""

from dataclasses import dataclass
from pathlib import Path

from tsumugu.corpus.config import CorpusConfig
from tsumugu.corpus.examples import duplicate_clusters, near_thresholds
from tsumugu.corpus.samples import examples_by_reason
from tsumugu.files import write_json

VIEWS = ("near_thresholds.json", "examples.json", "clusters.json")
"""The one that takes longest first."""


@dataclass(frozen=True)
class ViewTask:
    """All measured parts, the decisions on them, and the view that is wanted of them."""

    measured: tuple[Path, ...]
    decided: tuple[Path, ...]
    config: CorpusConfig
    output: Path
    """Named as in `VIEWS`."""


def write_view(task: ViewTask) -> None:
    """Write one view."""
    match task.output.name:
        case "near_thresholds.json":
            view: object = near_thresholds(task.measured, task.config.effective_rules)
        case "examples.json":
            view = examples_by_reason(task.measured, task.decided)
        case "clusters.json":
            view = duplicate_clusters(task.measured, task.decided)
        case name:
            raise AssertionError(f"there is no view {name}")
    write_json(task.output, view)
