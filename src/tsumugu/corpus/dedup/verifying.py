"""Near-duplicates joined only after their exact Jaccard similarity was computed.

The documents of a group that MinHash joins are brought together in one file (a shuffle of the texts
that have a candidate at all): groups fill buckets of about 2**24 characters, and each bucket is one
independent task. Within it, for each band and each key: the first document with the key leads; every
other one is compared with the leaders until one is similar enough, and becomes a leader itself if
none is. Documents come in the order of their exact keys, so the input order changes no cluster. There
are at most `MOST_LEADERS`, and documents that are joined already are not compared again, so the work
is at most bands * MOST_LEADERS comparisons for a document.

What that guarantees: each pair that joins two documents has at least the similarity asked for. Two
documents of a cluster may still be joined by a chain only, and a pair that is similar enough can be
missed if neither leads and their leaders differ, or behind MOST_LEADERS leaders.

Memory of a task: about 8 bytes for each character of a bucket; a group is never divided.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit
from numpy.typing import NDArray

from tsumugu.corpus.dedup import groups, shards
from tsumugu.corpus.dedup.hashing import hash_ngrams
from tsumugu.corpus.dedup.keys import band_column
from tsumugu.corpus.dedup.normalising import comparable_codes
from tsumugu.engine import Resources
from tsumugu.files import write_aside

BUCKET_CHARACTERS = 2**24
MOST_LEADERS = 16


@dataclass(frozen=True)
class ShuffleTask:
    """One shard; its candidates are written, sorted by bucket."""

    shard: Path
    first_row: int
    buckets: Path
    """`int32 [documents]` as .npy, -1 for documents that nothing resembles."""
    bands: int
    output: Path


@dataclass(frozen=True)
class VerifyTask:
    """One bucket of whole groups."""

    shuffled: tuple[Path, ...]
    bucket: int
    characters: int
    """Of its comparable texts."""
    bands: int
    ngram: int
    similarity: float
    output: Path


def verify(
    measured: Sequence[Path],
    parents: NDArray[np.int64],
    characters: NDArray[np.int64],
    *,
    bands: int,
    ngram: int,
    similarity: float,
    work: Path,
    resources: Resources,
    bucket_characters: int = BUCKET_CHARACTERS,
) -> list[Path]:
    """The files of pairs (`left`, `right`) that are similar enough, for `joining.unite_pairs`.

    Args:
        parents: the unverified groups, `int64 [documents]`; those that are alone are not looked at.
        characters: of each comparable text, `int64 [documents]`.
    """
    roots = groups.roots(parents)
    sizes = np.bincount(roots, minlength=len(roots))
    candidates = sizes[roots] > 1
    if not candidates.any():
        return []
    volume = np.bincount(roots[candidates], weights=characters[candidates], minlength=len(roots))
    bucket_of_root = (np.cumsum(volume) - volume) // bucket_characters
    buckets = np.where(candidates, bucket_of_root[roots], -1).astype(np.int32)
    path = shards.save_array(work / "buckets.npy", buckets)
    offsets = shards.row_offsets(measured)
    shuffles = [
        ShuffleTask(shard, int(offsets[index]), path, bands, work / f"shuffled-{index:05d}.parquet")
        for index, shard in enumerate(measured)
    ]
    amount = int(characters[candidates].sum())
    shards.map_tasks(
        shuffle, shuffles, amount=amount, resources=resources, description="corpus: gather candidates"
    )
    shuffled = tuple(task.output for task in shuffles)
    tasks = [
        VerifyTask(
            shuffled=shuffled,
            bucket=int(bucket),
            characters=int(characters[buckets == bucket].sum()),
            bands=bands,
            ngram=ngram,
            similarity=similarity,
            output=work / f"verified-{bucket:05d}.parquet",
        )
        for bucket in np.unique(buckets[buckets >= 0])
    ]
    shards.map_tasks(verify_bucket, tasks, amount=amount, resources=resources, description="corpus: verify")
    return [task.output for task in tasks]


def shuffle(task: ShuffleTask) -> None:
    """Write `bucket`, `row`, `text` and the keys of one shard's candidates."""
    names = ["text", "exact_key", "exact_check", *(band_column(band) for band in range(task.bands))]
    table = pq.read_table(task.shard, columns=names)
    buckets = shards.load_array(task.buckets)[task.first_row : task.first_row + table.num_rows]
    places = np.flatnonzero(buckets >= 0)
    places = places[np.argsort(buckets[places], kind="stable")]
    table = table.take(pa.array(places))
    table = table.append_column("bucket", pa.array(buckets[places]))
    table = table.append_column("row", pa.array(places + task.first_row))
    with write_aside(task.output) as aside:
        # Small groups of rows: a reader skips those of other buckets.
        pq.write_table(table, aside, compression="zstd", row_group_size=1000)


def verify_bucket(task: VerifyTask) -> None:
    """Write the verified pairs of one bucket."""
    # No text has more n-grams than characters, so this is enough; what is not used costs nothing.
    members = np.empty(task.characters, dtype=np.uint64)
    count = 0
    sizes, tables = [np.zeros(1, dtype=np.int64)], []
    for path in task.shuffled:
        table = pq.read_table(path, filters=[("bucket", "==", task.bucket)])
        offsets, found = ngram_sets(*comparable_codes(table["text"].to_pylist()), ngram=task.ngram)
        members[count : count + len(found)] = found
        count += len(found)
        sizes.append(np.diff(offsets))
        tables.append(table.drop_columns(["text"]))
    set_offsets = np.cumsum(np.concatenate(sizes))
    table = pa.concat_tables(tables)
    rows = table["row"].to_numpy()
    # The order of the input must not matter: leaders are taken by exact key.
    ranks = np.empty(len(rows), dtype=np.int64)
    ranks[np.lexsort((table["exact_check"].to_numpy(), table["exact_key"].to_numpy()))] = np.arange(len(rows))
    parents = groups.new_forest(len(rows))
    for band in range(task.bands):
        keys = table[band_column(band)].to_numpy()
        order = np.lexsort((ranks, keys))
        _join_similar(keys, order, set_offsets, members, task.similarity, MOST_LEADERS, parents)
    roots = groups.roots(parents)
    joined = roots != np.arange(len(rows))
    shards.write_columns(task.output, {"left": rows[roots[joined]], "right": rows[joined]})


def ngram_sets(
    codes: NDArray[np.uint32], offsets: NDArray[np.int64], *, ngram: int
) -> tuple[NDArray[np.int64], NDArray[np.uint64]]:
    """The n-grams of every text, sorted and without repeats: offsets and 64-bit hashes."""
    sets: tuple[NDArray[np.int64], NDArray[np.uint64]] = _ngram_sets(codes, offsets, ngram)
    return sets


@njit(cache=True)
def _ngram_sets(codes, offsets, ngram):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    set_offsets = np.zeros(documents + 1, dtype=np.int64)
    members = np.empty(len(codes), dtype=np.uint64)
    longest = 1
    for document in range(documents):
        longest = max(longest, offsets[document + 1] - offsets[document])
    text = np.empty(longest, dtype=np.uint32)
    hashes = np.empty(longest, dtype=np.uint64)
    size = 0
    for document in range(documents):
        count = hash_ngrams(codes, offsets[document], offsets[document + 1], ngram, text, hashes)
        ordered = np.sort(hashes[:count])
        for index in range(count):
            if index == 0 or ordered[index] != ordered[index - 1]:
                members[size] = ordered[index]
                size += 1
        set_offsets[document + 1] = size
    return set_offsets, members[:size]


@njit(cache=True)
def jaccard(set_offsets, members, one, other):  # type: ignore[no-untyped-def]
    """The Jaccard similarity of two sets of `ngram_sets`; 0 if both are empty."""
    left, left_end = set_offsets[one], set_offsets[one + 1]
    right, right_end = set_offsets[other], set_offsets[other + 1]
    union = left_end - left + right_end - right
    common = 0
    while left < left_end and right < right_end:
        if members[left] == members[right]:
            common += 1
            left += 1
            right += 1
        elif members[left] < members[right]:
            left += 1
        else:
            right += 1
    union -= common
    return common / union if union > 0 else 0.0


@njit(cache=True)
def _join_similar(keys, order, set_offsets, members, similarity, most_leaders, parents):  # type: ignore[no-untyped-def]
    leaders = np.empty(most_leaders, dtype=np.int64)
    count = 0
    for place in range(len(order)):
        document = order[place]
        if place == 0 or keys[document] != keys[order[place - 1]]:
            count = 0
        joined = False
        for index in range(count):
            leader = leaders[index]
            root, other = groups.find(parents, document), groups.find(parents, leader)
            if root == other:
                joined = True
                break
            if jaccard(set_offsets, members, leader, document) >= similarity:
                parents[max(root, other)] = min(root, other)
                joined = True
                break
        if not joined and count < most_leaders:
            leaders[count] = document
            count += 1
