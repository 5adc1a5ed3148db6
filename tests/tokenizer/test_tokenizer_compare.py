"""`tsumugu tokenizer compare`, as typed."""

import gzip
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tsumugu.cli import main
from tsumugu.tokenizer.figures import sample_text

TEXTS = ["昨日、港町で古い地図を見た。", "鬱\u202e\x1b[2J と\n手紙"]


def files(folder: Path) -> dict[str, Path]:
    """The same two texts in every form (one document, where lines are all that a file has)."""
    lines = "\n".join(json.dumps({"text": text}, ensure_ascii=False) for text in TEXTS)
    paths = {name: folder / f"text.{name}" for name in ("txt", "md", "jsonl", "jsonl.gz", "parquet")}
    paths["txt"].write_text("\n".join(TEXTS), encoding="utf-8")
    paths["md"].write_text("\n".join(TEXTS), encoding="utf-8")
    paths["jsonl"].write_text(lines, encoding="utf-8")
    paths["jsonl.gz"].write_bytes(gzip.compress(lines.encode()))
    pq.write_table(pa.table({"text": TEXTS}), paths["parquet"])
    return paths


def test_every_kind_of_file_is_read(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = str(finished_run / "tokenizer")
    for name, path in files(tmp_path).items():
        assert main(["tokenizer", "compare", tokenizer, "--text", str(path), "--json"]) == 0
        (found,) = json.loads(capsys.readouterr().out)["tokenizers"]
        whole = name in ("txt", "md")
        assert found["documents"] == (1 if whole else 2)
        assert found["characters"] == sum(map(len, TEXTS)) + whole
        assert ["".join(part["text"] for part in line) for line in found["lines"]] == "\n".join(TEXTS).split(
            "\n"
        )


def test_tokenizers_stand_side_by_side(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The released twin gives the same figures; without a file the sample is spelled."""
    folders = [str(finished_run / "tokenizer"), str(finished_run / "tokenizer" / "spiece.model")]
    assert main(["tokenizer", "compare", *folders]) == 0
    told = capsys.readouterr().out
    assert told.startswith(f"1 documents, {len(sample_text())} characters")
    first, second = (line.removeprefix(folder) for line, folder in _rows(told, folders))
    assert first.split() == second.split()
    assert "│" in told
    assert main(["tokenizer", "compare", *folders, "--json"]) == 0
    one, other = json.loads(capsys.readouterr().out)["tokenizers"]
    assert {**one, "name": ""} == {**other, "name": ""}


def _rows(told: str, folders: list[str]) -> list[tuple[str, str]]:
    table = told.split("\n")[3:5]
    return list(zip(table, folders, strict=True))


def test_no_text_commands_the_terminal(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in ([], ["--json"]):
        path = str(files(tmp_path)["jsonl"])
        assert main(["tokenizer", "compare", str(finished_run / "tokenizer"), "--text", path, *options]) == 0
        assert not set(capsys.readouterr().out) & set("\u202e\x1b")


def test_mistakes_are_one_message(
    finished_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tokenizer = str(finished_run / "tokenizer")
    broken = tmp_path / "broken.jsonl"
    broken.write_text('{"text": "港"}\n{"body": 1}\n', encoding="utf-8")
    cases = {
        "/nowhere": "there is no such file",
        str(broken): f"--text {broken}: at 16: not an object with a 'text'",
    }
    for path, message in cases.items():
        assert main(["tokenizer", "compare", tokenizer, "--text", path]) == 1
        assert message in capsys.readouterr().err
    assert main(["tokenizer", "compare", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("error: ")


def test_the_question_teaches_and_the_stage_names_it(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tokenizer", "compare", "--help"])
    told = capsys.readouterr().out
    assert told.startswith("usage: tsumugu tokenizer compare")
    assert "examples:" in told
    with pytest.raises(SystemExit):
        main(["tokenizer", "--help"])
    assert "tsumugu tokenizer compare DIR_A DIR_B" in capsys.readouterr().out
