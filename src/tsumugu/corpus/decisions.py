"""What a finished corpus stage decided, read back: its rules, its decisions, where documents came from.

Decisions are read one shard and a few columns at a time, and no text is. Runs of every version
can be opened: rules are taken as they were recorded, not checked against today's signals, and
columns that an older run does not have are absent.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import yaml
from numpy.typing import NDArray

from tsumugu.corpus.columns import read_columns
from tsumugu.errors import TsumuguError
from tsumugu.files import read_json

QUARANTINED = "quarantined"
KEPT = "kept"


@dataclass(frozen=True)
class Threshold:
    """A rule as it was recorded: documents below `at_least` or above `at_most` are dropped."""

    reason: str
    signal: str
    at_least: float | None = None
    at_most: float | None = None

    def fails(self, values: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which values do not pass; one that was not measured (NaN) passes."""
        fails = np.zeros(len(values), dtype=bool)
        if self.at_least is not None:
            fails |= values < self.at_least
        if self.at_most is not None:
            fails |= values > self.at_most
        return fails

    def fails_value(self, value: float | None) -> bool:
        """The same for one value; None passes."""
        return value is not None and bool(self.fails(np.array([value], dtype=np.float64))[0])

    def bounds(self) -> str:
        """For people: `at least 150`, `at most 0.4`, or both."""
        found = []
        if self.at_least is not None:
            found.append(f"at least {self.at_least:g}")
        if self.at_most is not None:
            found.append(f"at most {self.at_most:g}")
        return ", ".join(found)


@dataclass(frozen=True)
class FinishedCorpus:
    """The corpus folder of a run."""

    run: Path
    folder: Path
    shards: tuple[Path, ...]
    """Decisions, in the order of the input."""
    columns: tuple[str, ...]
    signals: tuple[str, ...]
    """Columns that were measured on the text."""
    rules: tuple[Threshold, ...]

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """One table per shard with those of `columns` that this run has."""
        present = [name for name in dict.fromkeys(columns) if name in self.columns]
        for path in self.shards:
            yield read_columns(path, present)


def open_corpus(run: Path) -> FinishedCorpus:
    """Open the run folder `run`.

    Raises:
        TsumuguError: there is no finished corpus stage in it, or its rules cannot be read.
    """
    folder = run / "corpus"
    if not any((folder / "decisions").glob("*.parquet")):
        working = (run / "corpus.partial").exists()
        raise TsumuguError(
            f"{run}: no finished corpus stage here ({folder / 'decisions'} holds no Parquet files). "
            + (
                "It was started and is not done: start the same command again."
                if working
                else f"Name a run folder such as runs/demo, or make one: tsumugu corpus RECIPE --run {run}"
            )
        )
    return open_folder(folder, recorded=None)


def open_folder(folder: Path, *, recorded: Sequence[Mapping[str, Any]] | None) -> FinishedCorpus:
    """Open a corpus folder; `recorded` are its rules as in a recipe, read from the run if None.

    `rules.json` in the folder goes before both: it has the rules as the stage used them.
    """
    shards = tuple(sorted((folder / "decisions").glob("*.parquet")))
    schema = pq.read_schema(shards[0])
    return FinishedCorpus(
        run=folder.parent,
        folder=folder,
        shards=shards,
        columns=tuple(schema.names),
        signals=tuple(field.name for field in schema if pa.types.is_floating(field.type)),
        rules=_recorded_rules(folder, recorded),
    )


def reasons(table: pa.Table) -> pa.Array:
    """The reason of every row, null for kept documents (older runs wrote an empty string)."""
    column = table["reason"].combine_chunks()
    return pc.if_else(pc.equal(column, ""), pa.scalar(None, pa.string()), column)


def signal_columns(table: pa.Table, names: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Columns as `float64 [rows]`; NaN for what was not measured."""
    return {
        name: table[name].cast(pa.float64()).to_numpy(zero_copy_only=False)
        for name in names
        if name in table.column_names
    }


def first_failing(
    rules: Sequence[Threshold], columns: Mapping[str, NDArray[np.float64]], rows: int
) -> NDArray[np.int64]:
    """The index of the first rule that each document fails, -1 for those that pass all: `int64 [rows]`."""
    found = np.full(rows, -1, dtype=np.int64)
    for index, rule in enumerate(rules):
        if rule.signal in columns:
            found[(found < 0) & rule.fails(columns[rule.signal])] = index
    return found


def find_addresses(corpus: FinishedCorpus, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What is known of where documents came from: `source`, `url`, and `path` and `offset` if recorded.

    The decisions say it in newer runs. In older ones only documents that were kept, quarantined
    or chosen as examples are found; the others are absent from the result.
    """
    wanted = set(ids)
    found: dict[str, dict[str, Any]] = {}
    for example in examples(corpus):
        if example["id"] in wanted:
            found[example["id"]] = {"source": example["source"], "url": example["url"]}
    for folder in ("decisions",) if "url" in corpus.columns else ("documents", "quarantine"):
        for path in sorted((corpus.folder / folder).glob("*.parquet")):
            present = pq.read_schema(path).names
            columns = [name for name in ("id", "source", "url", "path", "offset") if name in present]
            table = pq.read_table(path, columns=columns)
            for row in table.filter(pc.is_in(table["id"], pa.array(wanted, pa.string()))).to_pylist():
                found[row.pop("id")] = {name: value for name, value in row.items() if value is not None}
    return found


def examples(corpus: FinishedCorpus) -> list[dict[str, Any]]:
    """The documents whose beginnings the stage keeps for every reason."""
    path = corpus.folder / "examples.json"
    if not path.exists():
        return []
    return [example for found in read_json(path).values() for example in found]


def _recorded_rules(folder: Path, given: Sequence[Mapping[str, Any]] | None) -> tuple[Threshold, ...]:
    """The rules in the order in which they were asked.

    `corpus/rules.json` has them with profiles resolved. Runs without that file have them in
    `recipe.yaml`.
    """
    path = folder / "rules.json"
    try:
        if path.exists():
            recorded = read_json(path)
        elif given is not None:
            recorded = given
        else:
            path = folder.parent / "recipe.yaml"
            recorded = yaml.safe_load(path.read_text(encoding="utf-8"))["corpus"].get("rules") or []
        return tuple(
            Threshold(
                reason=str(rule["reason"]),
                signal=str(rule["signal"]),
                at_least=_number_or_none(rule.get("at_least")),
                at_most=_number_or_none(rule.get("at_most")),
            )
            for rule in recorded
        )
    except FileNotFoundError:
        raise TsumuguError(
            f"{path}: this file is missing, and with it the rules of the run. Run the stage again."
        ) from None
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise TsumuguError(
            f"{path}: the rules of the run cannot be read ({error!r}). It was changed by hand or damaged; "
            f"start the command that made the run again to write it anew."
        ) from error


def _number_or_none(value: Any) -> float | None:
    return None if value is None else float(value)
