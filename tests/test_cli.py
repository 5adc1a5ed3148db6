"""The command line: quick to answer, plain about mistakes."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tsumugu.cli import main


@pytest.mark.parametrize(
    "command",
    [
        "run",
        "corpus",
        "tokenizer",
        "tokens",
        "pretrain",
        "release",
        "tune",
        "evaluate",
        "report",
        "generate",
        "chat",
        "schema",
    ],
)
def test_every_command_teaches(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main([command, "--help"])
    assert caught.value.code == 0
    told = capsys.readouterr().out
    assert told.startswith(f"usage: tsumugu {command}")
    assert len(told) > 150


def test_help_answers_at_once_and_loads_nothing_heavy() -> None:
    code = (
        "import sys; from tsumugu.cli import main\n"
        "try: main(['--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'numba', 'pyarrow', 'pydantic', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "corpus -> tokenizer -> tokens" in result.stdout


def test_rooms_before_the_model_never_import_torch() -> None:
    code = (
        "import sys, tsumugu.corpus.stage, tsumugu.tokenizer.stage, tsumugu.tokens.stage, tsumugu.pipeline\n"
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_mistake_in_the_recipe_is_one_message_and_no_work(
    recipe_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "run"
    assert main(["run", str(recipe_path), "--run", str(run), "pretrain.step=3"]) == 1
    error = capsys.readouterr().err
    assert error.startswith("error: command line: pretrain.step: unknown key (did you mean 'steps'?)")
    assert "Traceback" not in error
    assert not run.exists()


def test_pages_that_do_not_exist_are_told_before_any_work(
    recipe_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        main(
            [
                "corpus",
                str(recipe_path),
                "--run",
                str(tmp_path / "r"),
                "corpus.inputs.0.path=/nowhere",
            ]
        )
        == 1
    )
    assert "'/nowhere' does not exist" in capsys.readouterr().err


def test_unknown_options_are_refused(recipe_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["run", str(recipe_path), "--wrokers", "2"])
    assert "unrecognized arguments: --wrokers" in capsys.readouterr().err


def test_schema_is_json(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["schema"]) == 0
    assert "corpus" in json.loads(capsys.readouterr().out)["properties"]


def test_a_finished_run_prints_where_everything_lies(
    recipe_path: Path, finished_run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", str(recipe_path), "--run", str(finished_run)]) == 0
    told = capsys.readouterr().out
    for part in (
        "release",
        "scores.json",
        "report.html",
        "perplexity per token",
        "bits per byte",
        "kneser_ney_5gram",
    ):
        assert part in told


def test_generate_continues_a_prompt(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "generate",
        str(finished_run / "release"),
        "--prompt",
        "昨日、",
        "--max-new-tokens",
        "5",
    ]
    assert main(arguments) == 0
    assert capsys.readouterr().out.startswith("昨日、")
    assert main(["generate", "/nowhere"]) == 1
    assert "there is no such folder" in capsys.readouterr().err


def test_a_layout_of_several_processes_is_refused_before_any_work(
    recipe_path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(recipe_path), "--run", str(tmp_path / "run"), "pretrain.layout.tensor=2"]
    assert main(["run", *words]) == 1
    assert "pretrain.layout needs 2 processes, and this is one" in capsys.readouterr().err
    assert not (tmp_path / "run" / "corpus").exists()
