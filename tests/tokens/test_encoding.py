"""The tokens stage: every document once, by source, the same bytes however the work was done."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from tokens_rooms import SOURCES, make_rooms, run_tokens, small_corpus, with_tokens

from tsumugu.errors import TsumuguError
from tsumugu.files import checksums
from tsumugu.recipe import Recipe
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.tokenizer.export import load_sentencepiece
from tsumugu.tokens import stage, writing
from tsumugu.tokens.encoding import EncodeTask, encode_shard
from tsumugu.tokens.shards import open_tokens, verify
from tsumugu.tokens.split import is_validation


@pytest.fixture(scope="module")
def rooms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("rooms")
    make_rooms(folder, small_corpus())
    return folder


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, rooms: Path) -> Path:
    folder = tmp_path_factory.mktemp("done")
    run_tokens(with_tokens(recipe), rooms, folder)
    return folder / "tokens"


def test_every_document_comes_back_in_its_split_and_source(done: Path, rooms: Path, recipe: Recipe) -> None:
    processor = load_sentencepiece(rooms / "tokenizer")
    for split, held in (("train", False), ("validation", True)):
        for number, source in enumerate(SOURCES):
            expected = [
                text
                for rows in small_corpus()
                for document, of, text in rows
                if of == source and is_validation(document, seed=recipe.seed, fraction=0.3) == held
            ]
            documents = list(open_tokens(done, split, number).each_document())
            assert [processor.decode(ids[1:-1].tolist()) for ids in documents] == expected
            assert all((ids[0], ids[-1]) == (1, 2) for ids in documents)
            assert [ids[1:-1].tolist() for ids in documents] == processor.encode(expected)
            lengths = [row for s in open_tokens(done, split, number).shards for row in s.lengths.tolist()]
            assert lengths == [[len(text), len(text.encode())] for text in expected]


def test_the_index_lists_every_shard_in_order(done: Path) -> None:
    index = verify(done)
    assert [(source.name, source.license) for source in index.sources] == [
        (name, "CC0-1.0") for name in SOURCES
    ]
    assert (index.dtype, index.vocab_size, index.bos_id, index.eos_id) == ("uint16", 460, 1, 2)
    assert [facts.name for facts in index.shards] == [
        f"{split}/{source:03d}/{number:05d}.npy"
        for split in ("train", "validation")
        for source in range(2)
        for number in range(3 - source)
    ]
    whole = open_tokens(done, "train")
    assert whole.documents == sum(open_tokens(done, "train", source).documents for source in range(2))


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers_leaves_the_same_bytes(
    done: Path, rooms: Path, recipe: Recipe, tmp_path: Path, workers: int
) -> None:
    run_tokens(with_tokens(recipe), rooms, tmp_path, workers=workers)
    assert checksums(tmp_path / "tokens") == checksums(done)


@pytest.mark.usefixtures("ray_cluster")
def test_a_ray_cluster_leaves_the_same_bytes(done: Path, rooms: Path, recipe: Recipe, tmp_path: Path) -> None:
    run_tokens(with_tokens(recipe), rooms, tmp_path, workers=2, engine="ray")
    assert checksums(tmp_path / "tokens") == checksums(done)


def test_a_stopped_stage_does_only_the_shards_that_are_missing(
    done: Path, rooms: Path, recipe: Recipe, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    run_tokens(with_tokens(recipe), rooms, tmp_path)
    others = {path: path.stat().st_ino for path in tokens.glob("*/*/*.npy") if "00001" not in path.name}
    # As a kill leaves it: one shard half done, and no index.
    (tokens / "index.json").unlink()
    (tmp_path / "tokens.work" / "facts" / "00001.json").unlink()
    (tokens / "train" / "000" / "00001.npy").write_bytes(b"half")
    (tokens / "validation" / "000" / "00001.lengths.npy").unlink()

    run_tokens(with_tokens(recipe), rooms, tmp_path)
    assert checksums(tokens) == checksums(done)
    assert {path: path.stat().st_ino for path in others} == others


def test_being_ready_for_much_text_changes_no_byte(
    done: Path, rooms: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "_BULK", 0)
    run_tokens(with_tokens(recipe), rooms, tmp_path)
    assert checksums(tmp_path / "tokens") == checksums(done)


def test_a_task_that_fails_leaves_no_file(rooms: Path, tmp_path: Path) -> None:
    task = EncodeTask(
        documents=rooms / "corpus" / "documents" / "00000.parquet",
        tokenizer=rooms / "tokenizer",
        folder=tmp_path / "tokens",
        output=tmp_path / "facts.json",
        sources=("web",),
        seed=0,
        validation_fraction=0.3,
    )
    with pytest.raises(KeyError, match="books"):
        encode_shard(task)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_split_without_documents_is_an_error(rooms: Path, recipe: Recipe, tmp_path: Path) -> None:
    none = with_tokens(recipe)
    none = none.model_copy(update={"tokens": none.tokens.model_copy(update={"validation_fraction": 1e-9})})
    with pytest.raises(TsumuguError, match="no token shards in the split 'validation'"):
        run_tokens(none, rooms, tmp_path)


def test_a_large_vocabulary_takes_four_bytes(
    rooms: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writing, "token_dtype", lambda vocab_size: "uint32")
    encode_shard(
        EncodeTask(
            documents=rooms / "corpus" / "documents" / "00002.parquet",
            tokenizer=rooms / "tokenizer",
            folder=tmp_path,
            output=tmp_path / "facts.json",
            sources=SOURCES,
            seed=0,
            validation_fraction=0.3,
        )
    )
    assert np.load(tmp_path / "train" / "000" / "00002.npy").dtype == np.uint32


def test_a_tokenizer_without_a_begin_token_leaves_it_out(rooms: Path, tmp_path: Path) -> None:
    encoder = dataclasses.replace(load_encoder(rooms / "tokenizer"), bos_id=None)
    with writing.shard_writers(tmp_path, 7, encoder) as writers:
        writers.append("train", 0, [[5, 6], [7]], np.array([[1, 3], [2, 6]]))
    assert np.load(tmp_path / "train" / "000" / "00007.npy").tolist() == [5, 6, 2, 7, 2]
    assert np.load(tmp_path / "train" / "000" / "00007.offsets.npy").tolist() == [0, 3, 5]
    assert writers.facts[0].bytes == 9
