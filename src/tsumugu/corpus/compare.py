"""Two runs side by side: `tsumugu corpus compare`.

Documents are matched by id, which says where a document came from and not what it says, so runs
with other rules, transforms or deduplication can be compared as long as they read the same
inputs. Only ids, reasons and lengths are read, no text.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tsumugu.corpus.decisions import (
    KEPT,
    QUARANTINED,
    FinishedCorpus,
    find_addresses,
    reasons,
)
from tsumugu.files import read_json
from tsumugu.terminal import number, signed, table
from tsumugu.visible import visible

_CHARACTERS = "characters"
_SHOWN_IDS = 3
_SHOWN_CHANGES = 20
ABSENT = "(not in this run)"


@dataclass(frozen=True)
class Side:
    """One run. `characters` is null when it did not measure them."""

    run: str
    documents: int
    kept: int
    dropped: int
    quarantined: int
    characters: int | None


@dataclass(frozen=True)
class ReasonPair:
    """What one reason drops in each run, and its bounds there (empty: no such rule)."""

    reason: str
    bounds_a: str
    bounds_b: str
    dropped_a: int
    dropped_b: int


@dataclass(frozen=True)
class SourcePair:
    """What came in and stayed of one source in each run."""

    source: str
    in_a: int
    kept_a: int
    in_b: int
    kept_b: int


@dataclass(frozen=True)
class Change:
    """Documents that one run decides `a` (a reason, `kept`, or absent) and the other `b`."""

    a: str
    b: str
    documents: int
    examples: tuple[dict[str, str], ...]
    """Some of them: `id` and `address`."""


@dataclass(frozen=True)
class Comparison:
    """The whole answer."""

    a: Side
    b: Side
    reasons: tuple[ReasonPair, ...]
    sources: tuple[SourcePair, ...]
    same_decision: int
    kept_in_both: int
    kept_only_in_a: int
    kept_only_in_b: int
    other_reason: int
    """Dropped or quarantined in both, for different reasons."""
    only_in_a: int
    """Documents that did not come into B at all."""
    only_in_b: int
    other_length: int | None
    """Kept in both, with texts of another length; null when a run did not measure characters."""
    changes: tuple[Change, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries and lists."""
        return asdict(self)


def compare(a: FinishedCorpus, b: FinishedCorpus) -> Comparison:
    """Compare the decisions of two runs, document by document."""
    left, right = _decided(a), _decided(b)
    joined = left.join(right, keys="id", join_type="full outer", left_suffix="_a", right_suffix="_b")
    joined = joined.append_column("a", joined["reason_a"].fill_null(ABSENT))
    joined = joined.append_column("b", joined["reason_b"].fill_null(ABSENT))
    groups = joined.group_by(["a", "b"]).aggregate([([], "count_all"), ("id", "min")])
    pairs = Counter({(row["a"], row["b"]): row["count_all"] for row in groups.to_pylist()})

    def count(test: Any) -> int:
        return sum(n for (one, other), n in pairs.items() if test(one, other))

    both = pc.and_(pc.equal(joined["a"], KEPT), pc.equal(joined["b"], KEPT))
    measured = _CHARACTERS in a.columns and _CHARACTERS in b.columns
    other_length = (
        pc.sum(pc.and_(both, pc.not_equal(joined["characters_a"], joined["characters_b"]))).as_py() or 0
        if measured
        else None
    )
    return Comparison(
        a=_side(a, left),
        b=_side(b, right),
        reasons=_reason_pairs(a, b, pairs),
        sources=_source_pairs(a, b),
        same_decision=count(lambda one, other: one == other),
        kept_in_both=pairs[KEPT, KEPT],
        kept_only_in_a=count(lambda one, other: one == KEPT and other not in (KEPT, ABSENT)),
        kept_only_in_b=count(lambda one, other: other == KEPT and one not in (KEPT, ABSENT)),
        other_reason=count(lambda one, other: one != other and not {one, other} & {KEPT, ABSENT}),
        only_in_a=count(lambda one, other: other == ABSENT),
        only_in_b=count(lambda one, other: one == ABSENT),
        other_length=other_length,
        changes=_changes(a, b, joined, pairs),
    )


def render(result: Comparison) -> str:
    """The comparison for a terminal."""
    parts = [f"A  {visible(result.a.run)}\nB  {visible(result.b.run)}", _totals(result)]
    if result.reasons:
        parts.append(_funnels(result))
    parts.append(_sources(result))
    rows = [
        ["the same decision", number(result.same_decision)],
        ["kept in A, dropped in B", number(result.kept_only_in_a)],
        ["dropped in A, kept in B", number(result.kept_only_in_b)],
        ["dropped in both, for another reason", number(result.other_reason)],
        ["only in A", number(result.only_in_a)],
        ["only in B", number(result.only_in_b)],
    ]
    if result.other_length is not None:
        rows.append(["kept in both, with a text of another length", number(result.other_length)])
    parts.append(table(["documents, matched by id", ""], rows, right=[1]))
    if result.changes:
        rows = []
        for change in result.changes[:_SHOWN_CHANGES]:
            rows.append([change.a, change.b, number(change.documents), "", ""])
            rows += [["", "", "", example["id"], example["address"]] for example in change.examples]
        parts.append(table(["in A", "in B", "documents", "for example", ""], rows, right=[2]))
    if len(result.changes) > _SHOWN_CHANGES:
        left = len(result.changes) - _SHOWN_CHANGES
        parts.append(f"smaller groups of changes that are not shown (--json has them): {left}")
    return "\n\n".join(parts)


def _totals(result: Comparison) -> str:
    a, b = result.a, result.b
    lines = [
        ("documents in", a.documents, b.documents),
        ("kept", a.kept, b.kept),
        ("dropped", a.dropped, b.dropped),
        ("quarantined", a.quarantined, b.quarantined),
        ("characters kept", a.characters, b.characters),
    ]
    rows = [
        [name, number(one), number(other), signed(other - one)]
        for name, one, other in lines
        if one is not None and other is not None
    ]
    return table(["", "A", "B", "B - A"], rows, right=[1, 2, 3])


def _funnels(result: Comparison) -> str:
    rows = [
        [
            pair.reason,
            pair.bounds_a,
            pair.bounds_b if pair.bounds_b != pair.bounds_a else "",
            number(pair.dropped_a),
            number(pair.dropped_b),
            signed(pair.dropped_b - pair.dropped_a),
        ]
        for pair in result.reasons
    ]
    header = ["dropped for", "rule in A", "in B, if other", "A", "B", "B - A"]
    return table(header, rows, right=[3, 4, 5])


def _sources(result: Comparison) -> str:
    rows = [
        [
            pair.source,
            number(pair.in_a),
            number(pair.in_b),
            number(pair.kept_a),
            number(pair.kept_b),
            signed(pair.kept_b - pair.kept_a),
        ]
        for pair in result.sources
    ]
    return table(["source", "in A", "in B", "kept A", "kept B", "B - A"], rows, right=range(1, 6))


def _decided(corpus: FinishedCorpus) -> pa.Table:
    """Columns `id`, `reason` (`kept` for what was kept) and `characters`, over all shards."""
    tables = []
    for rows in corpus.tables(["id", "reason", _CHARACTERS]):
        characters = (
            rows[_CHARACTERS] if _CHARACTERS in rows.column_names else pa.nulls(len(rows), pa.float64())
        )
        tables.append(
            pa.table({"id": rows["id"], "reason": reasons(rows).fill_null(KEPT), "characters": characters})
        )
    return pa.concat_tables(tables)


def _side(corpus: FinishedCorpus, decided: pa.Table) -> Side:
    kept = pc.equal(decided["reason"], KEPT)
    quarantined = pc.sum(pc.equal(decided["reason"], QUARANTINED)).as_py() or 0
    stayed = pc.sum(kept).as_py() or 0
    characters = pc.sum(decided["characters"].filter(kept)).as_py()
    return Side(
        run=str(corpus.run),
        documents=len(decided),
        kept=stayed,
        dropped=len(decided) - stayed - quarantined,
        quarantined=quarantined,
        characters=round(characters or 0) if _CHARACTERS in corpus.columns else None,
    )


def _reason_pairs(
    a: FinishedCorpus, b: FinishedCorpus, pairs: Counter[tuple[str, str]]
) -> tuple[ReasonPair, ...]:
    rules_a, rules_b = ({rule.reason: rule for rule in corpus.rules} for corpus in (a, b))
    others = sorted({name for pair in pairs for name in pair} - {KEPT, ABSENT, QUARANTINED})

    def words(rule: Any) -> str:
        return f"{rule.signal} {rule.bounds()}" if rule else ""

    return tuple(
        ReasonPair(
            reason=reason,
            bounds_a=words(rules_a.get(reason)),
            bounds_b=words(rules_b.get(reason)) or ("no rule" if reason in rules_a else ""),
            dropped_a=sum(n for (one, _), n in pairs.items() if one == reason),
            dropped_b=sum(n for (_, other), n in pairs.items() if other == reason),
        )
        for reason in dict.fromkeys([*rules_a, *rules_b, *others])
    )


def _source_pairs(a: FinishedCorpus, b: FinishedCorpus) -> tuple[SourcePair, ...]:
    counted = [read_json(corpus.folder / "manifest.json")["counts"]["sources"] for corpus in (a, b)]
    nothing = {"in": 0, "kept": 0}
    pairs = []
    for source in dict.fromkeys([*counted[0], *counted[1]]):
        one, other = (found.get(source, nothing) for found in counted)
        pairs.append(SourcePair(source, one["in"], one["kept"], other["in"], other["kept"]))
    return tuple(pairs)


def _changes(
    a: FinishedCorpus, b: FinishedCorpus, joined: pa.Table, pairs: Counter[tuple[str, str]]
) -> tuple[Change, ...]:
    """Every pair of different decisions, the most frequent first."""
    different = [(pair, n) for pair, n in pairs.items() if pair[0] != pair[1]]
    different.sort(key=lambda entry: (-entry[1], entry[0]))
    chosen: dict[tuple[str, str], list[str]] = {}
    for pair, _ in different:
        ids = joined["id"].filter(pc.and_(pc.equal(joined["a"], pair[0]), pc.equal(joined["b"], pair[1])))
        few: Sequence[int] = pc.bottom_k_unstable(ids, k=_SHOWN_IDS)
        chosen[pair] = sorted(ids.take(few).to_pylist())
    wanted = [name for names in chosen.values() for name in names]
    addresses = {**find_addresses(b, wanted), **find_addresses(a, wanted)}

    def address(name: str) -> str:
        found = addresses.get(name)
        return f"{found['source']}: {found.get('url') or found.get('path')}" if found else "(not recorded)"

    return tuple(
        Change(*pair, n, tuple({"id": name, "address": address(name)} for name in chosen[pair]))
        for pair, n in different
    )
