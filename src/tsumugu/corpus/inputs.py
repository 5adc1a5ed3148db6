"""What comes in: finding the files of a recipe, and dividing them into shards.

A shard is a list of pieces: whole HTML files, whole compressed JSON Lines files, or a range of
bytes of a plain one. The division depends on the files alone, not on the number of workers.
"""

import os
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Never

from tsumugu.corpus.config import Input
from tsumugu.errors import TsumuguError

HTML_SUFFIXES = (".html", ".htm", ".xhtml")
JSONL_SUFFIXES = (".jsonl", ".ndjson")
COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")

Kind = Literal["html", "jsonl"]


@dataclass(frozen=True)
class InputFile:
    """A file that may hold documents. `name` is its path below the input, the same anywhere."""

    source: str
    license: str
    path: Path
    name: str
    kind: Kind
    bytes: int
    modified_ns: int


@dataclass(frozen=True)
class Piece:
    """Bytes `start` to `end` of a file. In a divided file, a line belongs to the piece in which
    it begins."""

    file: InputFile
    start: int
    end: int


def find_files(inputs: Sequence[Input]) -> list[InputFile]:
    """The files of all inputs: inputs in the recipe's order, files by name.

    A file below two inputs belongs to the one whose path is longer, so that a folder can have
    one source and license, and a folder inside it another.

    Raises:
        TsumuguError: an input does not exist, or holds no file that we can read.
    """
    found = []
    roots = {Path(entry.path).absolute() for entry in inputs}
    for entry in inputs:
        root = Path(entry.path).absolute()
        if not root.exists():
            if entry.optional:
                continue
            raise TsumuguError(
                f"corpus.inputs: {entry.path!r} does not exist (paths count from the current folder, "
                f"{Path.cwd()}). The demo's pages are fetched with `make data/demo/pages`."
            )
        files = sorted(_files_of(entry, root), key=lambda file: file.name)
        if not files and not entry.optional:
            raise TsumuguError(
                f"corpus.inputs: {entry.path!r} holds no file that can be read; known are "
                f"{', '.join(HTML_SUFFIXES + JSONL_SUFFIXES)}, the latter also with {', '.join(COMPRESSIONS)}"
            )
        found += [file for file in files if not _belongs_to_another(file.path, root, roots - {root})]
    if not found:
        paths = ", ".join(repr(entry.path) for entry in inputs)
        raise TsumuguError(
            f"corpus.inputs: no input exists and holds a file that can be read: {paths}. "
            f"The demo's pages are fetched with `make data/demo/pages`."
        )
    return found


def _belongs_to_another(path: Path, root: Path, others: set[Path]) -> bool:
    """Whether one of `others` stands between `root` and `path`."""
    depth = len(path.parts) - len(root.parts)
    return not others.isdisjoint([path, *path.parents][:depth])


def fingerprint_inputs(inputs: Sequence[Input]) -> list[tuple[str, str, int, int]]:
    """Source, name, size and time of every file: changes when the pages change."""
    return [(file.source, file.name, file.bytes, file.modified_ns) for file in find_files(inputs)]


def plan_shards(files: Sequence[InputFile], *, shard_bytes: int) -> list[tuple[Piece, ...]]:
    """Divide `files`, in their order, into shards of about `shard_bytes`."""
    shards: list[tuple[Piece, ...]] = []
    pieces: list[Piece] = []
    total = 0
    for file in files:
        for piece in _divide(file, shard_bytes):
            pieces.append(piece)
            total += piece.end - piece.start
            if total >= shard_bytes:
                shards.append(tuple(pieces))
                pieces, total = [], 0
    if pieces:
        shards.append(tuple(pieces))
    return shards


def _files_of(entry: Input, root: Path) -> Iterator[InputFile]:
    paths = [root] if root.is_file() else _walk(root)
    for path in paths:
        kind = _kind(path.name)
        if kind is None:
            continue
        try:
            status = path.stat()
        except OSError:
            # A dangling link: reading it fails later, and is counted there.
            status = path.lstat()
        if not (stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode)):
            continue
        name = path.name if path == root else path.relative_to(root).as_posix()
        yield InputFile(
            source=entry.source,
            license=entry.license,
            path=path,
            # Names of files are bytes; one that is not UTF-8 still needs a name that can be stored.
            name=name.encode("utf-8", "backslashreplace").decode("utf-8"),
            kind=kind,
            bytes=status.st_size,
            modified_ns=status.st_mtime_ns,
        )


def _walk(root: Path) -> Iterator[Path]:
    """Everything in `root` and its subfolders; a folder that may not be read is an error, not nothing."""

    def stop(error: OSError) -> Never:
        raise TsumuguError(f"corpus.inputs: {error.filename} cannot be read: {error.strerror}") from error

    for folder, _, names in os.walk(root, onerror=stop):
        for name in names:
            yield Path(folder, name)


def _kind(name: str) -> Kind | None:
    lower = name.lower()
    if lower.endswith(HTML_SUFFIXES):
        return "html"
    for compression in COMPRESSIONS:
        lower = lower.removesuffix(compression)
    return "jsonl" if lower.endswith(JSONL_SUFFIXES) else None


def _divide(file: InputFile, shard_bytes: int) -> Iterator[Piece]:
    divisible = file.kind == "jsonl" and not file.name.lower().endswith(COMPRESSIONS)
    step = shard_bytes if divisible else max(file.bytes, 1)
    for start in range(0, max(file.bytes, 1), step):
        yield Piece(file=file, start=start, end=min(start + step, file.bytes))
