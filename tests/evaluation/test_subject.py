"""Models are opened from wherever they lie, and what is wrong with them is said."""

import json
import shutil
from pathlib import Path

import pytest
from small_models import write_small_model

from conftest import japanese_text
from tsumugu.errors import TsumuguError
from tsumugu.evaluation.subject import open_subject
from tsumugu.files import read_json, write_json


@pytest.fixture
def folder(tmp_path: Path, finished_run: Path) -> Path:
    """A model directory that a test may damage."""
    return write_small_model(tmp_path / "model", finished_run / "release", "llama")


def test_a_run_its_checkpoint_and_its_release_are_one_model(finished_run: Path) -> None:
    run = open_subject(str(finished_run))
    checkpoint = open_subject(str(finished_run / "pretrain" / "checkpoints" / "step-40"))
    release = open_subject(str(finished_run / "release"))
    assert run.facts["fingerprint"] == checkpoint.facts["fingerprint"]
    assert run.facts["parameters"] == release.facts["parameters"]
    # Training begins documents with <s>; the tokenizer of the release does not by itself.
    assert run.prompt_start == (1,)
    assert release.prompt_start == ()
    assert open_subject(str(finished_run / "release"), add_bos=True).prompt_start == (1,)
    text = japanese_text(3)
    assert run.encode(text) == release.encode(text)
    assert run.decode(run.encode(text)) == text
    assert (run.text_start, run.eos_id) == (release.text_start, release.eos_id) == (1, 2)


def test_the_slow_form_of_a_tokenizer_is_read_exactly(folder: Path, finished_run: Path) -> None:
    expected = open_subject(str(folder)).encode(japanese_text(5))
    (folder / "tokenizer.json").unlink()
    shutil.copy(finished_run / "tokenizer" / "spiece.model", folder / "spiece.model")
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "T5Tokenizer", "eos_token": "</s>", "bos_token": "<s>", "extra_ids": 0},
    )
    subject = open_subject(str(folder))
    assert subject.encode(japanese_text(5)) == expected
    # T5's tokenizer would end every prompt.
    assert subject.prompt_start == ()


def test_code_of_a_directory_is_not_run(folder: Path) -> None:
    config = read_json(folder / "config.json")
    write_json(folder / "config.json", {**config, "auto_map": {"AutoModelForCausalLM": "evil.Model"}})
    (folder / "evil.py").write_text("raise SystemExit('it was run')", encoding="utf-8")
    with pytest.raises(TsumuguError, match="--trust-remote-code"):
        open_subject(str(folder))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: (path / "tokenizer.json").unlink(), "tokenizer"),
        (lambda path: _cut(path / "model.safetensors"), "model.safetensors is damaged or cut short"),
        (lambda path: _shrink(path), "do not belong together"),
        (lambda path: (path / "config.json").unlink(), "no model is here"),
    ],
    ids=["no tokenizer", "truncated weights", "another tokenizer", "no config"],
)
def test_what_is_wrong_with_a_directory_is_said(folder: Path, damage: object, message: str) -> None:
    damage(folder)  # type: ignore[operator]
    with pytest.raises(TsumuguError, match=message):
        open_subject(str(folder))


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _shrink(path: Path) -> None:
    """A tokenizer with more pieces than the model has embeddings."""
    data = json.loads((path / "tokenizer.json").read_text(encoding="utf-8"))
    data["model"]["vocab"] += [[f"余計{number}", -20.0] for number in range(9)]
    (path / "tokenizer.json").write_text(json.dumps(data, ensure_ascii=False), encoding="utf-8")


def test_a_name_that_nobody_has_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(TsumuguError, match="there is no such folder"):
        open_subject("nobody/has-this-model")
    with pytest.raises(TsumuguError, match="no such name"):
        open_subject("../../not a name")
