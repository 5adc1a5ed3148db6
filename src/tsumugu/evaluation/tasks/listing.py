"""All tasks and groups, for people and programs: `tsumugu evaluate tasks`."""

from dataclasses import asdict, dataclass
from typing import Any

from tsumugu.evaluation.tasks.groups import GROUPS, TEXTS, all_tasks
from tsumugu.terminal import table


@dataclass(frozen=True)
class Listed:
    """One task as its file describes it; the harness's own have a name only."""

    name: str
    metrics: tuple[str, ...]
    num_fewshot: int | None
    version: str
    source: str
    license: str


@dataclass(frozen=True)
class Listing:
    """Tasks and groups."""

    tasks: tuple[Listed, ...]
    groups: dict[str, tuple[str, ...]]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return {"tasks": [asdict(task) for task in self.tasks], "groups": self.groups}


def list_tasks() -> Listing:
    """Every task that `--tasks` and `evaluate.tasks` know."""
    tasks = []
    for name, file in all_tasks().items():
        metadata = file.metadata if file else {}
        tasks.append(
            Listed(
                name=name,
                metrics=file.metrics if file else (),
                num_fewshot=file.contents.get("num_fewshot", 0) if file else None,
                version=str(metadata.get("version", "")),
                source=str(metadata.get("source", "" if file else "lm-evaluation-harness")),
                license=str(metadata.get("license", "")),
            )
        )
    groups = {}
    for group, choices in GROUPS.items():
        names = [choice.name for choice in choices]
        groups[group] = tuple(names + ([f"text {TEXTS[group].name}"] if group in TEXTS else []))
    return Listing(tuple(tasks), groups)


def render(listing: Listing) -> str:
    """As text for a terminal."""
    rows = [
        [
            task.name,
            " ".join(task.metrics),
            "" if task.num_fewshot is None else str(task.num_fewshot),
            task.version,
            task.source,
            task.license,
        ]
        for task in listing.tasks
    ]
    lines = [table(["task", "metrics", "examples", "version", "data", "licence"], rows), "", "groups"]
    for group, names in listing.groups.items():
        lines.append(f"  {group}: {', '.join(names)}")
    lines.append("")
    lines.append("jp-stable-8:0.5 and line-2023:0.5 take other prompts (templates 0.1 to 0.5; default 0.2).")
    return "\n".join(lines)
