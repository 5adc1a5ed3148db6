"""Documents worth looking at: on either side of every threshold, and copies beside what they repeat.

Signals and keys of every document are read one shard at a time, texts only of the few that were
chosen, so memory does not grow with the corpus. A choice depends on the documents alone, not on
how they are divided into shards: nearest first, and among equals the smaller id (ids are hashes,
so that is a random but reproducible choice).
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tsumugu.corpus.columns import read_columns
from tsumugu.corpus.decisions import Threshold, signal_columns
from tsumugu.corpus.tables import read_rows

_FIRST_BAND, _BANDS = -10, 24
"""Distances from a threshold, in half doublings: from 1/32 of it to 128 times it."""
_MEMBERS = 2
"""Copies that are shown beside one surviving document."""
CLUSTER_CHARACTERS = 4000
"""Of each text in a cluster."""


class Rule(Protocol):
    """A rule of the recipe, as far as it matters here."""

    reason: str
    signal: Any
    at_least: float | None
    at_most: float | None


@dataclass(frozen=True)
class _Candidate:
    shard: int
    row: int
    id: str
    value: float
    fails: tuple[str, ...]
    """Reasons of the other rules that the document fails."""


def near_thresholds(
    measured: Sequence[Path], rules: Iterable[Rule], *, per_side: int = 20, characters: int = 600
) -> dict[str, Any]:
    """For every bound of every rule, documents around it, as JSON for `near_thresholds.json`.

    Args:
        measured: Parquet files with `id`, `text`, `url`, `source` and the rules' signals.
        per_side: of the documents that fail a bound, and of those that pass it, so many nearest ones.
            Documents that no other rule drops come first: for them this bound decides. Beside the
            nearest stands one for every half doubling of the distance, for whoever moves the threshold.
        characters: of each text's beginning.

    Returns:
        `documents`: id -> `source`, `url`, `text`; `bounds`: a list of `reason`, `signal`, `bound`
        (`at_least` or `at_most`), `threshold`, and `documents` with `id`, `value` and `fails` (the
        other rules that it fails), by value.
    """
    thresholds = [Threshold(rule.reason, str(rule.signal), rule.at_least, rule.at_most) for rule in rules]
    bounds = [
        (index, name, bound)
        for index, rule in enumerate(thresholds)
        for name, bound in (("at_least", rule.at_least), ("at_most", rule.at_most))
        if bound is not None
    ]
    best: list[list[_Candidate]] = [[] for _ in bounds]
    for shard, path in enumerate(measured):
        table = read_columns(path, ["id", *{rule.signal for rule in thresholds}])
        columns = signal_columns(table, table.column_names[1:])
        fails = np.array([rule.fails(columns[rule.signal]) for rule in thresholds])
        ranks = _ranks(table["id"])
        for place, (index, name, bound) in enumerate(bounds):
            values = columns[thresholds[index].signal]
            decided = (fails.sum(axis=0) - fails[index]) > 0
            rows = _choose(values, decided, ranks, bound=name, threshold=bound, per_side=per_side)
            best[place] += [
                _Candidate(
                    shard,
                    int(row),
                    table["id"][row].as_py(),
                    float(values[row]),
                    tuple(
                        thresholds[other].reason for other in np.flatnonzero(fails[:, row]) if other != index
                    ),
                )
                for row in rows
            ]
            best[place] = _best_of(best[place], bound=name, threshold=bound, per_side=per_side)

    chosen = {candidate.id: candidate for found in best for candidate in found}
    return {
        "documents": _texts(measured, chosen.values(), characters),
        "bounds": [
            {
                "reason": thresholds[index].reason,
                "signal": thresholds[index].signal,
                "bound": name,
                "threshold": bound,
                "documents": [
                    {"id": one.id, "value": one.value, "fails": list(one.fails)}
                    for one in sorted(found, key=lambda one: (one.value, one.id))
                ],
            }
            for (index, name, bound), found in zip(bounds, best, strict=True)
        ],
    }


def duplicate_clusters(
    measured: Sequence[Path],
    decided: Sequence[Path],
    *,
    per_reason: int = 8,
    characters: int = CLUSTER_CHARACTERS,
) -> list[dict[str, Any]]:
    """Documents that were dropped as copies, beside the one that they repeat, for `clusters.json`.

    Args:
        measured: Parquet files with `id`, `text`, `url` and `source`.
        decided: row by row the decisions on them, with `reason`, `cluster_size` and `duplicate_of`.
        per_reason: survivors that are chosen for every reason: half of them those of the largest
            clusters, the others at random.
        characters: of each text's beginning.

    Returns:
        For each: `reason`, `size` (null if it is not known), `survivor` and `members`, which are
        documents with `id`, `source`, `url`, `text`; by reason, then by size.
    """
    sizes: dict[tuple[str, str], int | None] = {}
    for path in decided:
        table = read_columns(path, ["reason", "cluster_size", "duplicate_of"])
        table = table.filter(pc.is_valid(table["duplicate_of"]))
        for row in (
            table.group_by(["reason", "duplicate_of"]).aggregate([("cluster_size", "max")]).to_pylist()
        ):
            sizes[row["reason"], row["duplicate_of"]] = row["cluster_size_max"]
        sizes = _prominent(sizes, per_reason)

    wanted = pa.array({survivor for _, survivor in sizes}, pa.string())
    places: dict[str, _Candidate] = {}
    members: dict[tuple[str, str], list[str]] = {pair: [] for pair in sizes}
    for shard, (path, decision) in enumerate(zip(measured, decided, strict=True)):
        ids = read_columns(path, ["id"])["id"]
        table = read_columns(decision, ["reason", "duplicate_of"]).append_column("id", ids)
        for row in np.flatnonzero(pc.is_in(ids, wanted)):
            places[ids[row].as_py()] = _Candidate(shard, int(row), ids[row].as_py(), 0.0, ())
        for row in np.flatnonzero(pc.is_in(table["duplicate_of"], wanted)):
            pair = table["reason"][row].as_py(), table["duplicate_of"][row].as_py()
            if pair in members:
                name = ids[row].as_py()
                members[pair] = sorted([*members[pair], name])[:_MEMBERS]
                places[name] = _Candidate(shard, int(row), name, 0.0, ())
        shown = {name for pair, names in members.items() for name in (pair[1], *names)}
        places = {name: place for name, place in places.items() if name in shown}

    texts = _texts(measured, places.values(), characters)
    clusters = [
        {
            "reason": reason,
            "size": size,
            "survivor": {"id": survivor, **texts[survivor]},
            "members": [{"id": name, **texts[name]} for name in members[reason, survivor]],
        }
        for (reason, survivor), size in sizes.items()
        if survivor in texts
    ]
    return sorted(
        clusters, key=lambda found: (found["reason"], -(found["size"] or 0), found["survivor"]["id"])
    )


def _choose(
    values: NDArray[np.float64],
    decided: NDArray[np.bool_],
    ranks: NDArray[np.int64],
    *,
    bound: str,
    threshold: float,
    per_side: int,
) -> NDArray[np.int64]:
    """Rows around a threshold: the nearest on either side, and one for every half doubling.

    Args:
        decided: documents that another rule drops; they come after all others.
        ranks: the order among documents at equal distance.
    """
    distances = np.abs(values - threshold)
    failing = values < threshold if bound == "at_least" else values > threshold
    scale = abs(threshold) or 1.0
    with np.errstate(divide="ignore", invalid="ignore"):
        bands = np.floor(2 * np.log2(distances / scale)) - _FIRST_BAND
    bands = np.clip(np.nan_to_num(bands), 0, _BANDS - 1).astype(np.int64)
    chosen: list[NDArray[np.int64]] = []
    for side in (failing, ~failing & ~np.isnan(values)):
        wanted = per_side
        for group in (side & ~decided, side & decided):
            rows = np.flatnonzero(group)
            if len(rows) > wanted > 0:
                # Only what is as near as the last one that is wanted must be put in order.
                limit = np.partition(distances[rows], wanted - 1)[wanted - 1]
                rows = rows[distances[rows] <= limit]
            rows = rows[np.lexsort((ranks[rows], distances[rows]))][:wanted]
            chosen.append(rows)
            wanted -= len(rows)
        rows = np.flatnonzero(side)
        order = rows[np.lexsort((ranks[rows], decided[rows], bands[rows]))]
        chosen.append(order[np.unique(bands[order], return_index=True)[1]])
    found: NDArray[np.int64] = np.unique(np.concatenate(chosen))
    return found


def _best_of(
    candidates: Sequence[_Candidate], *, bound: str, threshold: float, per_side: int
) -> list[_Candidate]:
    """The same choice among the candidates of several shards."""
    rows = _choose(
        np.array([one.value for one in candidates], dtype=np.float64),
        np.array([bool(one.fails) for one in candidates], dtype=bool),
        _ranks(pa.array([one.id for one in candidates], pa.string())),
        bound=bound,
        threshold=threshold,
        per_side=per_side,
    )
    return [candidates[row] for row in rows]


def _ranks(ids: Any) -> NDArray[np.int64]:
    """The place of each id in their order."""
    ranks = np.empty(len(ids), dtype=np.int64)
    ranks[pc.sort_indices(ids).to_numpy()] = np.arange(len(ids))
    return ranks


def _prominent(
    sizes: Mapping[tuple[str, str], int | None], per_reason: int
) -> dict[tuple[str, str], int | None]:
    """For every reason, the pairs of the largest clusters and others at random."""
    kept: dict[tuple[str, str], int | None] = {}
    for reason in sorted({reason for reason, _ in sizes}):
        pairs = sorted(pair for pair in sizes if pair[0] == reason)
        largest = sorted(pairs, key=lambda pair: -(sizes[pair] or 0))[: per_reason // 2]
        others = [pair for pair in pairs if pair not in largest][: per_reason - len(largest)]
        kept |= {pair: sizes[pair] for pair in (*largest, *others)}
    return kept


def _texts(
    measured: Sequence[Path], candidates: Iterable[_Candidate], characters: int
) -> dict[str, dict[str, str]]:
    """Address and beginning of each candidate, by id, sorted."""
    wanted: dict[int, list[_Candidate]] = {}
    for candidate in candidates:
        wanted.setdefault(candidate.shard, []).append(candidate)
    found: dict[str, dict[str, str]] = {}
    for shard, chosen in wanted.items():
        names = {candidate.row: candidate.id for candidate in chosen}
        shown = read_rows(measured[shard], names.keys(), ["source", "url", "text"], characters=characters)
        found |= {names[row]: entry for row, entry in shown.items()}
    return dict(sorted(found.items()))
