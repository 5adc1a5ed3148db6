"""What a model has answered already, on disk, so that a crash costs no answer twice.

A file per process, a line per answer, appended as soon as it is known. The key of an answer is a
hash of the request; the folder belongs to one model with one context, so another model asks again.
"""

import hashlib
import json
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO

from tsumugu.files import read_json, write_json

_LOG = logging.getLogger(__name__)
_OWNER = "owner.json"


class AnswerFile:
    """Answers below a folder."""

    def __init__(self, folder: Path, owner: dict[str, Any], *, rank: int = 0) -> None:
        """Open `folder`, which is emptied if its answers are of another `owner` (a JSON object that
        describes the model); this process appends to the file of its `rank`."""
        folder.mkdir(parents=True, exist_ok=True)
        if rank == 0 and (not (folder / _OWNER).is_file() or read_json(folder / _OWNER) != owner):
            for path in folder.glob("answers-*.jsonl"):
                path.unlink()
            write_json(folder / _OWNER, owner)
        self._known: dict[str, Any] = {}
        self._truncated: set[str] = set()
        for path in sorted(folder.glob("answers-*.jsonl")):
            for key, answer, truncated in _read(path):
                self._known[key] = answer
                if truncated:
                    self._truncated.add(key)
        self._path = folder / f"answers-{rank}.jsonl"
        self._file: TextIO | None = None

    def get(self, kind: str, request: Sequence[Any]) -> Any:
        """What is known, or None."""
        return self._known.get(_key(kind, request))

    def was_truncated(self, kind: str, request: Sequence[Any]) -> bool:
        """Whether what is known was answered to a request that had lost its beginning."""
        return _key(kind, request) in self._truncated

    def put(self, kind: str, request: Sequence[Any], answer: Any, *, truncated: bool = False) -> None:
        """Keep an answer, which is JSON, and whether its request had lost its beginning."""
        if self._file is None:
            _drop_torn_line(self._path)
            # Line by line: what is written survives the process.
            self._file = self._path.open("a", encoding="utf-8", buffering=1)
        key = _key(kind, request)
        self._known[key] = answer
        if truncated:
            self._truncated.add(key)
        self._file.write(json.dumps([key, answer, truncated], ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Nothing more is put."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _key(kind: str, request: Sequence[Any]) -> str:
    text = json.dumps([kind, *request], ensure_ascii=False, sort_keys=True)
    # A text may hold half of a surrogate pair.
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def _read(path: Path) -> Iterator[tuple[str, Any, bool]]:
    for number, line in enumerate(path.read_bytes().split(b"\n"), start=1):
        if not line:
            continue
        try:
            key, answer, truncated = json.loads(line)
        except ValueError:
            # The line that a crash cut short; its question is asked again.
            _LOG.warning("%s: line %d is not whole, and is left out", path, number)
            continue
        yield key, answer, truncated


def _drop_torn_line(path: Path) -> None:
    if not path.is_file():
        return
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
