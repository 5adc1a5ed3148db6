"""The corpus stage: nothing is lost, everything has a reason, and the bytes repeat."""

import gzip
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from archives import http_response, warc_record
from quality_files import ARPA, write_classifier

from conftest import html_page, japanese_text
from tsumugu import pipeline
from tsumugu.corpus import quality_models
from tsumugu.corpus.config import (
    SIGNALS,
    DecontaminationConfig,
    EvaluationSet,
    FastTextModel,
    KenLMModel,
    QualityConfig,
    Rule,
)
from tsumugu.corpus.inputs import find_files, plan_shards
from tsumugu.corpus.measuring import MeasureTask, measure_shard, measured_parts, read_facts
from tsumugu.corpus.profile import ProfileName, load_profile
from tsumugu.corpus.signals import make_batch, morphology
from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.files import checksums, read_json, write_text
from tsumugu.pipeline import run_stages
from tsumugu.recipe import Recipe
from tsumugu.stages import STAGES

FOLDERS = ("documents", "decisions", "quarantine")
BROKEN_PAGES = {
    "truncated.html": html_page(japanese_text(901)).encode()[:-700],
    "shift-jis.html": html_page(japanese_text(902), charset="Shift_JIS").encode("cp932"),
    "euc-jp.html": html_page(japanese_text(903), charset="none").encode("euc_jp"),
    "renamed.html": b"\x7fELF" + bytes(range(256)) * 100,
    "empty.html": b"",
    "one-line.html": ("<p>" + "長い一行です。" * 2_500_000 + "</p>").encode(),
    "deep.html": b"<div>" * 500_000,
    "bad.jsonl": b'{"text": \n{"text": "'
    + japanese_text(904).replace("\n", "\\n").encode()
    + b'"}\n\xff\xfe\n[]\n',
    "ignored.png": b"\x89PNG",
}


def corpus(recipe: Recipe, folder: Path, pages: Path, *, workers: int = 1) -> Path:
    inputs = (recipe.corpus.inputs[0].model_copy(update={"path": str(pages)}),)
    changed = recipe.model_copy(update={"corpus": recipe.corpus.model_copy(update={"inputs": inputs})})
    run_stages(changed, folder, last="corpus", resources=Resources(workers), say=lambda text: None)
    return folder / "corpus"


@pytest.mark.parametrize("deleted", ["corpus.partial", "corpus.work/counts"])
def test_what_was_deleted_before_the_end_is_made_again(
    deleted: str, recipe: Recipe, tmp_path: Path, pages: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(folder: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as changed:
        changed.setattr(pipeline, "checksums", stop)
        with pytest.raises(KeyboardInterrupt):
            corpus(recipe, tmp_path / "run", pages)
    before = checksums(tmp_path / "run" / "corpus.partial")
    assert sum(name.startswith("documents/") for name in before) > 1
    # The tables; or the counts, which a run that an earlier version began does not have.
    shutil.rmtree(tmp_path / "run" / deleted)
    manifest = read_json(corpus(recipe, tmp_path / "run", pages) / "manifest.json")
    assert manifest["files"] == before
    assert (
        manifest["counts"] == read_json(corpus(recipe, tmp_path / "whole", pages) / "manifest.json")["counts"]
    )


def test_every_document_is_kept_dropped_or_quarantined(finished_run: Path) -> None:
    folder = finished_run / "corpus"
    counts = read_json(folder / "manifest.json")["counts"]
    decisions = pq.read_table(folder / "decisions").to_pylist()
    assert counts["in"] == len(decisions) == 127 + 12
    assert counts["in"] == counts["kept"] + counts["dropped"] + counts["quarantined"]
    assert counts["dropped_by_reason"] == {
        "contained": 1,
        "exact_duplicate": 1,
        "near_duplicate": 1,
        "other_language": 1,
        "source_code": 1,
    }
    assert counts["quarantined"] == pq.read_table(folder / "quarantine").num_rows == 4
    assert len({decision["id"] for decision in decisions}) == len(decisions)


def test_kept_documents_are_those_that_were_decided_to_stay(finished_run: Path) -> None:
    folder = finished_run / "corpus"
    documents = pq.read_table(folder / "documents")
    assert documents.column_names == ["id", "text", "url", "source", "license", "metadata"]
    kept = [row["id"] for row in pq.read_table(folder / "decisions").to_pylist() if row["kept"]]
    assert documents["id"].to_pylist() == kept
    assert set(documents["license"].to_pylist()) == {"CC0-1.0"}
    assert set(SIGNALS) < set(pq.read_table(folder / "decisions").column_names)


def test_examples_show_every_reason(finished_run: Path) -> None:
    examples = read_json(finished_run / "corpus" / "examples.json")
    assert set(examples) == {
        "contained", "exact_duplicate", "kept", "near_duplicate", "other_language", "source_code",
    }  # fmt: skip
    assert examples["source_code"][0]["text"].count("{") > 5


def test_broken_inputs_are_read_or_quarantined_but_never_lost(recipe: Recipe, tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    for name, content in BROKEN_PAGES.items():
        (pages / name).write_bytes(content)
    folder = corpus(recipe, tmp_path / "run", pages)
    counts = read_json(folder / "manifest.json")["counts"]
    quarantined = {
        (row["path"], row["error"].split(":")[0]) for row in pq.read_table(folder / "quarantine").to_pylist()
    }
    assert counts["in"] == 7 + 4
    assert counts["in"] == counts["kept"] + counts["dropped"] + counts["quarantined"]
    assert ("empty.html", "empty file") in quarantined
    assert ("renamed.html", "binary data, not a page") in quarantined
    assert (
        "one-line.html",
        f"larger than corpus.max_page_bytes = {recipe.corpus.max_page_bytes}",
    ) in quarantined
    assert ("deep.html", "elements are nested more than 2000 deep") in quarantined
    assert ("bad.jsonl", "malformed JSON") in quarantined
    texts = dict(
        zip(
            *(pq.read_table(folder / "documents")[name].to_pylist() for name in ("url", "text")),
            strict=True,
        )
    )
    assert japanese_text(902).split("\n")[3] in texts["shift-jis.html"]
    assert japanese_text(903).split("\n")[3] in texts["euc-jp.html"]
    assert japanese_text(901).split("\n")[0] in texts["truncated.html"]
    assert texts["bad.jsonl"] == japanese_text(904)


def test_the_number_of_workers_changes_no_byte(
    recipe: Recipe, finished_run: Path, pages: Path, tmp_path: Path
) -> None:
    folder = corpus(recipe, tmp_path / "run", pages, workers=2)
    assert (
        read_json(folder / "manifest.json")["files"]
        == read_json(finished_run / "corpus" / "manifest.json")["files"]
    )


def test_a_corpus_of_which_nothing_is_left_says_why(recipe: Recipe, tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "short.html").write_text("<p>短い。</p>")
    with pytest.raises(TsumuguError, match=r"none of 1 documents is left: \{'too_short': 1\}"):
        corpus(recipe, tmp_path / "run", pages)


def few_pages(folder: Path) -> Path:
    """Pages 25 to 34 and one that cannot be read, for what needs no more."""
    folder.mkdir()
    for number in range(25, 35):
        page = html_page(japanese_text(number))
        (folder / f"page-{number:03d}.html").write_text(page, encoding="utf-8")
    (folder / "empty.html").write_bytes(b"")
    return folder


def change(recipe: Recipe, **updates: object) -> Recipe:
    return recipe.model_copy(update={"corpus": recipe.corpus.model_copy(update=updates)})


def test_documents_that_give_an_evaluation_away_go_and_the_hits_are_told(
    recipe: Recipe, tmp_path: Path
) -> None:
    pages = few_pages(tmp_path / "pages")
    questions = tmp_path / "questions.jsonl"
    line = japanese_text(30).split("\n")[2]
    questions.write_text(json.dumps({"question": line}, ensure_ascii=False) + "\n", encoding="utf-8")
    sets = DecontaminationConfig(evaluation=(EvaluationSet(path=str(questions)),))
    changed = change(recipe, decontamination=sets)
    folder = corpus(changed, tmp_path / "run", pages)
    decisions = pq.read_table(folder / "decisions", columns=["url", "reason"]).to_pylist()
    assert [row["url"] for row in decisions if row["reason"] == "contaminated"] == ["page-030.html"]
    assert line[:10] in (folder / "contamination.json").read_text(encoding="utf-8")
    # The questions are an input of the stage.
    before = read_json(folder / "manifest.json")["fingerprint"]
    questions.write_text(questions.read_text(encoding="utf-8") * 2, encoding="utf-8")
    assert read_json(corpus(changed, tmp_path / "run", pages) / "manifest.json")["fingerprint"] != before


def test_a_hojichar_profile_of_one_s_own_decides_too(recipe: Recipe, tmp_path: Path) -> None:
    pages = few_pages(tmp_path / "pages")
    profile = tmp_path / "profile.py"
    profile.write_text(
        "from hojichar import Compose\n"
        "from hojichar.filters import document_filters as filters\n"
        "FILTER = Compose([filters.ExampleHojiChar(), filters.DocumentLengthFilter(min_doc_len=60)])\n"
    )
    folder = corpus(change(recipe, hojichar=str(profile)), tmp_path / "run", pages)
    documents = pq.read_table(folder / "documents", columns=["text"])["text"].to_pylist()
    assert documents
    assert all(text.endswith("<hojichar>") for text in documents)
    before = read_json(folder / "manifest.json")["fingerprint"]
    total, *filters = read_json(folder / "manifest.json")["counts"]["hojichar"]
    assert total["input_num"] == 10
    assert [entry["name"] for entry in filters] == ["0-ExampleHojiChar", "1-DocumentLengthFilter"]
    # The profile is an input of the stage.
    profile.write_text(profile.read_text().replace("60", "61"))
    again = corpus(change(recipe, hojichar=str(profile)), tmp_path / "run", pages)
    assert read_json(again / "manifest.json")["fingerprint"] != before


def test_words_and_models_are_measured_where_they_are_asked_for(recipe: Recipe, tmp_path: Path) -> None:
    pytest.importorskip("fugashi", reason="the extra `morphology` is not installed")
    pytest.importorskip("kenlm", reason="the extra `kenlm` is not installed")
    (tmp_path / "pages").mkdir()
    for seed in range(4):
        (tmp_path / "pages" / f"{seed}.html").write_text(html_page(japanese_text(seed)), encoding="utf-8")
    write_classifier(tmp_path / "model.bin", {"__label__hq": (3.0, 0.0), "__label__lq": (-1.0, 2.0)})
    (tmp_path / "cat.arpa").write_text(ARPA, encoding="utf-8")
    quality = QualityConfig(
        fasttext=FastTextModel(path=str(tmp_path / "model.bin"), label="__label__hq"),
        kenlm=KenLMModel(path=str(tmp_path / "cat.arpa")),
    )
    asked = Rule(reason="lists", signal="function_word_share", at_least=0.1)
    changed = change(recipe, quality=quality, rules=(asked,), shard_bytes=1)
    folder = corpus(changed, tmp_path / "run", tmp_path / "pages", workers=2)
    texts = pq.read_table(folder / "documents", columns=["text"])["text"].to_pylist()
    assert len(texts) == 4
    decisions = pq.read_table(folder / "decisions")
    expected = quality_models.measure(texts, quality) | morphology.measure(make_batch(texts))
    for name, column in expected.items():
        assert decisions[name].to_pylist() == column.tolist()


@pytest.mark.parametrize("name", ["model.bin", "cat.arpa", "pieces.model"])
def test_models_are_inputs_of_the_stage(name: str, recipe: Recipe, tmp_path: Path) -> None:
    quality = QualityConfig(
        fasttext=FastTextModel(path=str(tmp_path / "model.bin")),
        kenlm=KenLMModel(path=str(tmp_path / "cat.arpa"), sentencepiece=str(tmp_path / "pieces.model")),
    )
    [stage] = [stage for stage in STAGES if stage.name == "corpus"]
    before = stage.settings(change(recipe, quality=quality))
    (tmp_path / name).write_bytes(b"another model")
    assert stage.settings(change(recipe, quality=quality)) != before


def test_a_model_that_cannot_be_used_ends_the_stage_before_it_begins(
    recipe: Recipe, pages: Path, tmp_path: Path
) -> None:
    absent = QualityConfig(fasttext=FastTextModel(path=str(tmp_path / "absent.bin"), label="__label__hq"))
    with pytest.raises(TsumuguError, match="absent.bin cannot be used"):
        corpus(change(recipe, quality=absent), tmp_path / "run", pages)
    assert not (tmp_path / "run" / "corpus.work" / "measured").exists()


@pytest.mark.parametrize("profile", ["web-ja", "hojichar", "llm-jp-v1", "swallow-v1"])
def test_every_profile_runs_and_its_rules_are_recorded(
    profile: ProfileName, recipe: Recipe, pages: Path, tmp_path: Path
) -> None:
    # The pages of this test are made of few phrases; what a profile thinks of them is not the point.
    ours = load_profile(profile)
    without = tuple(rule.reason for rule in ours.rules if rule.signal not in ("length", "kana_in_first_50"))
    changed = change(recipe, profile=profile, transforms=None, rules=(), without=without)
    folder = corpus(changed, tmp_path / "run", pages)
    recorded = [rule["reason"] for rule in read_json(folder / "rules.json")]
    assert recorded == [rule.reason for rule in ours.rules if rule.reason not in without]
    counts = read_json(folder / "manifest.json")["counts"]
    assert counts["in"] == counts["kept"] + counts["dropped"] + counts["quarantined"] == 139


def measured_shard(recipe: Recipe, pages: Path, output: Path, *, shard_bytes: int) -> MeasureTask:
    """Measure all `pages` as one shard, whose parts are full with `shard_bytes` of text."""
    inputs = (recipe.corpus.inputs[0].model_copy(update={"path": str(pages)}),)
    config = recipe.corpus.model_copy(update={"inputs": inputs, "shard_bytes": shard_bytes})
    pieces = plan_shards(find_files(config.inputs), shard_bytes=10**9)[0]
    task = MeasureTask(pieces=pieces, config=config, output=output)
    measure_shard(task)
    return task


def test_a_measured_shard_appears_whole_and_with_nothing_left_of_a_killed_process(
    recipe: Recipe, pages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever finds it after a kill takes the shard for done."""
    output = tmp_path / "measured" / "00000"
    leftover = output.with_name(f".00000.{os.getpid()}.tmp") / "documents" / "00099.parquet"
    write_text(leftover, "of a killed process that had the same id")
    original = Path.replace
    existed: list[bool] = []

    def note(self: Path, target: Path) -> Path:
        existed.append(output.exists())
        return original(self, target)

    monkeypatch.setattr(Path, "replace", note)
    measured_shard(recipe, pages, output, shard_bytes=20_000)
    assert len(existed) > 4
    assert not any(existed)
    parts = measured_parts(output)
    files = {path for part in parts for path in (part.documents, part.quarantine)}
    assert {path for path in output.parent.rglob("*.*") if path.is_file()} == files | {output / "facts.json"}


def test_parts_of_a_shard_hold_its_documents_in_order_and_are_bounded(
    recipe: Recipe, pages: Path, tmp_path: Path
) -> None:
    whole = measured_shard(recipe, pages, tmp_path / "whole", shard_bytes=10**9).output
    divided = measured_shard(recipe, pages, tmp_path / "divided", shard_bytes=20_000).output
    parts = measured_parts(divided)
    assert (len(measured_parts(whole)), len(parts) > 5) == (1, True)
    for name in ("documents", "quarantine"):
        (one,) = (pq.read_table(getattr(part, name)) for part in measured_parts(whole))
        several = [pq.read_table(getattr(part, name)) for part in parts]
        assert pa.concat_tables(several).to_pylist() == one.to_pylist()
    sizes = [pq.read_table(part.documents)["text"].nbytes for part in parts]
    longest = max(len(text.encode()) for text in pq.read_table(whole / "documents")["text"].to_pylist())
    assert max(sizes) < 20_000 + 20_000 + longest
    facts = read_facts(divided)
    assert (facts.parts, facts.came_in) == (len(parts), 139)
    assert read_facts(whole) == replace(facts, parts=1)


def test_a_shard_of_nothing_but_skipped_records_has_one_empty_part(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    archive = warc_record(http_response(b"", status="404 Not Found"))
    (tmp_path / "pages" / "a.warc").write_bytes(archive)
    task = measured_shard(recipe, tmp_path / "pages", tmp_path / "measured", shard_bytes=10**6)
    (part,) = measured_parts(task.output)
    assert pq.read_metadata(part.documents).num_rows == pq.read_metadata(part.quarantine).num_rows == 0
    facts = read_facts(task.output)
    assert (facts.came_in, sum(facts.skipped.values())) == (0, 1)


def test_a_compressed_file_becomes_as_many_files_as_it_has_text_for(recipe: Recipe, tmp_path: Path) -> None:
    (tmp_path / "pages").mkdir()
    lines = [json.dumps({"text": japanese_text(number)}, ensure_ascii=False) for number in range(60)]
    lines[20:20] = ["malformed", "[]"]
    content = "\n".join(lines).encode()
    (tmp_path / "pages" / "a.jsonl.gz").write_bytes(gzip.compress(content))
    results = []
    for workers, shard_bytes in ((1, 10_000), (2, 10_000), (1, 10**9)):
        changed = change(recipe, shard_bytes=shard_bytes)
        run = tmp_path / f"run-{workers}-{shard_bytes}"
        folder = corpus(changed, run, tmp_path / "pages", workers=workers)
        counts = read_json(folder / "manifest.json")["counts"]
        assert (counts["in"], counts["quarantined"]) == (62, 2)
        assert counts["in"] == counts["kept"] + counts["dropped"] + counts["quarantined"]
        results.append(folder)
    one, two, whole = results
    assert read_json(one / "manifest.json")["files"] == read_json(two / "manifest.json")["files"]
    names = {name: [path.name for path in sorted((one / name).iterdir())] for name in FOLDERS}
    assert len(names["documents"]) > 5
    assert names["documents"] == names["decisions"] == names["quarantine"]
    assert names["documents"] == [f"{number:05d}.parquet" for number in range(len(names["documents"]))]
    # Nothing depends on the division but the files themselves.
    for name in ("documents", "quarantine"):
        assert pq.read_table(one / name).to_pylist() == pq.read_table(whole / name).to_pylist()
    by_id = [
        {row["id"]: row for row in pq.read_table(folder / "decisions").to_pylist()} for folder in results
    ]
    assert by_id[0] == by_id[2]
    for name in ("examples.json", "near_thresholds.json", "clusters.json"):
        assert read_json(one / name) == read_json(whole / name)


def test_a_shard_without_a_single_document_is_judged_too(recipe: Recipe, tmp_path: Path) -> None:
    pages = tmp_path / "pages"
    pages.mkdir()
    (pages / "a.html").write_bytes(b"")
    (pages / "b.html").write_text(html_page(japanese_text(3)), encoding="utf-8")
    opted = Rule(reason="opted_out", signal="opt_out_noai", at_most=0)
    changed = change(recipe, rules=(*recipe.corpus.rules, opted), shard_bytes=1)
    counts = read_json(corpus(changed, tmp_path / "run", pages) / "manifest.json")["counts"]
    assert (counts["in"], counts["kept"], counts["quarantined"]) == (2, 1, 1)
