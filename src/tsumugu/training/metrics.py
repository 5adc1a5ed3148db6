"""`metrics.jsonl`: one row per step, and one per measurement of the validation loss.

Rows are appended as they happen, for those who watch a run. After a stop the file is cut back to
the checkpoint that training goes on from, so that no step stands in it twice.
"""

import json
import os
from io import FileIO
from pathlib import Path
from typing import Any

from tsumugu.files import naming, write_text


class MetricsLog:
    """An append-only file of JSON rows."""

    def __init__(self, path: Path, *, last_step: int) -> None:
        self._path = path
        rows = self._rewrite(last_step)
        self.seconds = float(rows[-1]["seconds"]) if rows else 0.0
        """Training time before this process, from the last row that stays."""
        self.validated = max((row["step"] for row in rows if "validation_loss" in row), default=0)
        """The last step after which the validation loss was measured before this process."""
        self._stream = open_lines(path)

    def append(self, row: dict[str, Any]) -> None:
        """Write one row; it is in the file when this returns."""
        append_line(self._stream, json.dumps(row, allow_nan=False))

    def cut_back(self, last_step: int) -> None:
        """Take out the rows after `last_step`: training goes on from there."""
        self._stream.close()
        self._rewrite(last_step)
        self._stream = open_lines(self._path)

    def to_disk(self) -> None:
        """Return when all rows would outlive the machine's end, as the checkpoint after them does."""
        with naming(self._path):
            os.fsync(self._stream.fileno())

    def close(self) -> None:
        """Close the file."""
        self._stream.close()

    def _rewrite(self, last_step: int) -> list[dict[str, Any]]:
        rows = [row for row in read_metrics(self._path) if row["step"] <= last_step]
        write_text(self._path, "".join(json.dumps(row, allow_nan=False) + "\n" for row in rows))
        return rows


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """All whole rows of a metrics file; a last row that a kill cut off is left out."""
    if not path.exists():
        return []
    text = path.read_text(encoding="utf-8")
    return [json.loads(line) for line in text.split("\n")[:-1]]


def open_lines(path: Path) -> FileIO:
    """A file that `append_line` writes to, from its end on."""
    return FileIO(str(path), "a")


def append_line(stream: FileIO, line: str) -> None:
    """Write a line through; what goes wrong names the file, which a full disk does not."""
    left = memoryview(line.encode() + b"\n")
    with naming(Path(str(stream.name))):
        while left:
            # All that there is room for is written before there is an error.
            left = left[stream.write(left) :]
