"""explain: one document's story, whatever became of it."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from past_runs import copy_run, rewrite_decisions, with_clusters

from tsumugu.corpus.decisions import open_corpus
from tsumugu.corpus.explain import explain, render
from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, write_json


def one(run: Path, reason: str | None) -> str:
    rows = pq.read_table(run / "corpus" / "decisions", columns=["id", "reason"]).to_pylist()
    return str(next(row["id"] for row in rows if row["reason"] == reason))


def test_a_kept_document_is_told_with_its_text(finished_run: Path) -> None:
    document = pq.read_table(finished_run / "corpus" / "documents").to_pylist()[3]
    story = explain(open_corpus(finished_run), document["id"])
    assert (story.decision, story.reason) == ("kept", None)
    assert (story.source, story.url, story.license) == ("test-pages", document["url"], "CC0-1.0")
    assert story.text == document["text"][:600]
    assert story.characters == len(document["text"])
    assert [rule.passes for rule in story.rules] == [True, True, True]
    text = render(story)
    assert f"the beginning of {len(document['text'])} characters" in text
    assert document["text"].split("\n")[0] in text


def test_a_dropped_document_is_told_with_every_rule(finished_run: Path) -> None:
    story = explain(open_corpus(finished_run), one(finished_run, "source_code"))
    assert (story.decision, story.reason) == ("dropped", "source_code")
    # The rules after the one that decided are told too.
    assert [(rule.reason, rule.passes, rule.decided) for rule in story.rules] == [
        ("too_short", True, False),
        ("source_code", False, True),
        ("other_language", False, False),
    ]
    assert story.rules[1].value == story.signals["source_code_share"] > 0.4
    text = render(story)
    assert "<- the reason" in text
    assert "fails too" in text
    assert "for (int i0 = 0;" in text


def test_what_could_not_be_read_is_told_with_the_error(finished_run: Path) -> None:
    story = explain(open_corpus(finished_run), "binary.html")
    assert (story.decision, story.path, story.offset) == ("quarantined", "binary.html", 0)
    assert story.error == "binary data, not a page"
    assert story.signals == {}
    assert all(rule.passes is None for rule in story.rules)
    assert "binary data, not a page" in render(story)


def test_a_document_is_found_by_id_prefix_and_url(finished_run: Path) -> None:
    corpus = open_corpus(finished_run)
    documents = pq.read_table(finished_run / "corpus" / "documents").to_pylist()
    name = next(row["id"] for row in documents if row["url"] == "page-003.html")
    for key in (name, name[:12], "page-003.html"):
        assert explain(corpus, key).id == name


def test_a_name_for_many_or_none_is_explained(finished_run: Path) -> None:
    corpus = open_corpus(finished_run)
    with pytest.raises(TsumuguError, match=r"documents of .* answer to 'lines.jsonl'; name one by its id"):
        explain(corpus, "lines.jsonl")
    with pytest.raises(TsumuguError, match=r"(?s)Addresses that contain it:\n.*page-003\.html"):
        explain(corpus, "page-003")
    with pytest.raises(TsumuguError, match="no document of"):
        explain(corpus, "https://nowhere.example.jp/")
    with pytest.raises(TsumuguError, match="the id is empty"):
        explain(corpus, "")


def test_clusters_tell_which_document_stayed(finished_run: Path, tmp_path: Path) -> None:
    run = copy_run(finished_run, tmp_path / "run")
    addresses = with_clusters(run)
    corpus = open_corpus(run)
    story = explain(corpus, addresses[one(run, "near_duplicate")])
    survivor = one(run, None)
    assert (story.cluster, story.cluster_size, story.survivor) == (7, 3, survivor)
    assert story.survivor_address == f"試験のページ: {addresses[survivor]}"
    assert "cluster 7 of 3 documents; the one that stays is" in render(story)
    assert "this document is the one that stays" in render(explain(corpus, survivor))
    code = one(run, "source_code")
    assert explain(corpus, f"https://www.example.jp/{code}.html").id == code


def test_runs_that_wrote_no_null_for_kept_documents_are_read(finished_run: Path, tmp_path: Path) -> None:
    run = copy_run(finished_run, tmp_path / "run")

    def write_empty_strings(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            row["reason"] = row["reason"] or ""

    rewrite_decisions(run, write_empty_strings)
    name = pq.read_table(run / "corpus" / "documents")["id"][0].as_py()
    assert explain(open_corpus(run), name).decision == "kept"


def test_no_document_commands_the_terminal(finished_run: Path, tmp_path: Path) -> None:
    run = copy_run(finished_run, tmp_path / "run")
    examples = read_json(run / "corpus" / "examples.json")
    evil = examples["source_code"][0]
    evil["text"] = "\x1b]0;owned\x07\x9b2J紡ぐ\u202eevil\u2066 \u200b\r消す"
    evil["url"] = "https://www.example.jp/\x1b[2J"
    write_json(run / "corpus" / "examples.json", examples)
    text = render(explain(open_corpus(run), evil["id"]))
    assert not set(text) & set("\x1b\x07\x9b\u202e\u2066\u200b\r")
    assert "⟨U+001B⟩" in text
    assert "⟨U+202E⟩evil" in text


def test_a_folder_without_a_corpus_is_named(tmp_path: Path) -> None:
    with pytest.raises(TsumuguError, match="no finished corpus stage here"):
        open_corpus(tmp_path)
    (tmp_path / "corpus.partial").mkdir()
    with pytest.raises(TsumuguError, match="is not done: start the same command again"):
        open_corpus(tmp_path)


def test_rules_are_read_where_the_stage_recorded_them(finished_run: Path, tmp_path: Path) -> None:
    run = copy_run(finished_run, tmp_path / "run")
    write_json(
        run / "corpus" / "rules.json",
        [{"reason": "no_kana", "signal": "hiragana_share", "at_least": 0.3, "at_most": None}],
    )
    assert [rule.reason for rule in open_corpus(run).rules] == ["no_kana"]
    (run / "corpus" / "rules.json").write_text("{", encoding="utf-8")
    with pytest.raises(TsumuguError, match=r"rules\.json: the rules of the run cannot be read"):
        open_corpus(run)
