"""Records out of JSON Lines, Parquet and datasets of the hub, each with its place.

Files are found and opened by the corpus room's functions, so everything that is an input there is one
here. A record that cannot be read or used becomes a `Quarantined`; nothing is passed over in silence.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tsumugu.corpus import hub
from tsumugu.corpus.config import Input
from tsumugu.corpus.inputs import InputFile, find_files, fingerprint_inputs
from tsumugu.corpus.measuring import record_id
from tsumugu.corpus.remote import is_url
from tsumugu.corpus.streams import READ_ERRORS, open_raw, open_stream
from tsumugu.errors import TsumuguError
from tsumugu.tuning.config import TuneFiles

_KINDS = {"jsonl", "parquet", "dataset"}


@dataclass(frozen=True)
class Place:
    """Where a record stands."""

    id: str
    source: str
    file: str
    number: int
    """Of the line, from 1 on, or of the row, from 0 on."""


@dataclass(frozen=True)
class Quarantined:
    """A record that cannot be used, and why."""

    place: Place
    error: str


@dataclass(frozen=True)
class Found:
    """A record as it came."""

    place: Place
    record: dict[str, Any]


def read_records(entries: Sequence[TuneFiles]) -> Iterator[tuple[TuneFiles, Found | Quarantined]]:
    """Every record of the inputs, in their order.

    Raises:
        TsumuguError: an input does not exist, cannot be reached, or is of a kind that holds no records.
    """
    for entry in entries:
        for file in _files(entry):
            for record in _read(file):
                yield entry, record


def fingerprint_records(entries: Sequence[TuneFiles]) -> list[Any]:
    """Source, name, size and version of every file; nothing of an input that the stage will refuse."""
    found: list[Any] = []
    for entry in entries:
        try:
            found += fingerprint_inputs([_as_input(entry)])
        except TsumuguError:
            found.append(None)
    return found


def _as_input(entry: TuneFiles) -> Input:
    return Input(
        path=entry.path,
        source=entry.source,
        license=entry.license,
        subset=entry.subset,
        split=entry.split,
        options=entry.options,
    )


def _files(entry: TuneFiles) -> list[InputFile]:
    path = entry.path
    is_local = not hub.is_dataset(path) and not is_url(path)
    if is_local and not any(mark in path for mark in "*?[") and not Path(path).exists():
        raise TsumuguError(
            f"tune: {path!r} does not exist (paths count from the current folder, {Path.cwd()})"
        )
    files = find_files([_as_input(entry)])
    for file in files:
        if file.kind not in _KINDS:
            raise TsumuguError(
                f"tune: {path!r} holds {file.name}, which is neither JSON Lines nor Parquet; name "
                f"the files themselves, for example {path.rstrip('/')}/*.jsonl"
            )
    return files


def _read(file: InputFile) -> Iterator[Found | Quarantined]:
    number = 0
    reader = {"jsonl": _json_lines, "parquet": _parquet}.get(file.kind, _dataset)
    try:
        for number, found in reader(file):
            place = _place(file, number)
            if isinstance(found, dict):
                yield Found(place, found)
            else:
                yield Quarantined(place, found)
    except (*READ_ERRORS, pa.ArrowException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        yield Quarantined(_place(file, number + 1), f"the file breaks off here: {reason}"[:300])


def _place(file: InputFile, number: int) -> Place:
    return Place(record_id(file, number), file.source, file.name, number)


def _json_lines(file: InputFile) -> Iterator[tuple[int, dict[str, Any] | str]]:
    with ExitStack() as stack:
        for number, line in enumerate(open_stream(file, stack), start=1):
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError) as error:
                yield number, f"malformed JSON: {error}"[:300]
                continue
            yield number, record if isinstance(record, dict) else "not an object"


def _parquet(file: InputFile) -> Iterator[tuple[int, dict[str, Any] | str]]:
    with ExitStack() as stack:
        number = 0
        for batch in pq.ParquetFile(open_raw(file, stack)).iter_batches(batch_size=256):
            for record in batch.to_pylist():
                yield number, record
                number += 1


def _dataset(file: InputFile) -> Iterator[tuple[int, dict[str, Any] | str]]:
    yield from enumerate(hub.read_shard(file.entry, index=int(file.path), commit=file.version))
