"""The corpus section of the page: where documents went, and what would happen elsewhere.

One step for every reason, in the order in which they are asked. A rule's step holds a histogram
with a movable threshold and real documents on either side of it; a duplicate's step shows copies
beside what they repeat, with the differences marked. The page works without its script, which
only moves thresholds: it is inline, and the page's policy allows that one script by its hash.
"""

import base64
import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from markupsafe import Markup

from tsumugu.corpus.decisions import KEPT, QUARANTINED, FinishedCorpus, Threshold, examples, reasons
from tsumugu.corpus.examples import CLUSTER_CHARACTERS
from tsumugu.files import read_json
from tsumugu.report.differences import differences, shortened
from tsumugu.report.sweeps import Sweep, histogram, sweeps
from tsumugu.visible import visible

_EXAMPLE_CHARACTERS = 500
_SIDE = 3
"""Documents that are shown on either side of a threshold."""
_NEAREST, _FARTHER = 6, 18
"""Documents on the page for either side of each bound: the nearest, and others at any distance."""
_QUARANTINED = 20
_EXPLAINED = {
    "exact_duplicate": "says the same as a document that stays, letter by letter",
    "near_duplicate": "shares most of its character n-grams with a document that stays (MinHash)",
    "contained": "most of it stands, line for line, in shorter documents that stay",
}
_RARER = {
    "url_duplicate": "has the web address of a document that stays",
    "only_repeats": "nothing is left of it without lines and passages that stand elsewhere",
    "contaminated": "holds parts of an evaluation set",
}
"""Shown only where they dropped something."""


def corpus_section(
    corpus: FinishedCorpus,
    counts: Mapping[str, Any],
    *,
    name: str,
    licenses: Mapping[str, str],
    examples_per_reason: int,
) -> dict[str, Any]:
    """Everything that `corpus.html.j2` shows.

    Args:
        counts: of the corpus stage's manifest.
        name: of the run, for the command that the page suggests.
        licenses: by source.
        examples_per_reason: documents that are shown for every reason that is not a rule.
    """
    documents, bounds = _documents_around(corpus)
    found = sweeps(corpus)
    cards = [_card(sweep, bounds.get((sweep.rule.reason, sweep.bound), []), documents) for sweep in found]
    for index, card in enumerate(cards):
        card["index"] = index
    data = {
        "run": f"runs/{name}",
        "documents": documents,
        "bounds": [card.pop("data") for card in cards],
    }
    return {
        "counts": counts,
        "steps": _steps(corpus, counts, cards, examples_per_reason),
        "sources": _sources(corpus, counts, licenses),
        "quarantine": _quarantine(corpus.folder),
        "data": safe_json(data),
        "script": script(),
    }


def script() -> Markup:
    """The page's script; it must not hold what would end or comment out its element."""
    source = (resources.files("tsumugu.report") / "corpus.js").read_text(encoding="utf-8")
    assert "</" not in source
    assert "<!--" not in source
    assert "\r" not in source
    return Markup(source)


def script_policy() -> str:
    """The source expression with which a Content-Security-Policy allows `script()` and nothing else."""
    digest = hashlib.sha256(script().encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"


def safe_json(value: Any) -> Markup:
    """JSON that can stand inside a script element whatever strings it holds."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _documents_around(
    corpus: FinishedCorpus,
) -> tuple[list[dict[str, Any]], dict[tuple[str, str], list[dict[str, Any]]]]:
    """Documents to show, and which of them (`document`, `value`, `fails`) stand around each bound.

    Runs that did not look for documents around thresholds have examples of every reason, and
    their signals: those are shown instead.
    """
    path = corpus.folder / "near_thresholds.json"
    around: list[tuple[str, str, float, list[dict[str, Any]]]] = []
    if path.exists():
        stored = read_json(path)
        texts = stored["documents"]
        for one in stored["bounds"]:
            around.append((one["reason"], one["bound"], one["threshold"], one["documents"]))
    else:
        chosen = examples(corpus)
        texts = {one["id"]: one for one in chosen}
        for rule in corpus.rules:
            for bound, value in (("at_least", rule.at_least), ("at_most", rule.at_most)):
                if value is not None:
                    around.append((rule.reason, bound, value, _around(rule, chosen, corpus.rules)))

    shown: dict[str, int] = {}
    found = {}
    for reason, bound, threshold, entries in around:
        below = [one for one in entries if one["value"] < threshold]
        above = [one for one in entries if one["value"] >= threshold]
        few = _some(below[::-1]) + _some(above)
        found[reason, bound] = [
            {
                "document": shown.setdefault(one["id"], len(shown)),
                "value": one["value"],
                "fails": one["fails"],
            }
            for one in sorted(few, key=lambda one: (one["value"], one["id"]))
        ]
    return [_document({"id": name, **texts[name]}) for name in shown], found


def _some(by_distance: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first, and as many others in equal steps to the last."""
    rest = by_distance[_NEAREST:]
    steps = np.unique(np.linspace(0, max(0, len(rest) - 1), _FARTHER).astype(int))
    return [*by_distance[:_NEAREST], *(rest[step] for step in steps if step < len(rest))]


def _around(
    rule: Threshold, chosen: Sequence[Mapping[str, Any]], rules: Sequence[Threshold]
) -> list[dict[str, Any]]:
    found = [
        {
            "id": one["id"],
            "value": one["signals"][rule.signal],
            "fails": [
                other.reason
                for other in rules
                if other.reason != rule.reason and other.fails_value(one["signals"].get(other.signal))
            ],
        }
        for one in chosen
        if one["signals"].get(rule.signal) is not None
    ]
    return sorted(found, key=lambda one: (one["value"], one["id"]))


def _document(one: Mapping[str, Any]) -> dict[str, Any]:
    text = one["text"]
    cut = "…" if len(text) >= _EXAMPLE_CHARACTERS else ""
    return {
        "id": visible(one["id"]),
        "address": visible(f"{one['source']}: {one['url']}"),
        "text": visible(text[:_EXAMPLE_CHARACTERS]) + cut,
    }


def _card(
    sweep: Sweep, around: list[dict[str, Any]], documents: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """One bound's histogram, its numbers for the script, and its documents at the recipe's value."""
    below = sweep.bound == "at_least"
    sides: dict[str, list[dict[str, Any]]] = {"dropped": [], "kept": []}
    for entry in sorted(around, key=lambda one: (len(one["fails"]) > 0, abs(one["value"] - sweep.threshold))):
        fails = entry["value"] < sweep.threshold if below else entry["value"] > sweep.threshold
        side = sides["dropped" if fails else "kept"]
        if len(side) < _SIDE:
            side.append({**documents[entry["document"]], "value": entry["value"], "fails": entry["fails"]})
    two = sweep.rule.at_least is not None and sweep.rule.at_most is not None
    return {
        "reason": sweep.rule.reason,
        "signal": sweep.rule.signal,
        "words": "at least" if below else "at most",
        "bound": sweep.bound,
        "threshold": sweep.threshold,
        "place": sweep.places[sweep.position],
        "fails": sweep.fails[sweep.position],
        "decides": sweep.decides[sweep.position],
        "documents": sweep.documents,
        "chart": histogram(sweep),
        "sides": sides,
        "data": {
            "override": f"{sweep.rule.reason}.{sweep.bound}" if two else sweep.rule.reason,
            "below": below,
            "start": sweep.position,
            "grid": sweep.grid,
            "places": [round(place, 4) for place in sweep.places],
            "fails": sweep.fails,
            "decides": sweep.decides,
            "around": [[one["value"], one["document"], one["fails"]] for one in around],
        },
    }


def _steps(
    corpus: FinishedCorpus,
    counts: Mapping[str, Any],
    cards: Sequence[dict[str, Any]],
    examples_per_reason: int,
) -> list[dict[str, Any]]:
    dropped: Mapping[str, int] = counts["dropped_by_reason"]
    stored = read_json(corpus.folder / "examples.json")
    clusters = corpus.folder / "clusters.json"
    pairs = [_pair(entry) for entry in read_json(clusters)] if clusters.exists() else []
    rules = {rule.reason: rule for rule in corpus.rules}
    others = [*_EXPLAINED, *sorted(set(dropped) - set(_EXPLAINED) - set(rules))]
    left = counts["in"] - counts["quarantined"]
    steps = []
    for reason in [*rules, *others]:
        here = dropped.get(reason, 0)
        left -= here
        rule = rules.get(reason)
        mine = [pair for pair in pairs if pair["reason"] == reason]
        steps.append(
            {
                "reason": reason,
                "wanted": f"{rule.signal} {rule.bounds()}" if rule else "",
                "explanation": (_EXPLAINED | _RARER).get(reason, ""),
                "dropped": here,
                "left": left,
                "share_left": left / max(1, counts["in"]),
                "share_dropped": here / max(1, counts["in"]),
                "cards": [card for card in cards if card["reason"] == reason],
                "pairs": mine,
                "examples": []
                if mine or rule
                else [_document(one) for one in stored.get(reason, [])[:examples_per_reason]],
                "open": False,
            }
        )
    busiest = max((step for step in steps if step["cards"]), key=lambda step: step["dropped"], default=None)
    if busiest is not None:
        busiest["open"] = True
    return steps


def _pair(entry: Mapping[str, Any]) -> dict[str, Any]:
    """A surviving document, and its copies as differences from it."""
    survivor = entry["survivor"]
    copies = []
    for member in entry["members"]:
        passages = differences(survivor["text"], member["text"])
        changed = sum(len(one.text) for one in passages if one.kind in ("deleted", "inserted"))
        cut = max(len(survivor["text"]), len(member["text"])) >= CLUSTER_CHARACTERS
        shown = shortened(passages, open_end=cut)
        copies.append(
            {
                "id": member["id"],
                "address": visible(f"{member['source']}: {member['url']}"),
                "changed": changed,
                "passages": [
                    {"kind": one.kind, "text": visible(one.text), "length": len(one.text)} for one in shown
                ],
            }
        )
    return {
        "reason": entry["reason"],
        "size": entry["size"],
        "address": visible(f"{survivor['source']}: {survivor['url']}"),
        "copies": copies,
    }


def _sources(
    corpus: FinishedCorpus, counts: Mapping[str, Any], licenses: Mapping[str, str]
) -> list[dict[str, Any]]:
    """What became of each source's documents; by reason, when the decisions name the source."""
    by_source: dict[str, Counter[str]] = {}
    if "source" in corpus.columns:
        for rows in corpus.tables(["source", "reason"]):
            rows = rows.set_column(rows.column_names.index("reason"), "reason", reasons(rows))
            for row in rows.group_by(["source", "reason"]).aggregate([([], "count_all")]).to_pylist():
                found = by_source.setdefault(row["source"], Counter())
                found[row["reason"] or KEPT] += row["count_all"]
    order = [*(rule.reason for rule in corpus.rules), *_EXPLAINED]
    table = []
    for source, number in counts["sources"].items():
        found = by_source.get(source) or Counter(
            {KEPT: number["kept"], "dropped": number["in"] - number["kept"]}
        )
        drops = [reason for reason in found if reason not in (KEPT, QUARANTINED)]
        drops.sort(key=lambda reason: (order.index(reason) if reason in order else len(order), reason))
        parts = [KEPT, *drops, *([QUARANTINED] if found[QUARANTINED] else [])]
        table.append(
            {
                "source": visible(source),
                "license": licenses.get(source, ""),
                "in": number["in"],
                "kept": number["kept"],
                "parts": [
                    {
                        "reason": reason,
                        "documents": found[reason],
                        "share": found[reason] / max(1, number["in"]),
                        "kind": reason if reason in (KEPT, QUARANTINED) else "dropped",
                        # The same shade for the same reason in every source.
                        "shade": order.index(reason) % 3 if reason in order else 0,
                    }
                    for reason in parts
                ],
            }
        )
    return table


def _quarantine(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for path in sorted((folder / "quarantine").glob("*.parquet")):
        rows += pq.read_table(path).slice(0, _QUARANTINED - len(rows)).to_pylist()
    return [
        {**row, "path": visible(row["path"]), "error": visible(row["error"])} for row in rows[:_QUARANTINED]
    ]
