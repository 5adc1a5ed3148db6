"""Documents of token ids into token shards.

Ids are checked against the vocabulary. The tokenizer's begin, end and padding tokens separate
documents: what stands between two of them is a document, and gets the run's own begin and end.
A document's characters and bytes are counted on its decoded text, so that bits per byte mean the
same for every source; a character that could not be decoded counts as one byte, lest broken text
make a score look better.
"""

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tsumugu.corpus import hub
from tsumugu.errors import TsumuguError
from tsumugu.files import write_json
from tsumugu.tokenizer.encoder import Encoder, load_encoder
from tsumugu.tokens.frequencies import frequencies_of, write_frequencies
from tsumugu.tokens.megatron import open_pair
from tsumugu.tokens.pretokenized import IdsFile, IdsPart, hub_input
from tsumugu.tokens.split import TRAIN, VALIDATION, is_validation
from tsumugu.tokens.writing import shard_writers

Ids = NDArray[np.integer]
_ROWS = 256
_REPLACEMENT = "\ufffd"


@dataclass(frozen=True)
class ImportTask:
    """A part of an input, and where its tokens go."""

    part: IdsPart
    number: int
    """Of the shard in its source."""
    source: int
    tokenizer: Path
    folder: Path
    output: Path
    """What the index will say about the shards, written last."""
    seed: int
    validation_fraction: float


def import_part(task: ImportTask) -> None:
    """Write the documents of one part, in order.

    Raises:
        TsumuguError: a record holds no ids, or an id outside the vocabulary, or the file is
            damaged; the message names file and record.
    """
    encoder = load_encoder(task.tokenizer)
    file = task.part.file
    with shard_writers(task.folder, task.number, encoder) as writers:
        for number, ids in read_records(task.part):
            _check(ids, file, number, encoder.vocab_size)
            identity = f"{file.entry.source}\0{file.name}\0{number}"
            held = is_validation(identity, seed=task.seed, fraction=task.validation_fraction)
            documents = split_documents(ids, encoder)
            if documents:
                lengths = np.array([_lengths(encoder.decode(one.tolist())) for one in documents])
                writers.append(VALIDATION if held else TRAIN, task.source, documents, lengths)
    write_frequencies(frequencies_of(task.output), writers.frequencies)
    write_json(task.output, [asdict(facts) for facts in writers.facts])


def split_documents(ids: Ids, encoder: Encoder) -> list[Ids]:
    """The runs of `ids` without begin, end and padding tokens; empty ones are none."""
    apart = np.ones(len(ids) + 2, dtype=bool)
    apart[1:-1] = (ids == encoder.eos_id) | (ids == encoder.pad_id)
    if encoder.bos_id is not None:
        apart[1:-1] |= ids == encoder.bos_id
    edges = np.flatnonzero(apart[1:] != apart[:-1]).tolist()
    return [ids[start:end] for start, end in zip(edges[::2], edges[1::2], strict=True)]


def read_records(part: IdsPart) -> Iterator[tuple[int, Ids]]:
    """Number in its file and ids of every record of a part, in order.

    Raises:
        TsumuguError: the file is damaged, or a record is not a list of whole numbers.
    """
    file = part.file
    match file.kind:
        case "megatron":
            assert part.end is not None
            pair = open_pair(Path(file.path))
            yield from ((number, pair.document(number)) for number in range(part.first, part.end))
        case "hub":
            rows = hub.read_shard(hub_input(file.entry), index=int(file.path), commit=file.version)
            yield from ((number, _from_row(row, file, number)) for number, row in enumerate(rows))
        case "jsonl":
            yield from _json_lines(file)
        case "parquet" | "arrow":
            try:
                yield from _columns(file)
            except (pa.ArrowException, OSError) as error:
                raise TsumuguError(f"{file.path} is damaged: {error}") from error


def _columns(file: IdsFile) -> Iterator[tuple[int, Ids]]:
    key = file.entry.ids_key
    first = 0
    for batch in _parquet(file) if file.kind == "parquet" else _arrow(file):
        if key not in batch.schema.names:
            raise _no_key(file, batch.schema.names)
        column = batch[key]
        kind = column.type
        if not (_is_list(kind) and pa.types.is_integer(kind.value_type)):
            raise TsumuguError(f"{file.path}: column {key!r} holds {kind}, not lists of whole numbers")
        lists = column.cast(pa.large_list(kind.value_type))
        values, offsets = lists.values, lists.offsets.to_numpy()
        if column.null_count or values.null_count:
            raise TsumuguError(
                f"{file.path}: among records {first} to {first + len(batch) - 1}, ids are null"
            )
        flat = values.to_numpy(zero_copy_only=False)
        for row in range(len(batch)):
            yield first + row, flat[offsets[row] : offsets[row + 1]]
        first += len(batch)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _parquet(file: IdsFile) -> Iterator[pa.RecordBatch]:
    parquet = pq.ParquetFile(file.path, pre_buffer=False)
    if file.entry.ids_key not in parquet.schema_arrow.names:
        raise _no_key(file, parquet.schema_arrow.names)
    yield from parquet.iter_batches(batch_size=_ROWS, columns=[file.entry.ids_key])


def _arrow(file: IdsFile) -> Iterator[pa.RecordBatch]:
    with pa.memory_map(file.path) as mapped:
        try:
            # What `datasets` writes; Feather's form has an index at the end.
            reader = pa.ipc.open_stream(mapped)
        except pa.ArrowInvalid:
            feather = pa.ipc.open_file(mapped)
            yield from (feather.get_batch(number) for number in range(feather.num_record_batches))
        else:
            yield from reader


def _json_lines(file: IdsFile) -> Iterator[tuple[int, Ids]]:
    try:
        with pa.input_stream(file.path, compression="detect") as stream:
            for number, line in enumerate(_lines(stream)):
                yield number, _from_row(json.loads(line), file, number)
    except (OSError, pa.ArrowException, ValueError) as error:
        raise TsumuguError(f"{file.path} is damaged: {error}") from error


def _lines(stream: pa.NativeFile) -> Iterator[bytes]:
    """Lines of a stream that is read in pieces."""
    rest = b""
    while block := stream.read(1 << 20):
        *lines, rest = (rest + block).split(b"\n")
        yield from (line for line in lines if line.strip())
    if rest.strip():
        yield rest


def _from_row(row: Any, file: IdsFile, number: int) -> Ids:
    key = file.entry.ids_key
    if not isinstance(row, dict) or key not in row:
        raise _no_key(file, list(row) if isinstance(row, dict) else [], number)
    try:
        ids = np.array(row[key])
    except ValueError:
        ids = np.array(None)
    if ids.ndim != 1 or (len(ids) and ids.dtype.kind not in "iu"):
        raise TsumuguError(f"{file.path}: record {number}: {key!r} is not a list of whole numbers")
    return ids.astype(np.int64, copy=False)


def _no_key(file: IdsFile, names: list[str], number: int | None = None) -> TsumuguError:
    where = file.path if number is None else f"{file.path}: record {number}"
    return TsumuguError(
        f"{where}: there is no {file.entry.ids_key!r}, only {', '.join(names) or 'nothing'}; "
        f"name the ids with tokens.pretokenized's ids_key"
    )


def _check(ids: Ids, file: IdsFile, number: int, vocab_size: int) -> None:
    if len(ids) and not 0 <= int(ids.min()) <= int(ids.max()) < vocab_size:
        wrong = next(value for value in ids.tolist() if not 0 <= value < vocab_size)
        raise TsumuguError(
            f"{file.path}: document {number} holds the id {wrong}, and the tokenizer's ids go from 0 to "
            f"{vocab_size - 1}. These documents were made with another tokenizer."
        )


def _lengths(text: str) -> tuple[int, int]:
    """Characters and bytes of a decoded text."""
    return len(text), len(text.encode()) - 2 * text.count(_REPLACEMENT)
