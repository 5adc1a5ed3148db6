"""Documents that come as token ids: every kind of file, and every way in which one can be wrong."""

import gzip
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from test_megatron import write_by_hand
from tokens_rooms import make_rooms, run_tokens, small_corpus, with_tokens

from tsumugu.corpus import hub
from tsumugu.errors import TsumuguError
from tsumugu.files import checksums
from tsumugu.recipe import Recipe, load_recipe
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.tokenizer.export import load_sentencepiece
from tsumugu.tokens import pretokenized
from tsumugu.tokens.config import PretokenizedInput
from tsumugu.tokens.importing import read_records, split_documents
from tsumugu.tokens.pretokenized import find_ids_files, fingerprint_ids, plan_parts
from tsumugu.tokens.shards import open_tokens, read_index

RECORDS = [[5, 6, 7], [], [300, 8]]


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    make_rooms(folder, small_corpus())
    return folder


def entry(path: Path | str, **settings: Any) -> PretokenizedInput:
    given = {"format": "dataset", "source": "ids", "license": "CC0-1.0", **settings}
    return PretokenizedInput(path=str(path), **given)


def records(source: PretokenizedInput) -> list[tuple[int, list[int]]]:
    return [(number, ids.tolist()) for part in plan_parts(source) for number, ids in read_records(part)]


def table(kind: pa.DataType) -> pa.Table:
    return pa.table({"input_ids": pa.array(RECORDS, kind), "attention_mask": [[1]] * 3})


def write_jsonl(path: Path) -> None:
    path.write_text("\n\n".join(json.dumps({"input_ids": ids}) for ids in RECORDS), encoding="utf-8")


def write_gzip(path: Path) -> None:
    lines = [json.dumps({"input_ids": ids}) + "\n" for ids in RECORDS]
    path.write_bytes(gzip.compress("".join(lines).encode()))


def write_stream(path: Path) -> None:
    with pa.ipc.new_stream(path, table(pa.list_(pa.int32())).schema) as writer:
        writer.write_table(table(pa.list_(pa.int32())), max_chunksize=2)


def write_feather(path: Path) -> None:
    with pa.ipc.new_file(path, table(pa.large_list(pa.uint16())).schema) as writer:
        writer.write_table(table(pa.large_list(pa.uint16())))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.parquet", lambda path: pq.write_table(table(pa.list_(pa.int64())), path, row_group_size=2)),
        ("b.parquet", lambda path: pq.write_table(table(pa.large_list(pa.uint16())), path)),
        ("data-00000-of-00001.arrow", write_stream),
        ("feather.arrow", write_feather),
        ("c.jsonl", write_jsonl),
        ("d.jsonl.gz", write_gzip),
    ],
)
def test_every_kind_of_file_gives_the_same_records(
    name: str, write: Callable[[Path], None], tmp_path: Path
) -> None:
    write(tmp_path / name)
    assert records(entry(tmp_path / name)) == list(enumerate(RECORDS))
    assert records(entry(tmp_path)) == list(enumerate(RECORDS))


def test_lists_of_fixed_size_and_slices_keep_their_rows(tmp_path: Path) -> None:
    fixed = pa.array([[1, 2], [3, 4], [5, 6]], pa.list_(pa.int32(), 2))
    pq.write_table(pa.table({"ids": fixed}), tmp_path / "a.parquet")
    assert records(entry(tmp_path, ids_key="ids")) == [(0, [1, 2]), (1, [3, 4]), (2, [5, 6])]


def test_files_of_a_folder_come_by_name_and_caches_of_datasets_are_left_out(tmp_path: Path) -> None:
    for name in ("b.jsonl", "a/c.jsonl", "cache-123.arrow", "notes.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        write_jsonl(tmp_path / name)
    assert [file.name for file in find_ids_files(entry(tmp_path))] == ["a/c.jsonl", "b.jsonl"]
    assert len(find_ids_files(entry(tmp_path / "*.jsonl"))) == 1


def test_a_saved_dataset_of_the_library_can_be_read(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    datasets.Dataset.from_dict({"input_ids": RECORDS}).save_to_disk(str(tmp_path / "saved"), num_shards=2)
    found = records(entry(tmp_path / "saved"))
    assert [ids for _, ids in found] == RECORDS


def test_datasets_of_the_hub_are_read_at_the_commit_that_was_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    original: Callable[..., Any] = datasets.load_dataset
    for shard in range(2):
        write_jsonl(tmp_path / f"part-{shard}.jsonl")

    def load_dataset(name: str, subset: str | None, **options: Any) -> Any:
        assert (name, subset, options["revision"]) == ("neko/ids", "ja", "c" * 40)
        files = sorted(str(path) for path in tmp_path.glob("*.jsonl"))
        return original("json", data_files={"train": files}, split=options["split"], streaming=True)

    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub, "_commit", lambda name, revision: "c" * 40)
    source = entry("hf://datasets/neko/ids", subset="ja")
    assert records(source) == [*enumerate(RECORDS), *enumerate(RECORDS)]
    assert {version for _, _, version in fingerprint_ids([source])} == {"c" * 40}
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(TsumuguError, match=r"tsumugu\[datasets\]"):
        find_ids_files(source)


def test_a_megatron_pair_is_divided_into_ranges_of_documents(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pretokenized, "_PART_TOKENS", 8)
    documents = [[[number] * 2, [number]] for number in range(10)]
    write_by_hand(tmp_path / "pair", documents, code=4)
    source = entry(tmp_path / "pair", format="megatron")
    ranges = [(part.first, part.end) for part in plan_parts(source)]
    assert ranges == [(0, 2), (2, 4), (4, 6), (6, 8), (8, 10)]
    assert records(source) == [(number, [number] * 3) for number in range(10)]
    for path in (tmp_path, tmp_path / "pair.idx", tmp_path / "pair.bin", tmp_path / "p*.idx"):
        assert records(entry(path, format="megatron")) == records(source)


@pytest.mark.parametrize(
    ("ids", "documents"),
    [
        ([5, 6], [[5, 6]]),
        ([1, 5, 6, 2], [[5, 6]]),
        ([5, 6, 2, 7, 2, 8], [[5, 6], [7], [8]]),
        ([1, 5, 1, 6, 3, 3, 3], [[5], [6]]),
        ([2, 1, 2], []),
        ([], []),
    ],
)
def test_begin_end_and_padding_separate_documents(
    rooms: Path, ids: list[int], documents: list[list[int]]
) -> None:
    found = split_documents(np.array(ids, dtype=np.int64), load_encoder(rooms / "tokenizer"))
    assert [document.tolist() for document in found] == documents


def test_ids_become_further_sources_split_and_measured_like_the_others(
    rooms: Path, recipe: Recipe, tmp_path: Path
) -> None:
    processor = load_sentencepiece(rooms / "tokenizer")
    texts = [f"これは{number}番目の文書です。\n終わり。" for number in range(60)]
    ids = processor.encode(texts)
    pq.write_table(pa.table({"input_ids": [[*one, 2] for one in ids]}), tmp_path / "ids.parquet")
    with_ids = with_tokens(recipe, [entry(tmp_path / "ids.parquet").model_dump()])
    counts = run_tokens(with_ids, rooms, tmp_path / "one")
    tokens = tmp_path / "one" / "tokens"
    assert [source.name for source in read_index(tokens).sources] == ["web", "books", "ids"]
    streams = [open_tokens(tokens, split, 2) for split in ("train", "validation")]
    assert 8 <= streams[1].documents <= 28
    found = sorted(document.tolist() for stream in streams for document in stream.each_document())
    assert found == sorted([1, *one, 2] for one in ids)
    lengths = [row for stream in streams for shard in stream.shards for row in shard.lengths.tolist()]
    assert sorted(lengths) == sorted([len(text), len(text.encode())] for text in texts)
    assert counts["sources"]["ids"]["train"] == {
        "documents": streams[0].documents, "tokens": streams[0].tokens,
    }  # fmt: skip
    run_tokens(with_ids, rooms, tmp_path / "two", workers=2)
    assert checksums(tmp_path / "two" / "tokens") == checksums(tokens)


def test_broken_characters_do_not_make_a_score_look_better(
    rooms: Path, recipe: Recipe, tmp_path: Path
) -> None:
    processor = load_sentencepiece(rooms / "tokenizer")
    half = [processor.piece_to_id(f"<0x{byte:02X}>") for byte in "鬱".encode()[:2]]
    rows = [{"input_ids": [*processor.encode("会った"), *half]} for _ in range(30)]
    (tmp_path / "ids.jsonl").write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    run_tokens(with_tokens(recipe, [entry(tmp_path / "ids.jsonl").model_dump()]), rooms, tmp_path)
    lengths = open_tokens(tmp_path / "tokens", "train", 2).shards[0].lengths
    assert set(lengths[:, 1].tolist()) == {9 + 2}


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ('{"input_ids": [5, 460]}', r"ids\.jsonl: document 1 holds the id 460, .* from 0 to 459"),
        ('{"input_ids": [-1]}', r"ids\.jsonl: document 1 holds the id -1"),
        ('{"input_ids": [18446744073709551616]}', r"ids\.jsonl: record 1"),
        ('{"input_ids": ["5"]}', r"ids\.jsonl: record 1: 'input_ids' is not a list of whole numbers"),
        ('{"input_ids": [5.0]}', r"ids\.jsonl: record 1"),
        ('{"input_ids": [true]}', r"ids\.jsonl: record 1"),
        ('{"input_ids": [[5], [6, 7]]}', r"ids\.jsonl: record 1"),
        ('{"input_ids": null}', r"ids\.jsonl: record 1"),
        ('{"tokens": [5]}', r"ids\.jsonl: record 1: there is no 'input_ids', only tokens"),
        ("[5, 6]", r"ids\.jsonl: record 1"),
        ("{", r"ids\.jsonl is damaged"),
    ],
)
def test_a_record_that_holds_no_ids_stops_the_stage_and_is_named(
    row: str, message: str, rooms: Path, recipe: Recipe, tmp_path: Path
) -> None:
    (tmp_path / "ids.jsonl").write_text(f'{{"input_ids": [5]}}\n{row}\n', encoding="utf-8")
    with pytest.raises(TsumuguError, match=message):
        run_tokens(with_tokens(recipe, [entry(tmp_path / "ids.jsonl").model_dump()]), rooms, tmp_path)


@pytest.mark.parametrize(
    ("values", "kind", "message"),
    [
        ([["5"]], pa.list_(pa.string()), "not lists of whole numbers"),
        ([5], pa.int64(), "not lists of whole numbers"),
        ([[5], None], pa.list_(pa.int64()), "among records 0 to 1, ids are null"),
        ([[5, None]], pa.list_(pa.int64()), "among records 0 to 0, ids are null"),
    ],
)
def test_a_column_that_holds_no_ids_is_named(
    values: list[Any], kind: pa.DataType, message: str, tmp_path: Path
) -> None:
    pq.write_table(pa.table({"input_ids": pa.array(values, kind)}), tmp_path / "a.parquet")
    with pytest.raises(TsumuguError, match=rf"a\.parquet: .*{message}"):
        records(entry(tmp_path))
    with pytest.raises(TsumuguError, match=r"a\.parquet: there is no 'ids', only input_ids"):
        records(entry(tmp_path, ids_key="ids"))


@pytest.mark.parametrize("name", ["a.parquet", "a.arrow", "a.jsonl.gz"])
def test_a_truncated_file_is_named(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    big = pa.table({"input_ids": [list(range(400))] * 50})
    if name.endswith("parquet"):
        pq.write_table(big, path)
    elif name.endswith("arrow"):
        with pa.ipc.new_stream(path, big.schema) as writer:
            writer.write_table(big)
    else:
        write_gzip(path)
    path.write_bytes(path.read_bytes()[:-12])
    with pytest.raises(TsumuguError, match=rf"{name} is damaged"):
        records(entry(path))


@pytest.mark.parametrize(
    ("path", "settings", "message"),
    [
        ("/nowhere", {}, "'/nowhere' holds no file of token ids"),
        ("/nowhere", {"format": "megatron"}, r"holds no file of token ids in the format 'megatron'"),
        ("s3://bucket/ids", {}, "copy them here first"),
        ("hf://datasets/neko/ids", {"format": "megatron"}, "say format: dataset"),
    ],
)
def test_what_is_not_there_is_a_clear_error(path: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(TsumuguError, match=message):
        find_ids_files(entry(path, **settings))


def test_a_source_cannot_have_two_inputs(recipe_path: Path) -> None:
    again = "[{path: ids, format: dataset, source: test-pages, license: CC0-1.0}]"
    with pytest.raises(TsumuguError, match="two of them have the same source"):
        load_recipe(recipe_path, [f"tokens.pretokenized={again}"])


def test_the_fingerprint_changes_with_a_file(tmp_path: Path) -> None:
    write_jsonl(tmp_path / "a.jsonl")
    before = fingerprint_ids([entry(tmp_path)])
    assert fingerprint_ids([entry(tmp_path)]) == before
    (tmp_path / "a.jsonl").write_text('{"input_ids": [1]}', encoding="utf-8")
    assert fingerprint_ids([entry(tmp_path)]) != before
