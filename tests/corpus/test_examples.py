"""Examples: the nearest to every threshold, the same ones however the documents are divided."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tsumugu.corpus.config import Rule
from tsumugu.corpus.examples import duplicate_clusters, near_thresholds

RULES = (
    Rule(reason="too_short", signal="characters", at_least=100, at_most=5000),
    Rule(reason="source_code", signal="source_code_share", at_most=0.4),
    Rule(reason="no_code_at_all", signal="masked_emails", at_most=0),
)


def documents(count: int) -> list[dict[str, Any]]:
    draw = np.random.default_rng(3)
    return [
        {
            "id": f"{int(draw.integers(0, 2**60)):032x}",
            "text": f"文書{number}" * 400,
            "url": f"{number}.html",
            "source": "試験",
            "characters": float(draw.integers(0, 400)),
            "source_code_share": round(float(draw.random()), 2),
            "masked_emails": float(draw.integers(0, 2)),
        }
        for number in range(count)
    ]


def write_shards(folder: Path, rows: list[dict[str, Any]], *, size: int) -> list[Path]:
    folder.mkdir()
    paths = []
    for start in range(0, len(rows), size):
        paths.append(folder / f"{start:05d}.parquet")
        pq.write_table(pa.Table.from_pylist(rows[start : start + size]), paths[-1])
    return paths


def other_rules_failed(row: dict[str, Any], reason: str) -> list[str]:
    fails = {
        "too_short": not 100 <= row["characters"] <= 5000,
        "source_code": row["source_code_share"] > 0.4,
        "no_code_at_all": row["masked_emails"] > 0,
    }
    return [name for name, failed in fails.items() if failed and name != reason]


def test_the_nearest_documents_on_either_side_are_chosen(tmp_path: Path) -> None:
    """The oracle: sort everything."""
    rows = documents(600)
    found = near_thresholds(write_shards(tmp_path / "a", rows, size=100), RULES, per_side=7, characters=30)
    assert [(entry["reason"], entry["bound"], entry["threshold"]) for entry in found["bounds"]] == [
        ("too_short", "at_least", 100),
        ("too_short", "at_most", 5000),
        ("source_code", "at_most", 0.4),
        ("no_code_at_all", "at_most", 0),
    ]
    for entry in found["bounds"]:
        values = [one["value"] for one in entry["documents"]]
        assert values == sorted(values)
        chosen = {one["id"]: one for one in entry["documents"]}
        for failing in (True, False):
            side = [
                row
                for row in rows
                if (
                    row[entry["signal"]] < entry["threshold"]
                    if entry["bound"] == "at_least"
                    else row[entry["signal"]] > entry["threshold"]
                )
                == failing
            ]
            side.sort(
                key=lambda row: (
                    bool(other_rules_failed(row, entry["reason"])),
                    abs(row[entry["signal"]] - entry["threshold"]),
                    row["id"],
                )
            )
            assert {row["id"] for row in side[:7]} <= chosen.keys()
        for row in rows:
            if row["id"] in chosen:
                assert chosen[row["id"]]["fails"] == other_rules_failed(row, entry["reason"])
                assert chosen[row["id"]]["value"] == row[entry["signal"]]
                text = found["documents"][row["id"]]
                assert text == {"source": "試験", "url": row["url"], "text": row["text"][:30]}


def test_the_choice_does_not_depend_on_the_shards(tmp_path: Path) -> None:
    rows = documents(500)
    whole, parts, turned = (
        near_thresholds(write_shards(tmp_path / name, given, size=size), RULES)
        for name, given, size in (("a", rows, 500), ("b", rows, 37), ("c", rows[::-1], 120))
    )
    assert whole == parts == turned


def test_there_is_something_to_see_far_from_a_threshold(tmp_path: Path) -> None:
    found = near_thresholds(write_shards(tmp_path / "a", documents(800), size=100), RULES, per_side=2)
    values = [one["value"] for one in found["bounds"][0]["documents"]]
    assert min(values) < 20
    assert max(values) > 350
    assert len(values) < 2 * (2 + 24) + 1


def test_unmeasured_documents_and_empty_shards_are_passed_over(tmp_path: Path) -> None:
    rows = documents(20)
    rows[3]["characters"] = None
    paths = write_shards(tmp_path / "a", rows, size=20)
    empty = tmp_path / "empty.parquet"
    pq.write_table(pq.read_table(paths[0]).slice(0, 0), empty)
    found = near_thresholds([empty, *paths], RULES)
    assert rows[3]["id"] not in {one["id"] for one in found["bounds"][0]["documents"]}
    assert near_thresholds([empty], ())["bounds"] == []


@pytest.fixture
def duplicates(tmp_path: Path) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Twelve clusters: cluster n has n + 2 documents, the first of which stays."""
    rows = documents(150)
    decided: list[dict[str, Any]] = [
        {"reason": None, "cluster": None, "cluster_size": None, "duplicate_of": None} for _ in rows
    ]
    place = 0
    for cluster in range(12):
        size = cluster + 2
        for member in range(size):
            decided[place + member].update(cluster=cluster, cluster_size=size)
            if member:
                reason = "near_duplicate" if cluster % 3 else "exact_duplicate"
                decided[place + member].update(reason=reason, duplicate_of=rows[place]["id"])
        place += size
    return rows, decided


def test_clusters_show_copies_beside_what_they_repeat(
    tmp_path: Path, duplicates: tuple[list[dict[str, Any]], list[dict[str, Any]]]
) -> None:
    rows, decided = duplicates
    schema = pa.schema(
        [
            ("reason", pa.string()),
            ("cluster", pa.int64()),
            ("cluster_size", pa.int64()),
            ("duplicate_of", pa.string()),
        ]
    )
    results = []
    for size in (150, 13):
        folder = tmp_path / str(size)
        measured = write_shards(folder, rows, size=size)
        decisions = []
        for index, path in enumerate(measured):
            decisions.append(tmp_path / f"{size}-{path.name}")
            part = decided[index * size : (index + 1) * size]
            pq.write_table(pa.Table.from_pylist(part, schema=schema), decisions[-1])
        results.append(duplicate_clusters(measured, decisions, per_reason=4, characters=50))
    assert results[0] == results[1]
    found = results[0]
    by_reason = {
        reason: [c for c in found if c["reason"] == reason]
        for reason in ("exact_duplicate", "near_duplicate")
    }
    assert len(by_reason["exact_duplicate"]) == len(by_reason["near_duplicate"]) == 4
    # The two largest of each reason are there.
    assert [c["size"] for c in by_reason["near_duplicate"]][:2] == [13, 12]
    assert [c["size"] for c in by_reason["exact_duplicate"]][:2] == [11, 8]
    repeats = {row["id"]: one["duplicate_of"] for row, one in zip(rows, decided, strict=True)}
    texts = {row["id"]: row["text"][:50] for row in rows}
    for cluster in found:
        assert 1 <= len(cluster["members"]) <= 2
        for member in cluster["members"]:
            assert repeats[member["id"]] == cluster["survivor"]["id"]
            assert member["text"] == texts[member["id"]]
