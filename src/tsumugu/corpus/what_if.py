"""What other thresholds would have decided, from the stored signals: `tsumugu corpus what-if`.

Every signal of every document was kept, also of those that were dropped, so the rules can be
asked again without reading a text: shard by shard, in columns, in memory that one shard needs.
Duplicates are not looked for again (documents that failed a rule were never compared); the
result says how many decisions that concerns.
"""

import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tsumugu.corpus.decisions import (
    KEPT,
    QUARANTINED,
    FinishedCorpus,
    Threshold,
    find_addresses,
    first_failing,
    reasons,
    signal_columns,
)
from tsumugu.corpus.overrides import change_rules
from tsumugu.terminal import number, signed, table
from tsumugu.visible import visible

_SHOWN_PER_REASON = 3
_CHARACTERS = "characters"


@dataclass(frozen=True)
class ReasonChange:
    """What one reason drops, before and after. `before` and `after` are bounds in words."""

    reason: str
    signal: str
    before: str
    after: str
    dropped_before: int
    dropped_after: int
    newly_dropped: int
    """Documents that were kept and would be dropped for this reason."""
    newly_kept: int
    """Documents that were dropped for this reason and would be kept."""


@dataclass(frozen=True)
class Mover:
    """A document that changes sides. `value` is its signal under the rule that decides."""

    id: str
    change: str
    reason: str
    signal: str
    value: float
    address: str


@dataclass(frozen=True)
class WhatIf:
    """The whole answer. Characters are null when the run did not measure them."""

    documents: int
    quarantined: int
    kept_before: int
    kept_after: int
    newly_kept: int
    """Never compared with the others, so some of them may be duplicates."""
    newly_dropped: int
    characters_before: int | None
    characters_after: int | None
    reasons: tuple[ReasonChange, ...]
    movers: tuple[Mover, ...]
    orphaned_duplicates: int
    """Dropped duplicates whose surviving copy would be dropped now, so that one of them may return."""
    orphans_are_exact: bool
    """False when the run did not record survivors: then all duplicates are counted that may be concerned."""
    unexplained: int
    """Documents whose stored reason the recorded rules do not give; 0 unless files were changed."""
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries and lists."""
        return asdict(self)


def what_if(corpus: FinishedCorpus, overrides: Sequence[str]) -> WhatIf:
    """Decide every document of `corpus` again under changed rules.

    Raises:
        TsumuguError: an override cannot be understood.
    """
    began = time.perf_counter()
    rules = change_rules(corpus.rules, overrides, signals=corpus.signals)
    signals = [rule.signal for rule in (*corpus.rules, *rules)]
    labels = _Labels([rule.reason for rule in (*corpus.rules, *rules)])
    ruled = np.array([labels.code(rule.reason) for rule in corpus.rules], dtype=np.int64)
    moves: Counter[tuple[str, str]] = Counter()
    characters: Counter[tuple[str, str]] = Counter()
    candidates: dict[tuple[str, str], list[str]] = {}
    gone: list[pa.Array] = []
    unexplained = 0

    for rows in corpus.tables(["id", "reason", *signals, _CHARACTERS, "duplicate_of"]):
        columns = signal_columns(rows, [*signals, _CHARACTERS])
        before = labels.encode(reasons(rows))
        old = labels.of_rules(corpus.rules, first_failing(corpus.rules, columns, len(rows)))
        new = labels.of_rules(rules, first_failing(rules, columns, len(rows)))
        by_rule = np.isin(before, ruled)
        unexplained += int(np.sum((by_rule | (before == 0)) & (before != old)))
        # A document dropped by a rule that it passes now is kept. Every other reason comes from
        # outside of the rules and stands, unless a rule now speaks first.
        after = np.where(new > 0, new, np.where(by_rule, 0, before))
        after = np.where(before == labels.code(QUARANTINED), before, after)

        places = before * len(labels.names) + after
        lengths = np.nan_to_num(columns.get(_CHARACTERS, np.zeros(len(rows))))
        counts, sums = np.bincount(places), np.bincount(places, weights=lengths)
        for place in np.flatnonzero(counts):
            left, right = (labels.names[code] for code in divmod(int(place), len(labels.names)))
            moves[left, right] += int(counts[place])
            characters[left, right] += round(sums[place])
            if left != right and KEPT in (left, right):
                ids = rows["id"].filter(pa.array(places == place)).combine_chunks()
                # Ids are hashes, so the smallest are a random but reproducible choice.
                few = ids.take(pc.bottom_k_unstable(ids, k=_SHOWN_PER_REASON)).to_pylist()
                chosen = candidates.get((left, right), []) + few
                candidates[left, right] = sorted(chosen)[:_SHOWN_PER_REASON]
        if "duplicate_of" in rows.column_names:
            gone.append(rows["id"].filter(pa.array((before == 0) & (after > 0))).combine_chunks())

    def total(*, before: str | None = None, after: str | None = None, of: Counter[tuple[str, str]]) -> int:
        return sum(n for (left, right), n in of.items() if before in (None, left) and after in (None, right))

    newly_dropped = total(before=KEPT, of=moves) - moves[KEPT, KEPT]
    measured = _CHARACTERS in corpus.signals
    exact = "duplicate_of" in corpus.columns
    return WhatIf(
        documents=total(of=moves),
        quarantined=total(before=QUARANTINED, of=moves),
        kept_before=total(before=KEPT, of=moves),
        kept_after=total(after=KEPT, of=moves),
        newly_kept=total(after=KEPT, of=moves) - moves[KEPT, KEPT],
        newly_dropped=newly_dropped,
        characters_before=total(before=KEPT, of=characters) if measured else None,
        characters_after=total(after=KEPT, of=characters) if measured else None,
        reasons=_reason_changes(corpus.rules, rules, moves),
        movers=_movers(corpus, rules, candidates),
        orphaned_duplicates=_orphans(corpus, rules, gone, moves) if newly_dropped else 0,
        orphans_are_exact=exact,
        unexplained=unexplained,
        seconds=time.perf_counter() - began,
    )


def render(result: WhatIf, *, run: str) -> str:
    """The answer for a terminal."""
    parts = [
        f"{number(result.documents)} documents of {visible(run)} decided again in {result.seconds:.2f} s, "
        f"from their signals; no text was read\n",
        table(
            [
                "reason",
                "signal",
                "before",
                "after",
                "drops",
                "would drop",
                "change",
                "newly dropped",
                "newly kept",
            ],
            [
                [
                    entry.reason,
                    entry.signal,
                    entry.before,
                    entry.after if entry.after != entry.before else "",
                    number(entry.dropped_before),
                    number(entry.dropped_after),
                    signed(entry.dropped_after - entry.dropped_before),
                    number(entry.newly_dropped),
                    number(entry.newly_kept),
                ]
                for entry in result.reasons
            ],
            right=range(4, 9),
        ),
        "",
        _net("documents kept", result.kept_before, result.kept_after),
    ]
    if result.characters_before is not None and result.characters_after is not None:
        parts.append(_net("characters kept", result.characters_before, result.characters_after))
    if result.movers:
        rows = [
            [mover.change, mover.reason, f"{mover.signal} {number(mover.value)}", mover.id, mover.address]
            for mover in result.movers
        ]
        parts += ["\nSome of those that change sides (tsumugu corpus explain RUN ID tells more):"]
        parts += [table(["change", "reason", "signal", "id", "address"], rows)]
    parts += _caveats(result)
    return "\n".join(parts)


def _caveats(result: WhatIf) -> list[str]:
    parts = []
    if result.newly_kept:
        parts.append(
            f"\nDuplicates are not looked for again: the {number(result.newly_kept)} newly kept "
            f"documents were never\ncompared with the others, and some of them may be duplicates."
        )
    if result.orphaned_duplicates:
        most = "" if result.orphans_are_exact else "at most "
        parts.append(
            f"\nDropped duplicates of documents that would be dropped now: {most}"
            f"{number(result.orphaned_duplicates)}.\n"
            f"They stay dropped here, while a real run might keep one copy of each."
        )
    if result.unexplained:
        parts.append(
            f"\nWarning: the recorded rules do not give the stored reason of {number(result.unexplained)} "
            f"documents. The rules\nof this run were changed after it; run the stage again for exact answers."
        )
    return parts


def _net(what: str, before: int, after: int) -> str:
    share = f" ({(after - before) / before:+.1%})" if before else ""
    return f"{what:16} {number(before)} -> {number(after)}   {signed(after - before)}{share}"


class _Labels:
    """Reasons as small integers; 0 is `kept`."""

    def __init__(self, names: Sequence[str]) -> None:
        self.names = list(dict.fromkeys([KEPT, QUARANTINED, *names]))

    def code(self, name: str) -> int:
        if name not in self.names:
            self.names.append(name)
        return self.names.index(name)

    def encode(self, column: pa.Array) -> NDArray[np.int64]:
        encoded = column.dictionary_encode()
        codes = np.array([*map(self.code, encoded.dictionary.to_pylist()), 0], dtype=np.int64)
        # -1 takes the last entry: a document without a reason was kept.
        found: NDArray[np.int64] = codes[encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)]
        return found

    def of_rules(self, rules: Sequence[Threshold], failing: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.array([*(self.code(rule.reason) for rule in rules), 0], dtype=np.int64)[failing]


def _reason_changes(
    before: Sequence[Threshold], after: Sequence[Threshold], moves: Counter[tuple[str, str]]
) -> tuple[ReasonChange, ...]:
    old, new = ({rule.reason: rule for rule in rules} for rules in (before, after))
    found = sorted({name for move in moves for name in move} - {KEPT, QUARANTINED, *old, *new})
    changes = []
    for reason in [*dict.fromkeys([*old, *new]), *found]:
        rule = old.get(reason) or new.get(reason)
        changes.append(
            ReasonChange(
                reason=reason,
                signal=rule.signal if rule else "",
                before=old[reason].bounds() if reason in old else "",
                after=new[reason].bounds() if reason in new else "off" if rule else "",
                dropped_before=sum(n for (left, _), n in moves.items() if left == reason),
                dropped_after=sum(n for (_, right), n in moves.items() if right == reason),
                newly_dropped=moves[KEPT, reason],
                newly_kept=moves[reason, KEPT],
            )
        )
    return tuple(changes)


def _movers(
    corpus: FinishedCorpus, rules: Sequence[Threshold], candidates: dict[tuple[str, str], list[str]]
) -> tuple[Mover, ...]:
    chosen = {name: move for move, names in candidates.items() for name in names}
    if not chosen:
        return ()
    known = {rule.reason: rule for rule in (*rules, *corpus.rules)}
    wanted = pa.array(chosen, pa.string())
    values: dict[str, dict[str, float]] = {}
    for rows in corpus.tables(["id", *{rule.signal for rule in known.values()}]):
        for row in rows.filter(pc.is_in(rows["id"], wanted)).to_pylist():
            values[row["id"]] = row
    addresses = find_addresses(corpus, list(chosen))
    movers = []
    for name, (before, after) in chosen.items():
        reason, change = (before, "newly kept") if after == KEPT else (after, "newly dropped")
        address = addresses.get(name, {})
        place = address.get("url") or address.get("path") or ""
        source = f"{address['source']}: {place}" if "source" in address else "(not recorded)"
        signal = known[reason].signal
        movers.append(Mover(name, change, reason, signal, values[name][signal], source))
    return tuple(sorted(movers, key=lambda mover: (mover.change, mover.reason, mover.id)))


def _orphans(
    corpus: FinishedCorpus,
    rules: Sequence[Threshold],
    gone: Sequence[pa.Array],
    moves: Counter[tuple[str, str]],
) -> int:
    if "duplicate_of" not in corpus.columns:
        outside = {KEPT, QUARANTINED, *(rule.reason for rule in (*corpus.rules, *rules))}
        return sum(n for (_, after), n in moves.items() if after not in outside)
    dropped = pa.concat_arrays(gone)
    found = 0
    for rows in corpus.tables(["duplicate_of", *{rule.signal for rule in rules}]):
        columns = signal_columns(rows, [rule.signal for rule in rules])
        passes = first_failing(rules, columns, len(rows)) < 0
        found += int(np.sum(passes & pc.is_in(rows["duplicate_of"], dropped).to_numpy()))
    return found
