"""What comes in: finding the files of a recipe, and dividing them into shards.

A shard is a list of pieces: whole files, or ranges of bytes of plain JSON Lines and of Parquet.
The division depends on the files alone, not on the number of workers. Nothing is read here except
names, sizes and times (and, for the Hugging Face Hub, the number of a dataset's shards).
"""

import glob
import itertools
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal, Never

from tsumugu.corpus import hub, remote
from tsumugu.corpus.config import Input
from tsumugu.errors import TsumuguError

COMPRESSIONS = (".gz", ".bz2", ".xz", ".zst")
Kind = Literal["html", "jsonl", "parquet", "text", "warc", "wet", "dataset"]
_SUFFIXES: dict[str, Kind] = {
    ".html": "html",
    ".htm": "html",
    ".xhtml": "html",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
    ".txt": "text",
    ".wet": "wet",
    ".warc": "warc",
    # Recognised so that it is refused with a reason instead of passed over in silence.
    ".arc": "warc",
}
_TO_THE_END = 2**63 - 1
_listed: "ContextVar[dict[tuple[str, ...], list[InputFile]] | None]" = ContextVar("listed", default=None)
"""What `listed_once` remembers, by inputs."""


@dataclass(frozen=True)
class InputFile:
    """A file that may hold documents. `name` is its path below the input, the same anywhere."""

    entry: Input
    path: str
    """A local path, or a URL; for `dataset`, the number of the dataset's shard."""
    name: str
    kind: Kind
    bytes: int
    """0 when a server does not say."""
    version: str
    """What changes when the contents change: the time of the last change, a remote ETag, a commit."""
    ranges: bool = True
    """Whether parts of it can be read; False for what some web servers hold."""

    @property
    def source(self) -> str:
        """The name of the input that this file belongs to."""
        return self.entry.source

    @property
    def license(self) -> str:
        """The license of the input that this file belongs to."""
        return self.entry.license

    @property
    def divisible(self) -> bool:
        """Whether pieces of this file can be read on their own."""
        if self.bytes == 0 or not self.ranges:
            return False
        name = self.name.lower()
        match self.kind:
            case "parquet":
                return True
            case "jsonl":
                return not name.endswith(COMPRESSIONS)
            case "warc" | "wet":
                return name.endswith(".gz")
            case _:
                return False


@dataclass(frozen=True)
class Piece:
    """Bytes `start` to `end` of a file. In a divided file, a line, a Parquet row group or a WARC record
    belongs to the piece in which it begins; a file that is not divisible is one piece that ends behind it."""

    file: InputFile
    start: int
    end: int


@dataclass(frozen=True)
class _Candidate:
    file: InputFile
    place: tuple[str, ...]
    """The absolute path in parts, with the protocol before it."""
    root_depth: int
    """Parts of the input's own path (before the first wildcard)."""


def find_files(inputs: Sequence[Input]) -> list[InputFile]:
    """The files of all inputs: inputs in the recipe's order, files by name.

    A file below two inputs belongs to the one whose path is longer, so that a folder can have
    one source and license, and a folder inside it another. Between equals, a glob comes before a
    folder, and the earlier input before the later.

    Raises:
        TsumuguError: an input does not exist, holds no file that we can read, or cannot be reached.
    """
    known = _listed.get()
    if known is None:
        return _find_files(inputs)
    key = tuple(entry.model_dump_json() for entry in inputs)
    if key not in known:
        known[key] = _find_files(inputs)
    return list(known[key])


def _find_files(inputs: Sequence[Input]) -> list[InputFile]:
    found = [_candidates(entry) for entry in inputs]
    if not any(found):
        paths = ", ".join(repr(entry.path) for entry in inputs)
        raise TsumuguError(
            f"corpus.inputs: no input exists and holds a file that can be read: {paths}. "
            f"The demo's pages are fetched with `make data/demo/pages`."
        )
    owners: dict[tuple[str, ...], tuple[int, bool, int]] = {}
    for index, candidates in enumerate(found):
        for candidate in candidates:
            rank = (candidate.root_depth, _is_glob(inputs[index].path), -index)
            owners[candidate.place] = max(rank, owners.get(candidate.place, rank))
    return [
        candidate.file
        for index, candidates in enumerate(found)
        for candidate in sorted(candidates, key=lambda candidate: candidate.file.name)
        if owners[candidate.place][2] == -index
    ]


def fingerprint_inputs(inputs: Sequence[Input]) -> list[tuple[str, str, int, str]]:
    """Source, name, size and version of every file: changes when the pages change."""
    return [(file.source, file.name, file.bytes, file.version) for file in find_files(inputs)]


@contextmanager
def listed_once() -> Iterator[None]:
    """Within it, the same inputs are listed once, however often they are asked for.

    So a stage reads the files that its fingerprint tells of, and many recipes are compared in a moment,
    whose inputs may be thousands of files.
    """
    token = _listed.set({})
    try:
        yield
    finally:
        _listed.reset(token)


def plan_shards(files: Sequence[InputFile], *, shard_bytes: int) -> list[tuple[Piece, ...]]:
    """Divide `files`, in their order, into shards of about `shard_bytes`."""
    shards: list[tuple[Piece, ...]] = []
    pieces: list[Piece] = []
    total = 0
    for file in files:
        for piece, size in _divide(file, shard_bytes):
            pieces.append(piece)
            total += size
            if total >= shard_bytes:
                shards.append(tuple(pieces))
                pieces, total = [], 0
    if pieces:
        shards.append(tuple(pieces))
    return shards


def _divide(file: InputFile, shard_bytes: int) -> Iterator[tuple[Piece, int]]:
    if file.divisible:
        for start in range(0, file.bytes, shard_bytes):
            end = min(start + shard_bytes, file.bytes)
            yield Piece(file=file, start=start, end=end), end - start
    else:
        # A file of unknown size is taken for a large one.
        unknown = file.bytes == 0 and (file.kind == "dataset" or remote.is_url(file.path))
        yield Piece(file=file, start=0, end=_TO_THE_END), shard_bytes if unknown else file.bytes


def _candidates(entry: Input) -> list[_Candidate]:
    if hub.is_dataset(entry.path):
        found = [
            _Candidate(
                InputFile(entry, str(shard.index), shard.name, "dataset", shard.bytes, shard.version),
                place=("hf-dataset", entry.path, entry.subset or "", entry.split, shard.name),
                root_depth=1,
            )
            for shard in hub.find_shards(entry)
        ]
    elif remote.is_url(entry.path):
        found = list(_remote_files(entry))
    else:
        found = list(_local_files(entry))
    if not found and not entry.optional:
        raise TsumuguError(
            f"corpus.inputs: {entry.path!r} holds no file that can be read; known are "
            f"{', '.join(_SUFFIXES)}, also with {', '.join(COMPRESSIONS)}. If its files are named "
            f"otherwise, say what they are: format: html (or jsonl, parquet, text, warc, wet)."
        )
    return found


def _local_files(entry: Input) -> Iterator[_Candidate]:
    root = Path(entry.path).absolute()
    if root.exists():
        paths = [root] if root.is_file() else list(_walk(root))
    elif _is_glob(entry.path):
        # Not Path.glob, which cannot start from an absolute pattern.
        paths = [Path(path) for path in glob.glob(str(root), recursive=True)]  # noqa: PTH207
        root = Path(*_before_wildcards(root.parts))
    elif entry.optional:
        return
    else:
        raise TsumuguError(
            f"corpus.inputs: {entry.path!r} does not exist (paths count from the current folder, "
            f"{Path.cwd()}). The demo's pages are fetched with `make data/demo/pages`."
        )
    for path in paths:
        kind = _kind(entry, path.name)
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
        yield _Candidate(
            InputFile(
                entry=entry,
                path=str(path),
                # Names of files are bytes; one that is not UTF-8 still needs a name that can be stored.
                name=os.fsencode(name).decode("utf-8", "backslashreplace"),
                kind=kind,
                bytes=status.st_size,
                version=str(status.st_mtime_ns),
            ),
            place=("file", *path.parts),
            root_depth=1 + len(root.parts),
        )


def _walk(root: Path) -> Iterator[Path]:
    """Everything in `root` and its subfolders; a folder that may not be read is an error, not nothing."""

    def stop(error: OSError) -> Never:
        raise TsumuguError(f"corpus.inputs: {error.filename} cannot be read: {error.strerror}") from error

    for folder, _, names in os.walk(root, onerror=stop):
        for name in names:
            yield Path(folder, name)


def _remote_files(entry: Input) -> Iterator[_Candidate]:
    found, protocol, root_path = remote.find(entry.path, _wildcards(entry.path), entry.options)
    root = PurePosixPath(root_path)
    if _is_glob(entry.path):
        root = PurePosixPath(*_before_wildcards(root.parts))
    for file in found:
        path = PurePosixPath(file.path)
        kind = _kind(entry, path.name.split("?")[0])
        if kind is None:
            continue
        name = path.name if path == root else path.relative_to(root).as_posix()
        yield _Candidate(
            InputFile(
                entry=entry,
                path=file.url,
                name=name,
                kind=kind,
                bytes=file.bytes,
                version=file.version,
                ranges=file.ranges,
            ),
            place=(protocol, *path.parts),
            root_depth=1 + len(root.parts),
        )


def _kind(entry: Input, name: str) -> Kind | None:
    if entry.format != "auto":
        return entry.format
    lower = name.lower()
    for compression in (*COMPRESSIONS, ".lz4"):
        lower = lower.removesuffix(compression)
    return _SUFFIXES.get(PurePosixPath(lower).suffix)


def _wildcards(path: str) -> str:
    # In a web address, a question mark begins the query.
    return "*[" if path.startswith(("http://", "https://")) else "*?["


def _is_glob(path: str) -> bool:
    if not remote.is_url(path) and Path(path).exists():
        return False
    return any(mark in path for mark in _wildcards(path))


def _before_wildcards(parts: tuple[str, ...]) -> tuple[str, ...]:
    """The folder of a glob: its path up to the first part with a wildcard."""
    return tuple(itertools.takewhile(lambda part: not any(mark in part for mark in "*?["), parts))
