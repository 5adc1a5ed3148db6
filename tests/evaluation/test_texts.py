"""Texts come in as they are; what cannot be read is counted, and nothing at all is an error."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tsumugu.corpus import hub
from tsumugu.corpus.config import Input
from tsumugu.errors import TsumuguError
from tsumugu.evaluation.texts import Place, parse_places, read_texts
from tsumugu.recipe import load_recipe
from tsumugu.tokens.split import is_validation


def json_lines(*rows: object) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read(path: Path | str, **keys: object):  # type: ignore[no-untyped-def]
    return read_texts(Place("t", str(path)), **keys)  # type: ignore[arg-type]


def test_json_lines_with_sources_copies_and_broken_lines(tmp_path: Path) -> None:
    rows = json_lines(
        {"text": " 猫\r\n", "source": "wiki"}, {"text": "犬"}, {"text": "犬"}, {"text": ""}, {"other": "x"}
    )
    (tmp_path / "a.jsonl").write_text(rows + "{broken\n", encoding="utf-8", newline="")
    found = read(tmp_path / "a.jsonl")
    assert [(one.source, one.text) for one in found.documents] == [
        ("wiki", " 猫\r\n"),
        ("a.jsonl", "犬"),
        ("a.jsonl", "犬"),
    ]
    assert len(found.unreadable) == 3
    assert "a.jsonl, at " in found.unreadable[0]
    assert "'text' is empty" in found.unreadable[0]
    assert "malformed JSON" in found.unreadable[2]
    first, second = (one.id for one in found.documents[1:])
    assert second == f"{first}-2"


def test_ids_are_those_of_the_text_wherever_it_lies(tmp_path: Path) -> None:
    with gzip.open(tmp_path / "a.jsonl.gz", "wt", encoding="utf-8") as stream:
        stream.write(json_lines({"body": "猫"}, {"body": "犬"}))
    pq.write_table(pa.table({"text": ["猫", "犬"], "source": ["x", None]}), tmp_path / "b.parquet")
    zipped, table = read(tmp_path / "a.jsonl.gz", text_key="body"), read(tmp_path / "b.parquet")
    assert [one.id for one in zipped.documents] == [one.id for one in table.documents]
    assert [one.source for one in table.documents] == ["x", "b.parquet"]


def test_plain_text_is_one_document_and_folders_are_read_in_order(tmp_path: Path) -> None:
    (tmp_path / "b.txt").write_text("猫\nである\n", encoding="utf-8")
    (tmp_path / "a.txt").write_text("犬", encoding="utf-8")
    (tmp_path / "c.jsonl").write_text(json_lines({"text": "鳥"}), encoding="utf-8")
    (tmp_path / "notes").write_text("無名", encoding="utf-8")
    assert [one.text for one in read(tmp_path).documents] == ["犬", "猫\nである\n", "鳥"]
    assert [one.source for one in read(tmp_path).documents] == ["t", "t", "c.jsonl"]
    assert [one.text for one in read(tmp_path, limit=2).documents] == ["犬", "猫\nである\n"]
    assert [one.text for one in read(tmp_path / "*.txt").documents] == ["犬", "猫\nである\n"]
    assert [one.text for one in read(tmp_path / "notes").documents] == ["無名"]


def test_a_run_stands_for_its_held_out_documents(recipe_path: Path, tmp_path: Path) -> None:
    run = tmp_path / "demo"
    (run / "corpus" / "documents").mkdir(parents=True)
    (run / "recipe.yaml").write_text(recipe_path.read_text(encoding="utf-8"), encoding="utf-8")
    ids = [f"{number:032x}" for number in range(200)]
    rows = {"id": ids, "source": ["test-pages"] * 200, "text": [f"第{number}頁" for number in range(200)]}
    pq.write_table(pa.table(rows), run / "corpus" / "documents" / "00000.parquet")
    recipe = load_recipe(recipe_path)
    expected = [
        f"第{number}頁"
        for number, name in enumerate(ids)
        if is_validation(name, seed=recipe.seed, fraction=recipe.tokens.validation_fraction)
    ]
    (place,) = parse_places([str(run)])
    assert place.name == "demo-validation"
    found = read_texts(place)
    assert [one.text for one in found.documents] == expected
    assert {one.source for one in found.documents} == {"test-pages"}


def test_a_dataset_is_one_source_however_it_is_divided(monkeypatch: pytest.MonkeyPatch) -> None:
    parts: list[list[dict[str, Any]]] = [[{"text": "猫"}, {"text": None}], [{"text": "犬", "source": "pets"}]]
    shards = [hub.DatasetShard(n, f"OWNER/NAME/test/{n:05d}-of-00002", 0, "commit") for n in range(2)]
    asked = []

    def find_shards(entry: Input) -> list[hub.DatasetShard]:
        asked.append((entry.subset, entry.split))
        return shards

    monkeypatch.setattr(hub, "find_shards", find_shards)
    monkeypatch.setattr(hub, "read_shard", lambda entry, *, index, commit: iter(parts[index]))
    found = read("hf://datasets/OWNER/NAME", subset="ja", split="test")
    assert asked == [("ja", "test")]
    assert [(one.source, one.text) for one in found.documents] == [("OWNER/NAME/test", "猫"), ("pets", "犬")]
    assert len(found.unreadable) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("empty.txt", b"", "no document that can be read: empty.txt, at 0: empty file"),
        ("empty.jsonl", b"\n", "empty file"),
        ("broken.jsonl", b"{\n[1]\n", "malformed JSON.*not an object with a 'text'"),
        ("broken.parquet", b"PAR1 and no more", "not a readable Parquet file"),
        ("cut.jsonl.gz", gzip.compress(b'{"text": "x"}\n' * 99)[:20], "breaks off here"),
        ("page.html", b"<p>text</p>", "HTML is not read here"),
    ],
)
def test_a_text_of_which_nothing_can_be_read_is_an_error(
    tmp_path: Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(TsumuguError, match=message):
        read(tmp_path / name)


def test_a_text_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(TsumuguError, match="--text /nowhere: '/nowhere' does not exist"):
        read("/nowhere")
    with pytest.raises(TsumuguError, match="holds no file that can be read"):
        read(tmp_path)


def test_names_of_texts(tmp_path: Path) -> None:
    words = [
        "data/news.jsonl.zst",
        "wiki=data/x.parquet",
        "hf://datasets/OWNER/NAME@main",
        "a/*.txt",
        "v1.2.txt",
    ]
    assert [place.name for place in parse_places(words)] == ["news", "wiki", "OWNER--NAME", "text", "v1.2"]
    with pytest.raises(TsumuguError, match="2 texts are called 'news'"):
        parse_places(["a/news.jsonl", "b/News.jsonl"])
    odd = tmp_path / "a=b.txt"
    odd.write_text("x", encoding="utf-8")
    assert parse_places([str(odd)]) == [Place("a_b", str(odd))]
