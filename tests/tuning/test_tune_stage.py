"""The stage `tune` of a run: what it leaves, and that it is there only when it is asked for."""

import io
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from safetensors.torch import load_file

from conftest import recipe_data
from tsumugu.cli import main
from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.files import read_json
from tsumugu.pipeline import run_stages
from tsumugu.recipe import Recipe, load_recipe
from tsumugu.release.check import check_release
from tsumugu.release.loading import load_model, load_tokenizer
from tsumugu.release.sums import read_sums, wrong_sums
from tsumugu.stages import STAGES, stages_of
from tsumugu.tuning import extra

EVIL = "<script>alert('紡')</script>"


@pytest.fixture(scope="module")
def tuned(tmp_path_factory: pytest.TempPathFactory, finished_run: Path, pages: Path) -> tuple[Path, Path]:
    """A recipe with the section, and the run folder of its stages."""
    folder = tmp_path_factory.mktemp("tuned")
    records = [
        {"instruction": f"{a}に{b}を足すと？{EVIL if b == 3 else ''}", "output": f"{a + b}です。"}
        for a in range(10, 22)
        for b in range(2, 4)
    ]
    lines = [json.dumps(one, ensure_ascii=False) for one in [*records, {"instruction": "壊れた記録"}]]
    (folder / "data.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    pairs = [{"prompt": f"{a}は何？", "chosen": f"{a}です。", "rejected": "いや。"} for a in range(10, 14)]
    (folder / "pairs.jsonl").write_text("".join(json.dumps(one) + "\n" for one in pairs), encoding="utf-8")
    data: dict[str, Any] = recipe_data(pages)
    data["tune"] = {
        "data": [
            {
                "path": str(folder / "data.jsonl"),
                "source": "sums",
                "license": "CC0-1.0",
                "format": "alpaca",
            }
        ],
        "template": "line",
        "max_length": 128,
        "near_duplicate_jaccard": 1.0,
        "epochs": 3,
        "learning_rate": 5e-3,
        "global_batch_size": 4,
        "micro_batch_size": 4,
        "validation_fraction": 0.3,
        "samples": 2,
        "sample_tokens": 12,
        "preference": {
            "data": [{"path": str(folder / "pairs.jsonl"), "source": "pairs", "license": "CC0-1.0"}],
            "learning_rate": 1e-4,
        },
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    shutil.copytree(finished_run, folder / "run")
    said: list[str] = []
    run_stages(load_recipe(path), folder / "run", resources=Resources(1), say=said.append)
    assert "release: already done" in said
    return path, folder / "run"


def test_the_stage_leaves_a_model_that_answers_better_and_says_so(tuned: tuple[Path, Path]) -> None:
    counts = read_json(tuned[1] / "tune" / "manifest.json")["counts"]
    assert counts["in"] == 25 == counts["kept"] + counts["dropped"] + counts["quarantined"]
    assert counts["quarantined"] == 1
    assert counts["learned"] + counts["held_out"] == counts["kept"]
    assert counts["answer_loss"]["after"] < counts["answer_loss"]["before"]
    assert counts["bits_per_byte"]["before"] > 0
    assert counts["preference"]["kept"] == 4
    assert counts["preference"]["first_loss"] == pytest.approx(0.6931, abs=1e-3)
    assert counts["largest_logit_difference"] < 1e-5
    assert read_json(tuned[1] / "tune" / "samples.json") == counts["samples"]
    assert len(counts["samples"]) == 2
    [row] = [json.loads(one) for one in (tuned[1] / "tune" / "decisions.jsonl").open(encoding="utf-8")]
    assert (row["file"], row["number"], row["reason"]) == ("data.jsonl", 25, "quarantined")


def test_the_directory_is_the_releases_but_for_the_weights_and_the_template(
    tuned: tuple[Path, Path],
) -> None:
    release, folder = tuned[1] / "release", tuned[1] / "tune"
    changed = {"model.safetensors", "README.md", "manifest.json", "tokenizer_config.json", "SHA256SUMS"}
    for path in release.iterdir():
        if path.name not in changed:
            assert (folder / path.name).read_bytes() == path.read_bytes(), path.name
    assert not check_release(folder).wrong
    tokenizer = load_tokenizer(folder)
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": "名前は？"}], add_generation_prompt=True, tokenize=False
    )
    assert prompt == "ユーザー: 名前は？\nシステム: "
    assert load_model(folder).config.vocab_size == len(tokenizer)
    card = (folder / "README.md").read_text(encoding="utf-8")
    assert "| sums | CC0-1.0 |" in card
    assert "DPO on 4 pairs" in card


def test_what_is_released_is_the_model_and_no_record_of_the_run(tuned: tuple[Path, Path]) -> None:
    folder = tuned[1] / "tune"
    listed = read_sums(folder)
    assert {"model.safetensors", "chat_template.jinja", "generation_config.json", "README.md"} <= {*listed}
    # They name files of this machine and quote the data.
    records = {"decisions.jsonl", "preference-decisions.jsonl", "samples.json", "scores.json"}
    records |= {"metrics.jsonl", "preference-metrics.jsonl", "manifest.json"}
    assert {path.name for path in folder.iterdir()} == {*listed} | records | {"SHA256SUMS"}
    assert not {*listed} & records
    assert not wrong_sums(folder)


def test_one_can_talk_to_it(
    tuned: tuple[Path, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, file = tuned[1] / "tune", tmp_path / "talk.json"
    sample = read_json(folder / "samples.json")[0]
    lines = [sample["question"], f"/save {file}", "12に3を足すと？", f"/save {file}.2"]
    stdin = io.TextIOWrapper(io.BytesIO("".join(f"{line}\n" for line in lines).encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    assert main(["chat", str(folder), "--greedy", "--repetition-penalty", "1", "--max-new-tokens", "12"]) == 0
    out, told = capsys.readouterr()
    messages = read_json(file)["messages"]
    # Asked in the form that was learned, it answers as it did when it was measured.
    assert messages[1]["content"].strip() == sample["after"].strip()
    assert sample["after"].strip() in out
    assert [one["role"] for one in read_json(Path(f"{file}.2"))["messages"]] == ["user", "assistant"] * 2
    assert "</s>" not in out
    assert "error" not in told


def test_the_report_shows_the_tuning_and_escapes_it(tuned: tuple[Path, Path]) -> None:
    page = (tuned[1] / "report.html").read_text(encoding="utf-8")
    counts = read_json(tuned[1] / "tune" / "manifest.json")["counts"]
    assert "<h2>Tuning</h2>" in page
    assert f"{counts['answer_loss']['after']:.4f}" in page
    assert EVIL not in page


def test_finished_tuning_is_not_run_again(tuned: tuple[Path, Path]) -> None:
    said: list[str] = []
    run_stages(load_recipe(tuned[0]), tuned[1], last="tune", resources=Resources(1), say=said.append)
    assert said[-1] == "tune: already done"


def test_a_model_of_others_is_tuned_as_it_is_on_two_devices(
    tuned: tuple[Path, Path], finished_run: Path, tmp_path: Path
) -> None:
    theirs = finished_run / "release"
    data = yaml.safe_load(tuned[0].read_text(encoding="utf-8"))
    data["tokenizer"] = {"path": str(theirs)}
    data["model"] = {"weights": str(theirs)}
    data["pretrain"] = {
        "steps": 1,
        "global_batch_size": 4,
        "sequence_length": 64,
        "optimizer": {"learning_rate": 1e-30},
    }
    data["evaluate"] = {"tasks": []}
    data["tune"] |= {"processes": 2, "micro_batch_size": 2, "preference": None}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    run = tmp_path / "run"
    recipe = load_recipe(tmp_path / "recipe.yaml")
    run_stages(recipe, run, last="tune", resources=Resources(1), say=lambda text: None)
    found, wanted = (load_file(folder / "model.safetensors") for folder in (run / "release", theirs))
    assert found.keys() == wanted.keys()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    loss = read_json(run / "tune" / "manifest.json")["counts"]["answer_loss"]
    assert loss["after"] < loss["before"]
    assert not check_release(run / "tune").wrong


def test_a_recipe_without_the_section_has_no_such_stage(recipe: Recipe, tmp_path: Path) -> None:
    assert stages_of(recipe) == STAGES
    with pytest.raises(TsumuguError, match="no section tune"):
        run_stages(recipe, tmp_path, last="tune", resources=Resources(1), say=print)


def test_without_the_extra_the_error_comes_before_any_work(
    tuned: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setattr(extra, "find_spec", lambda name: None if name == "trl" else object())
    assert main(["tune", str(tuned[0]), "--run", str(tmp_path / "run")]) == 1
    assert "not installed here: trl. Run pip install 'tsumugu[tune]'" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("tune.micro_batch_size=3", "does not divide"),
        ("tune.max_length=4096", "max_position_embeddings = 128"),
        ("tune.template=rinna", "'line' or 'modern'"),
        ("tune.preference.data.0.source=sums", "the same source"),
    ],
)
def test_an_impossible_section_is_refused(tuned: tuple[Path, Path], override: str, told: str) -> None:
    with pytest.raises(TsumuguError, match=told):
        load_recipe(tuned[0], [override])


def test_defaults_are_those_of_llm_jp_sft(tuned: tuple[Path, Path]) -> None:
    found = load_recipe(tuned[0], ["tune.epochs=null", "tune.learning_rate=null"]).tune
    assert found is not None
    assert (found.effective_epochs, found.effective_learning_rate) == (2, 1e-5)
    assert (found.schedule, found.warmup_ratio) == ("cosine", 0.1)
    lora = load_recipe(tuned[0], ["tune.epochs=null", "tune.learning_rate=null", "tune.method=lora"]).tune
    assert lora is not None
    assert (lora.effective_epochs, lora.effective_learning_rate) == (5, 1e-4)
    assert (lora.lora.rank, lora.lora.alpha, lora.lora.dropout) == (8, 32, 0.05)
