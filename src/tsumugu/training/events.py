"""`events.jsonl`: what happened to a run besides its steps.

Beginnings, stops, damaged checkpoints, steps that were left out, and rewinds. Unlike `metrics.jsonl`
it is never cut back: it is the story of a run, not its curve.
"""

import json
import time
from pathlib import Path
from typing import Any

from tsumugu.training.metrics import append_line, open_lines


class EventLog:
    """An append-only file of JSON rows with the time (seconds since 1970, UTC)."""

    def __init__(self, path: Path) -> None:
        self._path = path
        if path.exists():
            with path.open("rb+") as stream:
                # A kill may have cut the last row off.
                stream.truncate(stream.read().rfind(b"\n") + 1)

    def append(self, event: dict[str, Any]) -> None:
        """Write one row; it is in the file when this returns."""
        row = json.dumps({"time": round(time.time(), 3), **event}, allow_nan=False)
        with open_lines(self._path) as stream:
            append_line(stream, row)


def read_events(path: Path) -> list[dict[str, Any]]:
    """All whole rows; none if nothing ever happened."""
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n")[:-1]]
