"""Runs for the tests of explain, what-if and compare, made from the finished one by hand."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tsumugu.files import write_json

Change = Callable[[list[dict[str, Any]]], None]


def copy_run(run: Path, target: Path) -> Path:
    """The recipe and the corpus of `run`, to be changed."""
    shutil.copytree(run / "corpus", target / "corpus")
    shutil.copy(run / "recipe.yaml", target / "recipe.yaml")
    return target


def rewrite_decisions(
    run: Path, change: Callable[[list[dict[str, Any]]], None], **types: pa.DataType
) -> None:
    """Let `change` edit the rows of all shards at once; `types` are those of added columns."""
    paths = sorted((run / "corpus" / "decisions").glob("*.parquet"))
    tables = [pq.read_table(path) for path in paths]
    rows = [row for table in tables for row in table.to_pylist()]
    change(rows)
    schema = tables[0].schema
    for name, kind in types.items():
        if name not in schema.names:
            schema = schema.append(pa.field(name, kind))
    for path, table in zip(paths, tables, strict=True):
        pq.write_table(pa.Table.from_pylist(rows[: len(table)], schema=schema), path)
        del rows[: len(table)]


def set_rules(run: Path, rules: list[dict[str, Any]]) -> None:
    """Record other rules than the run had."""
    write_json(run / "corpus" / "rules.json", rules)


def with_clusters(run: Path) -> dict[str, str]:
    """Record sources, addresses and clusters as newer runs do; return document id -> address.

    Every near or exact duplicate is said to repeat the first document that was kept.
    """
    addresses: dict[str, str] = {}
    for folder, column in (("documents", "url"), ("quarantine", "path")):
        for row in pq.read_table(run / "corpus" / folder).to_pylist():
            addresses[row["id"]] = row[column]

    def add(rows: list[dict[str, Any]]) -> None:
        survivor = next(row["id"] for row in rows if not row["reason"])
        for row in rows:
            addresses.setdefault(row["id"], f"https://www.example.jp/{row['id']}.html")
            repeats = row["reason"] in ("near_duplicate", "exact_duplicate")
            row["source"], row["url"] = "試験のページ", addresses[row["id"]]
            row["cluster"] = 7 if repeats or row["id"] == survivor else None
            row["cluster_size"] = 3 if repeats or row["id"] == survivor else None
            row["duplicate_of"] = survivor if repeats else None

    string, number = pa.string(), pa.int64()
    rewrite_decisions(
        run, add, source=string, url=string, cluster=number, cluster_size=number, duplicate_of=string
    )
    return addresses
