"""All documents at once: what repeats, which copy stays, what is cut, what gives questions away.

In this order, each step only on what the ones before left:

1. `exact_duplicate`: equal comparable texts. (1 to 3 unless the recipe says `documents: false`.)
2. `url_duplicate`: the same address on the web, if the recipe asks.
3. `near_duplicate`: joined by MinHash bands, verified by exact Jaccard similarity if asked.
4. `contained`: most lines stand in shorter documents that stay.
5. Repeated lines or paragraphs, and repeated substrings, are cut; `only_repeats` if nothing is left.
6. `contaminated`: parts of an evaluation set.

Of a group the first, the longest or the newest stays (`keep`); ties go to the first in input order.
So the result depends on the order of the input (and, for clusters, not even on that), and never on
the number of workers. Documents that a rule dropped take part in nothing.

Memory of this process: about 50 bytes for each document. Tasks bound their own.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tsumugu.corpus.columns import read_columns
from tsumugu.corpus.config import CorpusConfig, DedupConfig
from tsumugu.corpus.dedup import groups, shards
from tsumugu.corpus.dedup.contained import find_contained
from tsumugu.corpus.dedup.contamination import find_contaminated
from tsumugu.corpus.dedup.joining import JoinTask, divide_columns, join, unite_pairs
from tsumugu.corpus.dedup.keys import band_column
from tsumugu.corpus.dedup.removing import REMOVALS, RemovalTask, mark_removals, read_removals
from tsumugu.corpus.dedup.repeats import find_frequent
from tsumugu.corpus.dedup.urls import TraitsTask, read_traits
from tsumugu.corpus.dedup.verifying import verify
from tsumugu.engine import Resources
from tsumugu.files import write_aside

DECIDED = pa.schema(
    [
        ("reason", pa.string()),
        ("cluster", pa.int64()),
        ("cluster_size", pa.int64()),
        ("duplicate_of", pa.string()),
        ("removals", REMOVALS),
    ]
)
"""Null `reason`: kept. `cluster`: the row of its first document; null for a document that has no
duplicate. `duplicate_of`: the id of the document that stays in its place; that one may still be
dropped later, as contained or contaminated. `removals`: what to cut from a kept text, ascending."""

_REASONS = (
    "", "exact_duplicate", "url_duplicate", "near_duplicate", "contained", "only_repeats", "contaminated",
)  # fmt: skip
_EXACT, _URL, _NEAR, _CONTAINED, _ONLY_REPEATS, _CONTAMINATED = range(1, 7)


def decide(measured: Sequence[Path], *, config: CorpusConfig, work: Path, resources: Resources) -> list[Path]:
    """Decide about every document of the measured shards.

    Args:
        measured: Parquet files with `id`, `text`, `url`, `metadata`, `reason` ("" passed) and the
            columns of `keys.key_schema`, in input order.
        work: a folder for intermediate files; a later call with the same arguments goes on there.
            With evaluation sets, the report of what was hit is
            `work/contamination/contamination.json`.

    Returns:
        One Parquet file (`DECIDED`) for each shard, row by row.

    Raises:
        TsumuguError: an evaluation set yields nothing to look for.
    """
    if not measured:
        return []
    settings = config.dedup
    alive = np.concatenate(
        [pc.equal(table["reason"], "").to_numpy() for _, table in shards.tables(measured, ["reason"])]
    )
    alive &= shards.read_numbers(measured, "exact_key", np.uint64) != 0
    dropped = np.zeros(len(alive), dtype=np.int8)
    into = _find_duplicates(measured, settings, alive, dropped, work=work, resources=resources)
    if settings.contained_share is not None:
        contained = find_contained(
            measured, alive, share=settings.contained_share, work=work / "contained", resources=resources
        )
        _drop(contained, _CONTAINED, alive, dropped)
    removals = _find_removals(measured, settings, alive, dropped, work=work / "repeats", resources=resources)
    if config.decontamination.evaluation:
        contaminated = find_contaminated(
            measured, alive, config.decontamination, work=work / "contamination", resources=resources
        )
        _drop(contaminated, _CONTAMINATED, alive, dropped)
    return _write(measured, into, dropped, removals, folder=work / "decided")


def _drop(
    documents: NDArray[np.bool_], reason: int, alive: NDArray[np.bool_], dropped: NDArray[np.int8]
) -> None:
    dropped[documents & alive] = reason
    alive &= ~documents


def _find_duplicates(
    measured: Sequence[Path],
    settings: DedupConfig,
    alive: NDArray[np.bool_],
    dropped: NDArray[np.int8],
    *,
    work: Path,
    resources: Resources,
) -> NDArray[np.int64]:
    """Drop exact, address and near duplicates; return who stays in each one's place."""
    if not settings.documents:
        return groups.new_forest(len(alive))
    traits = _read_traits(measured, settings, work=work / "traits", resources=resources)
    preference = _preference(measured, traits, settings)
    into = groups.new_forest(len(alive))

    def join_columns(
        name: str, columns: Sequence[str], *, check: str | None = None, most: int = 2**62
    ) -> list[Path]:
        folder = work / name
        alive_path = shards.save_array(folder / "alive.npy", alive)
        files = tuple(traits if name == "urls" else measured)
        tasks = [
            JoinTask(files, some, check, alive_path, folder / f"{some[0]}-{some[-1]}.parquet", most)
            for some in divide_columns(columns, len(alive))
        ]
        amount = len(alive) * len(columns)
        shards.map_tasks(join, tasks, amount=amount, resources=resources, description=f"corpus: {name}")
        return [task.output for task in tasks]

    def keep_one(parents: NDArray[np.int64], reason: int) -> None:
        stays = groups.survivors(parents, preference, alive)
        gone = stays != np.arange(len(alive))
        into[gone] = stays[gone]
        _drop(gone, reason, alive, dropped)

    parents = groups.new_forest(len(alive))
    unite_pairs(parents, join_columns("exact", ["exact_key"], check="exact_check"))
    keep_one(parents, _EXACT)
    if settings.urls:
        parents = groups.new_forest(len(alive))
        unite_pairs(parents, join_columns("urls", ["url_key"], most=settings.max_documents_per_url))
        keep_one(parents, _URL)
    parents = groups.new_forest(len(alive))
    pairs = join_columns("near", [band_column(band) for band in range(settings.bands)])
    unite_pairs(parents, pairs)
    if settings.verify_jaccard is not None:
        pairs = verify(
            measured,
            parents,
            shards.read_numbers(measured, "compared_characters", np.int64),
            bands=settings.bands,
            ngram=settings.ngram,
            similarity=settings.verify_jaccard,
            work=work / "verify",
            resources=resources,
        )
        parents = groups.new_forest(len(alive))
        unite_pairs(parents, pairs)
    keep_one(parents, _NEAR)
    # An exact duplicate of an address duplicate of a near duplicate: three steps to who stays.
    return into[into[into]]


def _read_traits(
    measured: Sequence[Path], settings: DedupConfig, *, work: Path, resources: Resources
) -> list[Path]:
    date_key = settings.date_key if settings.keep == "newest" else None
    if not settings.urls and date_key is None:
        return []
    tasks = [
        TraitsTask(path, settings.urls, date_key, work / f"{index:05d}.parquet")
        for index, path in enumerate(measured)
    ]
    rows = int(shards.row_offsets(measured)[-1])
    shards.map_tasks(read_traits, tasks, amount=rows, resources=resources, description="corpus: addresses")
    return [task.output for task in tasks]


def _preference(
    measured: Sequence[Path], traits: Sequence[Path], settings: DedupConfig
) -> NDArray[np.int64] | None:
    if settings.keep == "longest":
        return shards.read_numbers(measured, "compared_characters", np.int64)
    if settings.keep == "newest":
        return shards.read_numbers(traits, "date", np.int64)
    return None


def _find_removals(
    measured: Sequence[Path],
    settings: DedupConfig,
    alive: NDArray[np.bool_],
    dropped: NDArray[np.int8],
    *,
    work: Path,
    resources: Resources,
) -> list[Path]:
    """Files of spans, for neighbouring shards in order; drops what has nothing left."""
    lines, substrings = settings.repeated_lines, settings.repeated_substrings
    frequent = None
    if lines is not None:
        frequent = find_frequent(measured, alive, lines, work=work, resources=resources)
        if pq.read_metadata(frequent).num_rows == 0:
            frequent = None
    if frequent is None and substrings is None:
        return []
    offsets = shards.row_offsets(measured)
    alive_path = shards.save_array(work / "alive.npy", alive)
    # One shard at a time, unless copies are looked for in several.
    limit = substrings.group_characters if substrings is not None else 0
    characters = shards.read_numbers(measured, "compared_characters", np.int64)
    tasks: list[RemovalTask] = []
    volumes = [int(characters[start:end].sum()) for start, end in pairwise(offsets)]
    first, held = 0, 0
    for index, volume in enumerate(volumes):
        held += volume
        if index + 1 < len(measured) and held + volumes[index + 1] <= limit:
            continue
        tasks.append(
            RemovalTask(
                shards=tuple(measured[first : index + 1]),
                first_row=int(offsets[first]),
                alive=alive_path,
                frequent=frequent,
                paragraphs=lines is not None and lines.unit == "paragraph",
                min_characters=substrings.min_characters if substrings is not None else None,
                output=work / f"removals-{first:05d}.parquet",
            )
        )
        first, held = index + 1, 0
    amount = int(characters[alive].sum())
    shards.map_tasks(mark_removals, tasks, amount=amount, resources=resources, description="corpus: repeats")
    files = [task.output for task in tasks]
    _drop(shards.read_numbers(files, "emptied", np.bool_), _ONLY_REPEATS, alive, dropped)
    return files


def _write(
    measured: Sequence[Path],
    into: NDArray[np.int64],
    dropped: NDArray[np.int8],
    removals: Sequence[Path],
    *,
    folder: Path,
) -> list[Path]:
    rows = np.arange(len(into))
    sizes = np.bincount(into, minlength=len(into))
    firsts = np.full(len(into), len(into))
    np.minimum.at(firsts, into, rows)
    alone = sizes[into] == 1
    elsewhere = into != rows
    named = np.unique(into[elsewhere])
    names = _ids(measured, named)
    offsets = shards.row_offsets(measured)
    cuts = _removals_of_shards(removals, offsets)
    outputs = []
    for index, path in enumerate(measured):
        part = slice(int(offsets[index]), int(offsets[index + 1]))
        reasons = read_columns(path, ["reason"])["reason"].combine_chunks()
        reasons = pc.if_else(pc.equal(reasons, ""), pa.array(_REASONS).take(pa.array(dropped[part])), reasons)
        kept = pc.equal(reasons, "")
        places = np.minimum(np.searchsorted(named, into[part]), max(len(named) - 1, 0))
        columns = {
            "reason": pc.if_else(kept, pa.scalar(None, pa.string()), reasons),
            "cluster": pa.array(firsts[into[part]], mask=alone[part]),
            "cluster_size": pa.array(sizes[into[part]], mask=alone[part]),
            "duplicate_of": names.take(pa.array(places, mask=~elsewhere[part])),
            "removals": pc.if_else(kept, next(cuts), pa.scalar([], REMOVALS)),
        }
        output = folder / f"{index:05d}.parquet"
        with write_aside(output) as aside:
            pq.write_table(pa.Table.from_pydict(columns, schema=DECIDED), aside, compression="zstd")
        outputs.append(output)
    return outputs


def _ids(measured: Sequence[Path], wanted: NDArray[np.int64]) -> pa.Array:
    """The ids of the rows `wanted`, which ascend."""
    found = [pa.array([], pa.string())]
    if len(wanted):
        for start, table in shards.tables(measured, ["id"]):
            first, last = np.searchsorted(wanted, [start, start + table.num_rows])
            ids = table["id"].combine_chunks().take(pa.array(wanted[first:last] - start))
            found.append(ids.cast(pa.string()))
    return pa.concat_arrays(found)


def _removals_of_shards(files: Sequence[Path], offsets: NDArray[np.int64]) -> Iterator[pa.Array]:
    """The spans of each shard, from files that may hold those of several."""
    held = pa.array([], REMOVALS)
    waiting = iter(files)
    for count in np.diff(offsets).tolist():
        if not files:
            yield pa.array([[]] * count, REMOVALS)
            continue
        while len(held) < count:
            held = pa.concat_arrays([held, read_removals(next(waiting))])
        yield held[:count]
        held = held[count:]
