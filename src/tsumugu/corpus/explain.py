"""The story of one document, from the files that a run keeps: `tsumugu corpus explain`.

Where it came from, what was decided and why, how it stands with every rule (also those that were
not asked any more once one had failed), which documents it repeats, and how it begins. The text
itself is kept only of documents that stay, and of the examples of every reason.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tsumugu.corpus.decisions import KEPT, FinishedCorpus, Threshold, examples, find_addresses
from tsumugu.errors import TsumuguError
from tsumugu.terminal import number, table
from tsumugu.visible import visible

_SHOWN_CHARACTERS = 600
_SHOWN_MATCHES = 8


@dataclass(frozen=True)
class Asked:
    """One rule and how the document stands with it; `value` is null when it was not measured."""

    reason: str
    signal: str
    bounds: str
    value: float | None
    passes: bool | None
    decided: bool
    """This is the rule that dropped the document."""


@dataclass(frozen=True)
class Story:
    """Everything that the run knows of a document. Unknown things are null."""

    id: str
    decision: str
    """`kept`, `dropped` or `quarantined`."""
    reason: str | None
    source: str | None
    url: str | None
    license: str | None
    path: str | None
    offset: int | None
    rules: tuple[Asked, ...]
    signals: dict[str, float]
    """Those that no rule asks for included."""
    cluster: int | None
    cluster_size: int | None
    survivor: str | None
    """The document of its cluster that stayed; its own id if it is the one."""
    survivor_address: str | None
    error: str | None
    """Why it was quarantined."""
    text: str | None
    """Its beginning."""
    characters: int | None
    """Length of the whole text, when that was kept."""

    def to_json(self) -> dict[str, Any]:
        """As plain dictionaries and lists."""
        return asdict(self)


def explain(corpus: FinishedCorpus, key: str) -> Story:
    """The story of the document whose id, beginning of an id, or URL is `key`.

    Raises:
        TsumuguError: no document, or more than one, answers to `key`.
    """
    row = _find(corpus, key)
    kept = _row_of(corpus.folder / "documents", row["id"])
    failure = _row_of(corpus.folder / "quarantine", row["id"])
    example = next((entry for entry in examples(corpus) if entry["id"] == row["id"]), {})
    known = {**example, **{name: value for name, value in row.items() if value is not None}}
    known |= failure | kept

    reason = row["reason"] or None
    decision = KEPT if reason is None else "quarantined" if failure else "dropped"
    text = known.get("text")
    survivor = known.get("duplicate_of") or (row["id"] if known.get("cluster") is not None else None)
    return Story(
        id=row["id"],
        decision=decision,
        reason=reason,
        source=known.get("source"),
        url=known.get("url"),
        license=known.get("license"),
        path=known.get("path"),
        offset=known.get("offset"),
        rules=tuple(_ask(rule, row, reason) for rule in corpus.rules),
        signals={name: row[name] for name in corpus.signals if row[name] is not None},
        cluster=known.get("cluster"),
        cluster_size=known.get("cluster_size"),
        survivor=survivor,
        survivor_address=_address(corpus, survivor) if survivor and survivor != row["id"] else None,
        error=failure.get("error"),
        text=text[:_SHOWN_CHARACTERS] if text else None,
        characters=len(kept["text"]) if kept else None,
    )


def render(story: Story) -> str:
    """The story for a terminal."""
    facts = [
        ("id", story.id),
        ("source", story.source or "not recorded by this run"),
        ("url", story.url),
        ("path", story.path),
        ("offset", None if story.offset is None else f"byte {story.offset:,}"),
        ("license", story.license),
        ("decision", story.decision if story.reason is None else f"{story.decision}: {story.reason}"),
        ("error", story.error),
    ]
    parts = ["\n".join(f"{name:9} {visible(value)}" for name, value in facts if value)]
    if story.rules and story.signals:
        parts += ["", "rules, in the order in which they are asked", _rules(story)]
    asked = {rule.signal for rule in story.rules}
    others = [f"{name} {number(value)}" for name, value in story.signals.items() if name not in asked]
    if others:
        parts += ["", f"other signals: {', '.join(others)}"]
    if story.cluster is not None or story.survivor is not None:
        parts += ["", _duplicates(story)]
    if story.text is not None:
        whole = "" if story.characters is None else f" of {story.characters:,} characters"
        parts += ["", f"text (the beginning{whole})"]
        parts += [f"  | {visible(line)}" for line in story.text.split("\n")]
    elif story.decision == "dropped":
        parts += ["", "Its text was not kept: runs keep the text of documents that stay, and of examples."]
    return "\n".join(parts)


def _rules(story: Story) -> str:
    rows = []
    for rule in story.rules:
        result = "not measured" if rule.passes is None else "pass" if rule.passes else "FAIL"
        value = "" if rule.value is None else number(rule.value)
        rows.append([f"  {result}", rule.reason, rule.signal, value, rule.bounds])
        if rule.decided:
            rows[-1].append("<- the reason")
        else:
            rows[-1].append("fails too" if rule.passes is False else "")
    return table(["  result", "rule", "signal", "value", "wanted", ""], rows, right=[3])


def _duplicates(story: Story) -> str:
    size = "" if story.cluster_size is None else f" of {story.cluster_size:,} documents"
    cluster = "" if story.cluster is None else f"cluster {story.cluster}{size}; "
    if story.survivor == story.id:
        return f"duplicates: {cluster}this document is the one that stays"
    address = f" ({visible(story.survivor_address)})" if story.survivor_address else ""
    return f"duplicates: {cluster}the one that stays is {story.survivor}{address}"


def _ask(rule: Threshold, row: dict[str, Any], reason: str | None) -> Asked:
    value = row.get(rule.signal)
    passes = None if value is None else not rule.fails_value(value)
    return Asked(rule.reason, rule.signal, rule.bounds(), value, passes, decided=rule.reason == reason)


def _find(corpus: FinishedCorpus, key: str) -> dict[str, Any]:
    """The row of decisions that `key` names."""
    if not key:
        raise TsumuguError("explain: the id is empty; name a document by id, beginning of an id, or URL")
    ids = _matching_ids(corpus, key) or _ids_at(corpus, key, whole=True)
    if len(ids) > 1:
        shown = _list(corpus, ids)
        raise TsumuguError(
            f"explain: {len(ids)} documents of {corpus.run} answer to {key!r}; name one by its id:\n{shown}"
        )
    if not ids:
        near = _ids_at(corpus, key, whole=False)
        older = (
            ""
            if "url" in corpus.columns
            else " (this run records addresses only for documents that were kept, quarantined or examples)"
        )
        raise TsumuguError(
            f"explain: no document of {corpus.run} has the id, the beginning of an id, or the address "
            f"{key!r}{older}." + (f" Addresses that contain it:\n{_list(corpus, near)}" if near else "")
        )
    for rows in corpus.tables(corpus.columns):
        found: list[dict[str, Any]] = rows.filter(pc.equal(rows["id"], ids[0])).to_pylist()
        if found:
            return found[0]
    raise AssertionError(f"{ids[0]} has no decision, though the run names it elsewhere")


def _matching_ids(corpus: FinishedCorpus, key: str) -> list[str]:
    found: list[str] = []
    for rows in corpus.tables(["id"]):
        found += rows["id"].filter(pc.starts_with(rows["id"], key)).to_pylist()
    return [key] if key in found else found


def _ids_at(corpus: FinishedCorpus, address: str, *, whole: bool) -> list[str]:
    """Ids of documents whose URL or path is `address`, or contains it."""
    found: dict[str, None] = {}
    for folder in ("decisions", "documents", "quarantine"):
        for path in sorted((corpus.folder / folder).glob("*.parquet")):
            present = [name for name in ("url", "path") if name in pq.read_schema(path).names]
            rows = pq.read_table(path, columns=["id", *present])
            for name in present:
                contains = pc.equal if whole else pc.match_substring
                found |= dict.fromkeys(rows["id"].filter(contains(rows[name], address)).to_pylist())
    for example in examples(corpus):
        if example["url"] == address or (not whole and address in example["url"]):
            found[example["id"]] = None
    return list(found)


def _list(corpus: FinishedCorpus, ids: Sequence[str]) -> str:
    addresses = find_addresses(corpus, ids[:_SHOWN_MATCHES])
    lines = [f"  {name}  {_written(addresses.get(name))}".rstrip() for name in ids[:_SHOWN_MATCHES]]
    return visible("\n".join([*lines, *(["  ..."] if len(ids) > _SHOWN_MATCHES else [])]))


def _address(corpus: FinishedCorpus, name: str) -> str | None:
    return _written(find_addresses(corpus, [name]).get(name)) or None


def _written(address: dict[str, Any] | None) -> str:
    return f"{address['source']}: {address.get('url') or address.get('path')}" if address else ""


def _row_of(folder: Path, name: str) -> dict[str, Any]:
    """The row with the id `name`; only the row groups that hold it are read whole."""
    for path in sorted(folder.glob("*.parquet")):
        ids = pq.read_table(path, columns=["id"])["id"]
        place = pc.index(ids, pa.scalar(name)).as_py()
        if place >= 0:
            rows = pq.ParquetFile(path)
            for batch in rows.iter_batches(batch_size=1024):
                if place < len(batch):
                    row: dict[str, Any] = batch.slice(place, 1).to_pylist()[0]
                    return row
                place -= len(batch)
    return {}
