"""`tsumugu corpus explain | what-if | compare`, as typed."""

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tsumugu.cli import main


@pytest.mark.parametrize("question", ["explain", "what-if", "compare"])
def test_every_question_teaches(question: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["corpus", question, "--help"])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: tsumugu corpus {question}")
    assert "examples:" in told


def test_the_corpus_command_names_them(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["corpus", "--help"])
    assert "tsumugu corpus what-if RUN too_short=300" in capsys.readouterr().out


def test_answers_are_text_or_json(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = str(finished_run)
    name = pq.read_table(finished_run / "corpus" / "documents")["id"][0].as_py()
    assert main(["corpus", "explain", run, name]) == 0
    assert "decision  kept" in capsys.readouterr().out
    assert main(["corpus", "explain", "--json", run, name]) == 0
    assert json.loads(capsys.readouterr().out)["id"] == name
    # A dash before a rule is a change, not an option, wherever it stands.
    assert main(["corpus", "what-if", run, "-source_code", "--json", "-other_language"]) == 0
    assert json.loads(capsys.readouterr().out)["newly_kept"] == 2
    assert main(["corpus", "compare", run, run, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["changes"] == []


def test_mistakes_are_one_message(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["corpus", "what-if", str(finished_run), "to_short=3"]) == 1
    assert capsys.readouterr().err.startswith("error: what-if: to_short=3: this run has no rule 'to_short'")
    assert main(["corpus", "explain", "/nowhere", "00"]) == 1
    assert "no finished corpus stage here" in capsys.readouterr().err


def test_json_holds_no_character_that_commands_a_terminal() -> None:
    from tsumugu.terminal import to_json

    value = {"text": "紡\x1b[2J\x9b\u202e\U000e0041\n終"}
    text = to_json(value)
    assert json.loads(text) == value
    assert "紡" in text
    assert not set(text) & set("\x1b\x9b\u202e\U000e0041")
