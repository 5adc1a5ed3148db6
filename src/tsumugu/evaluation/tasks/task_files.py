"""The task files (YAML) of this folder, read without the harness: names, listing, and what is wrong in one.

The harness skips a file that it cannot read, so that a slip of the pen shows as "no such task".
Here the same slip names the file, the key, and what was probably meant.
"""

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tsumugu.errors import TsumuguError

TASK_FOLDER = Path(__file__).parent

_BESIDE_TASK_KEYS = frozenset({"class", "include"})
_METRIC_KEYS = frozenset({"metric", "aggregation", "higher_is_better"})


@dataclass(frozen=True)
class TaskFile:
    """What a listing shows of a task."""

    name: str
    path: Path
    contents: Mapping[str, Any]
    """All keys, those of included files among them; functions as their names."""

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Version, source and licence of the data, and what our task class wants to know."""
        found: Mapping[str, Any] = self.contents.get("metadata") or {}
        return found

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names under which scores are reported."""
        return tuple(str(one["metric"]) for one in self.contents.get("metric_list") or ())


def read_task_files(folder: Path = TASK_FOLDER) -> dict[str, TaskFile]:
    """Every task below a folder by name. Files that begin with an underscore are there to be included.

    Raises:
        TsumuguError: a file cannot be read, lacks `task`, or has the name of another.
    """
    found: dict[str, TaskFile] = {}
    for path in sorted(folder.rglob("*.yaml")):
        if path.name.startswith("_"):
            continue
        contents = read_yaml(path)
        name = contents.get("task")
        if not isinstance(name, str):
            raise TsumuguError(f"{path}: there is no `task: NAME`; a file to be included begins with _")
        if name in found:
            raise TsumuguError(f"{path}: the name {name} is taken by {found[name].path}")
        found[name] = TaskFile(name, path, contents)
    return found


def read_yaml(path: Path, *, including: tuple[Path, ...] = ()) -> dict[str, Any]:
    """One file with what it includes; its own keys win.

    Raises:
        TsumuguError: not YAML, not a mapping, or an include that is missing or goes round in a circle.
    """
    try:
        contents = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        raise TsumuguError(f"{path} is not YAML: {error}") from error
    except FileNotFoundError as error:
        asked = f", which {including[-1]} includes," if including else ""
        raise TsumuguError(f"{path}{asked} does not exist") from error
    if not isinstance(contents, dict):
        raise TsumuguError(f"{path}: keys and values are needed, not {type(contents).__name__}")
    if path in including:
        raise TsumuguError(f"{path} includes itself by way of {including[-1]}")
    includes = contents.pop("include", [])
    merged: dict[str, Any] = {}
    for name in [includes] if isinstance(includes, str) else includes:
        merged.update(read_yaml((path.parent / name).resolve(), including=(*including, path)))
    return merged | contents


def check_task_file(file: TaskFile, *, keys: Iterable[str], aggregations: Iterable[str]) -> None:
    """Refuse what the harness would not know, or would only miss once all questions are answered.

    Args:
        keys: names that it knows for a task.
        aggregations: names that it knows for an `aggregation`, beside functions.

    Raises:
        TsumuguError: with the word that was probably meant.
    """
    known = {*keys, *_BESIDE_TASK_KEYS}
    for key in file.contents:
        if key not in known:
            raise TsumuguError(f"{file.path}: there is no key {key!r}{suggestion(key, known)}")
    for metric in file.contents.get("metric_list") or ():
        for key in metric:
            if key not in _METRIC_KEYS:
                meant = suggestion(key, _METRIC_KEYS)
                raise TsumuguError(f"{file.path}: metric_list has no key {key!r}{meant}")
        named = metric.get("aggregation", "mean")
        if "." not in named and named not in aggregations:
            meant = suggestion(named, aggregations)
            raise TsumuguError(f"{file.path}: there is no aggregation {named!r}{meant}")


def suggestion(word: str, known: Iterable[str]) -> str:
    """`; did you mean …?` where a known word is close, else nothing."""
    close = difflib.get_close_matches(word, sorted(known), n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(close)}?" if close else ""


# libyaml's where PyYAML was built with it: ten times as fast. It reads `!function module.name` as that text.
_Loader: Any = type("_Loader", (getattr(yaml, "CSafeLoader", yaml.SafeLoader),), {})
_Loader.add_constructor("!function", lambda loader, node: node.value)
