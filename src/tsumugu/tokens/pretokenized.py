"""Documents that are token ids already: finding them, dividing them into units of work.

Files of Megatron-LM are divided into ranges of documents; any other file, or shard of a dataset of
the Hugging Face Hub, is one unit. `importing.py` reads them.
"""

import glob
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tsumugu.corpus import hub
from tsumugu.corpus.config import Input
from tsumugu.errors import TsumuguError
from tsumugu.tokens.config import PretokenizedInput
from tsumugu.tokens.megatron import check_pair, open_pair

Kind = Literal["megatron", "parquet", "arrow", "jsonl", "hub"]
_SUFFIXES: dict[str, Kind] = {".parquet": "parquet", ".arrow": "arrow", ".jsonl": "jsonl", ".ndjson": "jsonl"}
_COMPRESSIONS = (".gz", ".bz2", ".zst")
_PART_TOKENS = 2**25


@dataclass(frozen=True)
class IdsFile:
    """A file, a pair of files, or a shard of a dataset, with documents of token ids."""

    entry: PretokenizedInput
    kind: Kind
    path: str
    """Of a pair without its suffixes; of a dataset of the Hub, the number of the shard."""
    name: str
    """Below the input, the same anywhere."""
    version: str
    """Changes when the contents change: sizes and times, or a commit."""


@dataclass(frozen=True)
class IdsPart:
    """Documents `first` to `end` of a Megatron pair, or all of another file (`end` is None)."""

    file: IdsFile
    first: int = 0
    end: int | None = None


def find_ids_files(entry: PretokenizedInput) -> list[IdsFile]:
    """The files of an input, by name.

    Raises:
        TsumuguError: there are none, or they cannot be reached.
    """
    if hub.is_dataset(entry.path):
        if entry.format == "megatron":
            raise TsumuguError(f"tokens.pretokenized: {entry.path!r} is a dataset: say format: dataset")
        shards = hub.find_shards(hub_input(entry))
        return [IdsFile(entry, "hub", str(shard.index), shard.name, shard.version) for shard in shards]
    if "://" in entry.path:
        raise TsumuguError(
            f"tokens.pretokenized: {entry.path!r}: token ids are read from this machine's files or from "
            f"hf://datasets/OWNER/NAME; copy them here first"
        )
    found = sorted(
        _megatron_pairs(entry) if entry.format == "megatron" else _dataset_files(entry), key=lambda f: f.name
    )
    if not found:
        known = ".idx and .bin" if entry.format == "megatron" else ", ".join(_SUFFIXES)
        raise TsumuguError(
            f"tokens.pretokenized: {entry.path!r} holds no file of token ids in the format {entry.format!r} "
            f"({known}); paths count from the current folder, {Path.cwd()}"
        )
    return found


def fingerprint_ids(entries: Sequence[PretokenizedInput]) -> list[tuple[str, str, str]]:
    """Source, name and version of every file: changes when the documents change."""
    return [(entry.source, file.name, file.version) for entry in entries for file in find_ids_files(entry)]


def plan_parts(entry: PretokenizedInput) -> list[IdsPart]:
    """Units of work, in order. They depend on the files alone.

    Raises:
        TsumuguError: as `find_ids_files`, or a Megatron pair is damaged.
    """
    parts: list[IdsPart] = []
    for file in find_ids_files(entry):
        parts += _megatron_parts(file) if file.kind == "megatron" else [IdsPart(file)]
    return parts


def hub_input(entry: PretokenizedInput) -> Input:
    """The same dataset as an input of the corpus."""
    return Input(
        path=entry.path, source=entry.source, license=entry.license, subset=entry.subset, split=entry.split
    )


def _megatron_parts(file: IdsFile) -> Iterator[IdsPart]:
    pair = open_pair(Path(file.path))
    check_pair(pair)
    step = max(1, _PART_TOKENS * pair.documents // max(1, len(pair.tokens)))
    for first in range(0, pair.documents, step):
        yield IdsPart(file, first, min(first + step, pair.documents))


def _megatron_pairs(entry: PretokenizedInput) -> Iterator[IdsFile]:
    path = Path(entry.path)
    if path.with_name(f"{path.name}.idx").exists():
        path = path.with_name(f"{path.name}.idx")
    elif path.suffix == ".bin":
        path = path.with_suffix(".idx")
    for index, name in _files(path):
        if index.suffix == ".idx":
            prefix = index.with_suffix("")
            version = f"{_version(index)} {_version(index.with_suffix('.bin'))}"
            yield IdsFile(entry, "megatron", str(prefix), name.removesuffix(".idx"), version)


def _dataset_files(entry: PretokenizedInput) -> Iterator[IdsFile]:
    for path, name in _files(Path(entry.path)):
        plain = name
        for compression in _COMPRESSIONS:
            plain = plain.removesuffix(compression)
        kind = _SUFFIXES.get(Path(plain).suffix)
        # What `datasets` writes beside a saved dataset when it is mapped: the same rows again.
        if kind is not None and not path.name.startswith("cache-"):
            yield IdsFile(entry, kind, str(path), name, _version(path))


def _files(path: Path) -> Iterator[tuple[Path, str]]:
    """The files below a folder, a file itself, or those of a glob, with their names below it."""
    if path.is_dir():
        yield from ((file, file.relative_to(path).as_posix()) for file in path.rglob("*") if file.is_file())
    elif path.is_file():
        yield path, path.name
    else:
        # Not Path.glob, which cannot start from an absolute pattern.
        for found in glob.glob(str(path), recursive=True):  # noqa: PTH207
            if Path(found).is_file():
                yield Path(found), found


def _version(path: Path) -> str:
    """Size and time; empty if there is no such file, which reading will say."""
    try:
        status = path.stat()
    except OSError:
        return ""
    return f"{status.st_size} {status.st_mtime_ns}"
