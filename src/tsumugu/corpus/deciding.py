"""All documents at once: duplicates, and the final decision on each.

Only keys are read here, no texts: a hash and `bands` numbers per document, and one per line.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tsumugu.corpus import dedup
from tsumugu.corpus.config import DedupConfig
from tsumugu.corpus.rules import PASSED
from tsumugu.corpus.tables import band_column


def decide(shards: Sequence[Path], config: DedupConfig) -> list[list[str]]:
    """The reason why each document is dropped, or `PASSED`, for every measured shard in order."""
    bands = [band_column(band) for band in range(config.bands)]
    columns = ["reason", "exact_key", *bands, "line_keys", "line_lengths"]
    table = pa.concat_tables([pq.read_table(path, columns=columns) for path in shards])
    reasons = np.array(table["reason"].to_pylist(), dtype=object)

    def undecided() -> NDArray[np.int64]:
        return np.flatnonzero(reasons == PASSED)

    def drop(rows: NDArray[np.int64], repeats: NDArray[np.bool_], reason: str) -> None:
        reasons[rows[repeats]] = reason

    rows = undecided()
    keys = np.array(table["exact_key"].take(pa.array(rows)).to_pylist(), dtype=str)
    drop(rows, dedup.first_of_equals(keys) != np.arange(len(rows)), "exact_duplicate")

    rows = undecided()
    signatures = [table[band].to_numpy()[rows] for band in bands]
    drop(rows, dedup.first_of_group(signatures, len(rows)) != np.arange(len(rows)), "near_duplicate")

    rows = undecided()
    line_keys = table["line_keys"].take(pa.array(rows)).combine_chunks()
    line_lengths = table["line_lengths"].take(pa.array(rows)).combine_chunks()
    offsets = np.concatenate([[0], np.cumsum(line_keys.value_lengths().to_numpy(zero_copy_only=False))])
    contained = dedup.contained_documents(
        line_keys.flatten().to_numpy(zero_copy_only=False),
        line_lengths.flatten().to_numpy(zero_copy_only=False),
        offsets.astype(np.int64),
        share=config.contained_share,
    )
    drop(rows, contained, "contained")

    ends = np.cumsum([pq.read_metadata(path).num_rows for path in shards])
    return [[str(reason) for reason in part] for part in np.split(reasons, ends[:-1])]
