"""One shard of documents as token ids, one token shard for each split and source.

Each document becomes `<s>`, its pieces, `</s>`. Documents are read, encoded and written a few
hundred at a time; ids go from the tokenizer into the file as arrays, without a Python number for
each.
"""

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tsumugu.files import write_json
from tsumugu.tokenizer.encoder import load_bulk_encoder, load_encoder
from tsumugu.tokens.frequencies import frequencies_of, write_frequencies
from tsumugu.tokens.split import TRAIN, VALIDATION, is_validation
from tsumugu.tokens.writing import shard_writers

_ROWS = 256


@dataclass(frozen=True)
class EncodeTask:
    """A shard of documents, and where its tokens go."""

    documents: Path
    tokenizer: Path
    folder: Path
    output: Path
    """What the index will say about the shards, written last."""
    sources: tuple[str, ...]
    """Names; a source's place is its number."""
    seed: int
    validation_fraction: float
    bulk: bool = False
    """Whether there is enough text to get ready for much."""


def encode_shard(task: EncodeTask) -> None:
    """Write the tokens of one shard of documents; documents keep their order."""
    encoder = (load_bulk_encoder if task.bulk else load_encoder)(task.tokenizer)
    numbers = {name: number for number, name in enumerate(task.sources)}
    columns = ["id", "text", "source"]
    with shard_writers(task.folder, int(task.documents.stem), encoder) as writers:
        for batch in pq.ParquetFile(task.documents).iter_batches(batch_size=_ROWS, columns=columns):
            encoded = encoder.encode_batch(batch["text"].to_pylist())
            lengths = np.stack(
                [pc.utf8_length(batch["text"]).to_numpy(), pc.binary_length(batch["text"]).to_numpy()], axis=1
            )
            rows: dict[tuple[str, int], list[int]] = defaultdict(list)
            for row, (document, source) in enumerate(
                zip(batch["id"].to_pylist(), batch["source"].to_pylist(), strict=True)
            ):
                held = is_validation(document, seed=task.seed, fraction=task.validation_fraction)
                rows[VALIDATION if held else TRAIN, numbers[source]].append(row)
            for (split, number), chosen in rows.items():
                writers.append(split, number, [encoded[row] for row in chosen], lengths[chosen])
    write_frequencies(frequencies_of(task.output), writers.frequencies)
    write_json(task.output, [asdict(facts) for facts in writers.facts])
