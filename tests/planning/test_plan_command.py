"""`tsumugu plan` and `tsumugu run --dry-run` as they are typed, and what they write."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from tsumugu.cli import main
from tsumugu.model.presets import PRESETS
from tsumugu.planning.auto import training_of
from tsumugu.planning.cluster import find_cluster
from tsumugu.planning.page import plan_page
from tsumugu.planning.planner import own_candidate, plan, vocab_size, workload
from tsumugu.planning.writing import layout_keys, overrides, write_layout
from tsumugu.recipe import load_recipe
from tsumugu.training.layout import LayoutConfig

RECIPES = Path(__file__).parents[2] / "recipes"
LINE = RECIPES / "japanese-large-lm-1.7b.yaml"


def answer(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    assert main(["plan", *map(str, words)]) == 0
    return capsys.readouterr().out


def test_the_table_has_layouts_memory_time_price_and_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    text = answer(capsys, LINE, "--cluster", "64xA100-80GB", "--top", 3)
    assert text.startswith("1,652,230,656 parameters, 199,229,440,000 tokens in 190,000 steps of 512 x 2,048")
    for words in ("64 x NVIDIA A100", "MFU", "activations", "bubble", "device hours", "slower", "USD", "MWh"):
        assert words in text


def test_the_same_as_json(capsys: pytest.CaptureFixture[str]) -> None:
    found = json.loads(answer(capsys, LINE, "--cluster", "64xA100-80GB", "--json", "--tokens", "300B"))
    assert found["parameters"] == 1_652_230_656
    best = found["fastest"][0]
    assert best["memory"]["total"] == sum(v for k, v in best["memory"].items() if k != "total")
    parts = [v for k, v in best["step"].items() if k not in ("seconds", "hidden_communication")]
    assert best["step"]["seconds"] == pytest.approx(sum(parts))
    assert best["device_hours"] == pytest.approx(64 * best["hours"])
    assert {one["kind"] for one in found["refused"]} <= {
        "impossible",
        "memory",
        "bubble",
        "network",
        "recomputation",
        "compute",
    }
    assert found["solution"]["tokens"] == 300e9
    assert found["tokens"] == pytest.approx(300e9, rel=1e-5)


def test_an_override_and_a_price_of_one_s_own(capsys: pytest.CaptureFixture[str]) -> None:
    words = (LINE, "pretrain.steps=3000", "--cluster", "8xH100", "--usd-per-hour", "9", "--json")
    found = json.loads(answer(capsys, *words))
    assert found["steps"] == 3000
    assert found["fastest"][0]["usd"] == pytest.approx(9 * found["fastest"][0]["device_hours"])


def test_the_recipe_may_name_the_cluster(capsys: pytest.CaptureFixture[str]) -> None:
    assert "8 x NVIDIA H200" in answer(capsys, LINE, "plan.cluster=8xH200")
    assert main(["plan", str(LINE)]) == 1
    assert "Give --cluster 64xA100-80GB" in capsys.readouterr().err


def test_nothing_that_fits_is_said_and_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    text = answer(capsys, RECIPES / "tsumugu-3.6b.yaml", "--cluster", "1xRTX-4090")
    assert "Nothing works on all devices of this cluster" in text
    assert "GiB per device at least" in text


def test_a_written_layout_is_the_one_that_was_planned_and_comments_stay(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(LINE.read_text(encoding="utf-8"), encoding="utf-8")
    cluster = find_cluster("16xA100-40GB")
    best = plan(load_recipe(path), cluster).fastest[0].candidate
    write_layout(path, best)
    recipe = load_recipe(path)
    assert own_candidate(recipe, cluster) == best
    before, after = (file.read_text(encoding="utf-8").splitlines() for file in (LINE, path))
    changed = [line for line in after if line not in before]
    assert all(line.strip().startswith(("layout:", "micro_batch", "activation_")) for line in changed)
    assert [line for line in before if "#" in line and line not in after] == []


def test_the_words_for_a_command_say_the_same_as_the_written_keys() -> None:
    cluster = find_cluster("64xA100-40GB")
    recipe_path = RECIPES / "japanese-large-lm-3.6b.yaml"
    for found in plan(load_recipe(recipe_path), cluster).fastest:
        changed = load_recipe(recipe_path, shlex.split(overrides(found.candidate)))
        assert own_candidate(changed, cluster) == found.candidate
        LayoutConfig.model_validate(layout_keys(found.candidate)["layout"])


def test_a_written_layout_is_that_of_the_answer(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(LINE.read_text(encoding="utf-8"), encoding="utf-8")
    words = ("--cluster", "64xA100-80GB", "--tokens", "200B", "--deadline", "30d", "--write-layout")
    assert "for 8 devices" in answer(capsys, path, *words)
    assert own_candidate(load_recipe(path), find_cluster("8xA100-80GB")).layout.processes == 8
    # What the file does not say must not decide what is written into it.
    assert main(["plan", str(path), "pretrain.steps=5000", *words]) == 1
    assert "Write these keys into the recipe first" in capsys.readouterr().err


def test_devices_of_which_only_some_can_be_used_are_told_so(capsys: pytest.CaptureFixture[str]) -> None:
    text = answer(capsys, LINE, "--cluster", "31xH100")
    assert "Nothing works on all devices" in text
    assert "On some of them" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--top", "0"), "0 is not a positive number"),
        (("--usd-per-hour", "inf"), "inf is no price"),
        (("--usd-per-hour", "abc"), "abc is no price"),
    ],
)
def test_numbers_that_mean_nothing_are_refused(
    capsys: pytest.CaptureFixture[str], words: tuple[str, str], message: str
) -> None:
    with pytest.raises(SystemExit):
        main(["plan", str(LINE), "--cluster", "8xH100", *words])
    assert message in capsys.readouterr().err


def test_a_recipe_with_a_cluster_that_is_not_known_is_told_at_once(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["run", str(LINE), "plan.cluster=64xZX81"]) == 1
    assert "there is no cluster '64xZX81'" in capsys.readouterr().err


def test_a_cluster_without_a_dry_run_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(LINE), "--cluster", "8xH100"]) == 1
    assert "--cluster is for --dry-run" in capsys.readouterr().err


def test_a_dry_run_of_the_corpus_says_nothing_of_devices(capsys: pytest.CaptureFixture[str]) -> None:
    main(["tokens", str(LINE), "--dry-run"])
    text = capsys.readouterr().out
    assert "corpus, tokenizer, tokens" in text
    assert " layout " not in text


def test_a_batch_that_warms_up_has_the_tokens_that_it_has() -> None:
    warm = load_recipe(LINE, ["pretrain.batch_size_warmup={start: 64, steps: 100000}"])
    whole = workload(load_recipe(LINE))
    assert 0.6 * whole.tokens < workload(warm).tokens < 0.9 * whole.tokens


def test_a_plan_has_the_recipe_s_steps_of_newton_schulz() -> None:
    recipe = load_recipe(LINE, ["pretrain.optimizer={name: muon, learning_rate: 1.0e-3, muon_ns_steps: 3}"])
    assert workload(recipe).muon_ns_steps == 3
    cluster = find_cluster("64xA100-80GB")
    assert training_of(recipe, vocab_size(recipe), cluster).muon_ns_steps == 3


def test_write_layout_needs_one(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(LINE.read_text(encoding="utf-8"), encoding="utf-8")
    assert main(["plan", str(path), "--cluster", "1xRTX-4090", "--write-layout"]) == 1
    assert "no layout to write" in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == LINE.read_text(encoding="utf-8")


def test_the_page_shows_every_part_and_escapes_what_it_is_told(tmp_path: Path) -> None:
    recipe = load_recipe(LINE)
    cluster = replace(find_cluster("64xA100-80GB"), device="<script>alert(1)</script>")
    page = plan_page(plan(recipe, cluster), recipe.name)
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    for words in (
        "Memory against time",
        "Where a step goes",
        "By cost",
        "Why not the others",
        "<title>data_shard",
    ):
        assert words in page


def test_auto_is_what_training_will_choose() -> None:
    recipe = load_recipe(LINE)
    candidate = own_candidate(recipe, find_cluster("64xA100-80GB"))
    assert candidate.micro_batch_size == recipe.pretrain.micro_batch_size
    assert candidate.checkpointing == "selective"
    assert candidate.layout.processes == 64


@pytest.mark.parametrize("preset", [name for name in PRESETS if not name.startswith("tiny")])
def test_every_large_preset_is_planned(preset: str) -> None:
    recipe = load_recipe(RECIPES / f"{preset}.yaml")
    assert workload(recipe).tokens > 190e9
    assert plan(recipe, find_cluster("8xH100")).fastest


def test_a_dry_run_of_a_large_recipe_looks_at_everything(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    words = ["run", str(LINE), "--dry-run", "--cluster", "64xA100-80GB", "--run", str(tmp_path / "run")]
    main(words)
    text = capsys.readouterr().out
    for name in ("recipe", "input c4-ja", "packages", "stages", "model", "layout", "memory", "time", "disk"):
        assert f"  {name} " in text
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("corpus.inputs=[{path: /nowhere, source: a, license: x}]", "/nowhere"),
        ("pretrain.layout={tensor: 7}", "tensor = 7 does not divide"),
        ("pretrain.micro_batch_size=256", "auto finds nothing"),
    ],
)
def test_a_dry_run_ends_with_an_error_where_the_run_would(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, override: str, message: str
) -> None:
    words = ["run", str(LINE), override, "--dry-run", "--run", str(tmp_path / "run")]
    words += ["--cluster", "56xA100-80GB" if "tensor" in override else "64xA100-80GB"]
    assert main(words) == 1
    found = capsys.readouterr()
    assert message in found.out
    assert "error: the run would not come to its end" in found.err


def test_a_dry_run_knows_what_is_done(finished_run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(finished_run / "recipe.yaml"), "--dry-run", "--run", str(finished_run)]) == 0
    text = capsys.readouterr().out
    assert "corpus (done), tokenizer (done), tokens (done), pretrain (done)" in text
    assert "nothing speaks against it" in text
