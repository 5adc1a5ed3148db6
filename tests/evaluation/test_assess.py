"""`tsumugu evaluate model`: models side by side, results that are kept, and everything that can be broken."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from small_models import write_small_model
from tiny_tokenizers import byte_fallback, byte_level, without_bytes
from workers import Workers

from tsumugu.cli import main
from tsumugu.errors import TsumuguError
from tsumugu.evaluation import assess as assessing
from tsumugu.evaluation import measuring
from tsumugu.evaluation.assess import Settings, assess
from tsumugu.evaluation.results import read_documents, read_items, read_results, safe_name, write_results
from tsumugu.evaluation.texts import parse_places, read_texts
from tsumugu.files import read_json, write_json

SENTENCES = [
    "吾輩は猫である。名前はまだ無い。",
    "どこで生れたかとんと見当がつかぬ。",
    "何でも薄暗いじめじめした所で🍣を食べた。",
    "書生というのは人間中で一番獰悪な種族であった。",
    "この書生の掌の裏でしばらくはよい心持に坐っておった。",
]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models that spell alike well, one that cannot spell, and a text."""
    folder = tmp_path_factory.mktemp("world")
    write_small_model(folder / "bytes", byte_level(folder / "t1"), "llama")
    write_small_model(folder / "fallback", byte_fallback(folder / "t2"), "gpt2", seed=1)
    write_small_model(folder / "letters", without_bytes(folder / "t3"), "llama", seed=2)
    rows = [
        json.dumps({"text": text * 3, "source": "cat" if number < 2 else "student"}, ensure_ascii=False)
        for number, text in enumerate(SENTENCES)
    ]
    (folder / "novel.jsonl").write_text("\n".join([*rows, "{broken"]) + "\n", encoding="utf-8")
    return folder


def evaluate(world: Path, output: Path, *words: str, models: tuple[str, ...] = ("bytes", "fallback")) -> int:
    places = [str(world / name) for name in models]
    return main(
        ["evaluate", "model", *places, "--text", str(world / "novel.jsonl"), "--output", str(output), *words]
    )


def test_models_with_different_tokenizers_stand_in_one_table(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(world, tmp_path, "--context", "64", models=("bytes", "fallback", "letters")) == 0
    told = capsys.readouterr().out
    first, second, third = (safe_name(str(world / name)) for name in ("bytes", "fallback", "letters"))
    results = read_results(tmp_path / first)
    total = results.perplexity["novel"].total
    assert f"{total.bits_per_byte:.4f} ± {total.bits_per_byte_stderr:.4f}" in told
    assert "64 by 32" in told
    assert "student" in told
    assert f"{world}/fallback - {world}/bytes: " in told
    assert "95 % of resampled documents" in told
    assert "5 documents are few" in told
    assert "letters, novel: 4 of 5 documents do not come back from the tokenizer as they were" in told
    assert "tokens are <unk>" in told
    assert "1 documents could not be read, among them novel.jsonl, at " in told
    sizes = {read_results(tmp_path / name).perplexity["novel"].bytes for name in (first, second, third)}
    assert sizes == {sum(len((text * 3).encode()) for text in SENTENCES)}


def test_the_answer_for_programs_is_that_of_the_files(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(world, tmp_path, "--json", "--limit", "4") == 0
    answer = json.loads(capsys.readouterr().out)
    for model in answer["models"]:
        written = read_json(Path(model["folder"]) / "results.json")
        assert {key: model[key] for key in written} == written
        assert written["format"] == 1
        assert written["model"]["fingerprint"]
    (difference,) = answer["differences"]["novel"]
    a, b = (model["perplexity"]["novel"]["sources"]["all"]["bits_per_byte"] for model in answer["models"])
    assert difference["bits_per_byte"] == pytest.approx(b - a)
    assert difference["low"] < difference["bits_per_byte"] < difference["high"]


def test_what_it_leaves_can_be_compared(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(world, tmp_path, "--json") == 0
    answer = json.loads(capsys.readouterr().out)
    folders = [model["folder"] for model in answer["models"]]
    assert main(["evaluate", "compare", *folders, "--no-published"]) == 0
    told = capsys.readouterr().out
    assert "novel" in told
    for model in answer["models"]:
        assert f"{model['perplexity']['novel']['sources']['all']['bits_per_byte']:.4f}" in told


def test_results_are_those_of_their_documents(world: Path, tmp_path: Path) -> None:
    assert evaluate(world, tmp_path, models=("bytes",)) == 0
    folder = tmp_path / safe_name(str(world / "bytes"))
    figures = read_results(folder).perplexity["novel"]
    documents = read_documents(folder, "novel")
    assert [one.source for one in documents] == ["cat", "cat", "student", "student", "student"]
    assert sum(one.nats for one in documents) / figures.tokens == pytest.approx(figures.total.nats_per_token)
    assert set(figures.sources) == {"all", "cat", "student"}
    assert sum(figures.sources[name].bytes for name in ("cat", "student")) == figures.bytes
    assert (figures.unfaithful_documents, figures.unknown_tokens, figures.unreadable) == (0, 0, 1)


def test_what_is_there_is_not_computed_again(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    calls: list[str] = []
    plain = measuring.predict

    def counted(subject: Any, *arguments: Any, **keys: Any) -> list[float]:
        calls.append(Path(subject.name).name)
        return plain(subject, *arguments, **keys)

    monkeypatch.setattr(measuring, "predict", counted)
    assert evaluate(world, tmp_path, models=("bytes",)) == 0
    assert evaluate(world, tmp_path) == 0
    assert calls == ["bytes", "fallback"]
    assert "all of it is done already" in capsys.readouterr().err
    # Other settings, another text under the same name, another model in the same place.
    assert evaluate(world, tmp_path, "--stride", "20", models=("bytes",)) == 0
    assert evaluate(world, tmp_path, "--stride", "20", "--limit", "3", models=("bytes",)) == 0
    assert calls[2:] == ["bytes", "bytes"]
    copy = tmp_path / "copy"
    shutil.copytree(world / "bytes", copy)
    for _ in range(2):
        assert evaluate(world, tmp_path / "other", models=(str(copy),)) == 0
    shutil.copy(
        write_small_model(tmp_path / "new", world / "t1", "llama", seed=9) / "model.safetensors", copy
    )
    assert evaluate(world, tmp_path / "other", models=(str(copy),)) == 0
    assert calls[4:] == ["copy", "copy"]


def test_a_model_is_not_opened_for_what_is_there(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--tasks", "kotowari", "--limit", "3")
    assert evaluate(world, tmp_path, *words) == 0
    first = capsys.readouterr().out
    opened: list[str] = []
    plain = assessing.open_subject  # type: ignore[attr-defined]

    def watched(place: str, **keys: Any) -> Any:
        opened.append(Path(place).name)
        return plain(place, **keys)

    monkeypatch.setattr(assessing, "open_subject", watched)
    assert evaluate(world, tmp_path, *words) == 0
    assert capsys.readouterr().out == first
    assert opened == []
    # What is asked in another way, or is not there, needs the model.
    for other in (("--add-bos",), ("--context", "64"), ("--num-fewshot", "1"), ("--data", str(tmp_path))):
        opened.clear()
        assert evaluate(world, tmp_path, *words, *other, models=("bytes",)) == 0
        assert opened == ["bytes"], other


def test_missing_data_are_told_before_a_model_is_opened(
    world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError("no network")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    monkeypatch.setattr(assessing, "open_subject", None)
    assert evaluate(world, tmp_path, "--tasks", "aio", "--data", str(tmp_path)) == 1
    assert "the data set aio is not at hand" in capsys.readouterr().err


def test_prompts_that_do_not_fit_are_told(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for _ in range(2):
        assert evaluate(world, tmp_path, "--tasks", "kotowari", "--num-fewshot", "3", "--limit", "5") == 0
        told = capsys.readouterr().out
        assert "bytes, kotowari: 20 prompts, of 5 questions, were longer than the model can see" in told


def test_another_text_is_added_to_the_folder(world: Path, tmp_path: Path) -> None:
    (tmp_path / "one.txt").write_text(SENTENCES[0], encoding="utf-8")
    assert evaluate(world, tmp_path / "out", models=("bytes",)) == 0
    words = ["evaluate", "model", str(world / "bytes"), "--text", str(tmp_path / "one.txt")]
    assert main([*words, "--output", str(tmp_path / "out")]) == 0
    folder = tmp_path / "out" / safe_name(str(world / "bytes"))
    found = read_results(folder).perplexity
    assert list(found) == ["novel", "one"]
    assert found["one"].total.bits_per_byte_stderr is None
    assert len(read_documents(folder, "one")) == 1


def test_one_document_tells_nothing_about_others(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert evaluate(world, tmp_path, "--limit", "1") == 0
    told = capsys.readouterr().out
    assert "one document tells nothing about others" in told
    assert "one document alone has no standard error" in told


def _assess_job(rank: int, world: Path, output: Path) -> list[str] | None:
    texts = [read_texts(place) for place in parse_places([str(world / "novel.jsonl")])]
    places = [str(world / name) for name in ("bytes", "fallback")]
    found = assess(places, texts, [], output=output, settings=Settings(context=64))
    return None if found is None else [one.name for one in found.models]


def test_two_processes_find_what_one_finds(workers: Workers, world: Path, tmp_path: Path) -> None:
    names = [str(world / name) for name in ("bytes", "fallback")]
    assert workers.run(_assess_job, 2, world, tmp_path / "two") == [names, None]
    assert _assess_job(0, world, tmp_path / "one") == names
    for name in map(safe_name, names):
        one, two = (read_documents(tmp_path / number / name, "novel") for number in ("one", "two"))
        assert [(a.id, a.tokens, a.bytes) for a in one] == [(b.id, b.tokens, b.bytes) for b in two]
        assert [a.nats for a in one] == pytest.approx([b.nats for b in two], rel=1e-5)
    # What is there is kept by all of them.
    assert workers.run(_assess_job, 2, world, tmp_path / "one") == [names, None]


# What is broken.


def broken(world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["evaluate", "model", *words, "--output", str(tmp_path / "out")]) == 1
    return capsys.readouterr().err


def test_broken_models_and_questions_are_explained(
    world: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = ("--text", str(world / "novel.jsonl"))
    bare = tmp_path / "bare"
    shutil.copytree(world / "bytes", bare, ignore=shutil.ignore_patterns("tokenizer*", "special*"))
    assert "its tokenizer cannot be opened" in broken(world, tmp_path, capsys, str(bare), *text)
    cut = tmp_path / "cut"
    shutil.copytree(world / "bytes", cut)
    weights = (cut / "model.safetensors").read_bytes()
    (cut / "model.safetensors").write_bytes(weights[: len(weights) // 2])
    assert "model.safetensors is damaged or cut short" in broken(world, tmp_path, capsys, str(cut), *text)
    model = str(world / "bytes")
    assert "there is nothing to measure" in broken(world, tmp_path, capsys, model)
    assert "take 1 to 80" in broken(world, tmp_path, capsys, model, *text, "--stride", "81")
    assert "2 models would leave their results" in broken(world, tmp_path, capsys, model, model, *text)
    (tmp_path / "empty.txt").write_text("", encoding="utf-8")
    assert "empty file" in broken(world, tmp_path, capsys, model, "--text", str(tmp_path / "empty.txt"))


def test_damaged_results_are_named(world: Path, tmp_path: Path) -> None:
    assert evaluate(world, tmp_path, models=("bytes",)) == 0
    folder = tmp_path / safe_name(str(world / "bytes"))
    good = read_json(folder / "results.json")
    with pytest.raises(TsumuguError, match="there is no results.json here"):
        read_results(tmp_path)
    with pytest.raises(TsumuguError, match="there is no text 'wiki'"):
        read_documents(folder, "wiki")
    damages: list[tuple[Any, str]] = [
        ({**good, "format": 2}, "format: Input should be 1"),
        ({**good, "seconds": "long"}, "seconds: Input should be a valid number"),
        ({key: good[key] for key in good if key != "versions"}, "versions: Field required"),
        ({**good, "perplexity": {"novel": {}}}, r"perplexity.novel.documents: Field required"),
        ({**good, "model": {}}, "model.name is missing"),
        ([], "is damaged"),
    ]
    for value, message in damages:
        write_json(folder / "results.json", value)
        with pytest.raises(TsumuguError, match=message):
            read_results(folder)
    (folder / "results.json").write_text("{", encoding="utf-8")
    with pytest.raises(TsumuguError, match="Invalid JSON.*Delete it and evaluate the model again"):
        read_results(folder)

    write_json(folder / "results.json", good)
    lines = folder / "documents" / "novel.jsonl"
    rows = lines.read_text(encoding="utf-8").splitlines()
    lines.write_text("\n".join(rows[1:]) + "\n", encoding="utf-8")
    with pytest.raises(TsumuguError, match=r"has 4 documents of \d+ bytes, and results.json speaks of 5"):
        read_documents(folder, "novel")
    lines.write_text("\n".join([*rows[:2], '{"id": 5}']), encoding="utf-8")
    with pytest.raises(TsumuguError, match="novel.jsonl, line 3 is damaged"):
        read_documents(folder, "novel")


def test_items_come_back_as_they_were_written(world: Path, tmp_path: Path) -> None:
    assert evaluate(world, tmp_path, models=("bytes",)) == 0
    folder = tmp_path / safe_name(str(world / "bytes"))
    items = [
        {"id": "0", "hash": "ab", "acc": 1.0},
        {"id": "1", "hash": "cd", "acc": 0.0, "note": "改\u2028行"},
    ]
    write_results(folder, read_results(folder), items={"jcommonsenseqa-0.4/3": items})
    assert read_items(folder, "jcommonsenseqa-0.4/3") == tuple(items)
    with pytest.raises(TsumuguError, match="cannot be read"):
        read_items(folder, "other")
    (folder / "items" / "broken.jsonl").write_text("{}\n", encoding="utf-8")
    with pytest.raises(TsumuguError, match="line 1: not an item with an id"):
        read_items(folder, "broken")


def test_names_are_safe_for_file_systems() -> None:
    assert safe_name("line-corporation/japanese-large-lm-1.7b") == "line-corporation--japanese-large-lm-1.7b"
    assert safe_name("/runs/demo/") == "runs--demo"
    assert safe_name("../a b:c") == "a_b_c"
    assert safe_name("..") == "unnamed"
    long = [safe_name("x" * 300 + end) for end in ("a", "b")]
    assert long[0] != long[1]
    assert all(len(name) < 140 for name in long)
