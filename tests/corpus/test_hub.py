"""Datasets of the Hugging Face Hub, with a local folder in the Hub's place."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tsumugu.corpus import hub
from tsumugu.corpus.config import Input
from tsumugu.corpus.inputs import find_files, fingerprint_inputs, plan_shards
from tsumugu.corpus.reading import Failure, Page, read_records
from tsumugu.errors import TsumuguError

COMMIT = "0123456789abcdef0123456789abcdef01234567"
OPENED: list[dict[str, Any]] = []


def entry(path: str, **settings: Any) -> Input:
    return Input(path=path, source="test", license="CC0-1.0", **settings)


@pytest.fixture
def local_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """`hf://datasets/neko/corpus` is a folder of three JSON Lines files; nothing asks a network."""
    datasets = pytest.importorskip("datasets")
    for shard in range(3):
        lines = [json.dumps({"content": f"文書{shard}-{row}", "n": row}) for row in range(4)]
        if shard == 1:
            lines[2] = json.dumps({"content": None, "n": 2})
        (tmp_path / f"part-{shard}.jsonl").write_text("\n".join(lines), encoding="utf-8")
    original: Callable[..., Any] = datasets.load_dataset

    def load_dataset(name: str, subset: str | None, **options: Any) -> Any:
        OPENED.append({"name": name, "subset": subset, **options})
        if name != "neko/corpus":
            raise FileNotFoundError(f"Dataset {name!r} doesn't exist on the Hub")
        files = sorted(str(path) for path in tmp_path.glob("*.jsonl"))
        return original("json", data_files={"train": files}, split=options["split"], streaming=True)

    OPENED.clear()
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub, "_commit", lambda name, revision: COMMIT)
    return tmp_path


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("hf://datasets/neko/corpus", True),
        ("hf://datasets/squad", True),
        ("hf://datasets/neko/corpus@main", True),
        (f"hf://datasets/neko/corpus@{COMMIT}", True),
        ("hf://datasets/neko/corpus/data/*.parquet", False),
        ("hf://datasets/neko/corpus/train.jsonl", False),
        ("s3://datasets/neko/corpus", False),
        ("data/neko", False),
    ],
)
def test_a_dataset_is_told_from_files_in_one(path: str, expected: bool) -> None:
    assert hub.is_dataset(path) is expected


def test_each_shard_is_a_file_and_every_row_comes_once(local_hub: Path) -> None:
    source = entry("hf://datasets/neko/corpus", text_key="content", metadata_keys=("n",))
    files = find_files([source])
    assert [file.name for file in files] == [
        f"neko/corpus/train/0000{number}-of-00003" for number in range(3)
    ]
    shards = plan_shards(files, shard_bytes=1000)
    assert len(shards) == 3
    records = [
        record for shard in shards for piece in shard for record in read_records(piece, max_page_bytes=1000)
    ]
    assert [(record.file.name.split("/")[-1][:5], record.offset) for record in records] == [
        (f"0000{shard}", row) for shard in range(3) for row in range(4)
    ]
    assert [index for index, record in enumerate(records) if isinstance(record, Failure)] == [6]
    assert isinstance(records[0], Page)
    assert (records[0].text, records[0].metadata) == ("文書0-0", {"n": "0"})


def test_everything_is_read_at_the_commit_that_was_found_first(local_hub: Path) -> None:
    files = find_files([entry("hf://datasets/neko/corpus", text_key="content")])
    list(read_records(plan_shards(files, shard_bytes=1)[0][0], max_page_bytes=1000))
    assert {call["revision"] for call in OPENED} == {COMMIT}
    assert all(call["streaming"] for call in OPENED)


def test_subset_split_and_revision_are_handed_on(local_hub: Path) -> None:
    other = "f" * 40
    find_files([entry(f"hf://datasets/neko/corpus@{other}", subset="ja", split="train")])
    assert OPENED[-1] == {
        "name": "neko/corpus",
        "subset": "ja",
        "split": "train",
        "revision": other,
        "streaming": True,
    }


def test_the_fingerprint_changes_with_the_commit(local_hub: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = fingerprint_inputs([entry("hf://datasets/neko/corpus")])
    assert before == fingerprint_inputs([entry("hf://datasets/neko/corpus")])
    monkeypatch.setattr(hub, "_commit", lambda name, revision: "e" * 40)
    assert fingerprint_inputs([entry("hf://datasets/neko/corpus")]) != before


def test_what_is_not_there_is_a_clear_error(local_hub: Path) -> None:
    with pytest.raises(TsumuguError, match="hf://datasets/neko/nothing"):
        find_files([entry("hf://datasets/neko/nothing")])


def test_a_dataset_that_breaks_off_stops_the_run_instead_of_losing_rows(local_hub: Path) -> None:
    files = find_files([entry("hf://datasets/neko/corpus", text_key="content")])
    (local_hub / "part-0.jsonl").write_bytes(b"\xff\xff{broken")
    with pytest.raises(TsumuguError, match="breaks off"):
        list(read_records(plan_shards(files, shard_bytes=1)[0][0], max_page_bytes=1000))


def test_a_missing_library_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(TsumuguError, match=r"tsumugu\[datasets\]"):
        find_files([entry("hf://datasets/neko/corpus")])
