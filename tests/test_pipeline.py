"""Stages run when something they depend on changed, and only then."""

import fcntl
import json
import shutil
from pathlib import Path

import pytest

from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.files import read_json
from tsumugu.pipeline import run_stages
from tsumugu.recipe import Recipe, load_recipe
from tsumugu.stages import STAGES


def rerun(recipe: Recipe, folder: Path, *, last: str | None = None) -> list[str]:
    said: list[str] = []
    run_stages(recipe, folder, last=last, resources=Resources(1), say=said.append)
    return [line.removesuffix(": running") for line in said if line.endswith(": running")]


@pytest.fixture
def copied_run(finished_run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(finished_run, tmp_path / "run"))


def test_every_stage_leaves_a_manifest_that_names_its_files(finished_run: Path) -> None:
    for stage in STAGES:
        manifest = read_json(finished_run / stage.name / "manifest.json")
        assert set(manifest) == {"stage", "fingerprint", "counts", "seconds", "versions", "files"}
        folder = finished_run / stage.name
        on_disk = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
        assert set(manifest["files"]) == on_disk - {"manifest.json"}
    left = sorted(path.name for path in finished_run.iterdir())
    others = [".lock", "pretrain-logs", "recipe.yaml", "report.html"]
    assert left == sorted([*others, *(stage.name for stage in STAGES)])


def test_the_recipe_in_the_folder_is_the_whole_recipe(finished_run: Path, recipe: Recipe) -> None:
    assert load_recipe(finished_run / "recipe.yaml") == recipe


def test_a_finished_run_does_nothing_again(finished_run: Path, recipe: Recipe) -> None:
    assert rerun(recipe, finished_run) == []


def test_a_change_runs_what_depends_on_it_and_nothing_else(copied_run: Path, recipe: Recipe) -> None:
    prompt = recipe.model_copy(update={"release": recipe.release.model_copy(update={"prompt": "今日は"})})
    assert rerun(prompt, copied_run) == ["release", "report"]
    fewer = recipe.model_copy(update={"evaluate": recipe.evaluate.model_copy(update={"tasks": ()})})
    assert rerun(fewer, copied_run, last="evaluate") == ["evaluate"]


def test_a_run_from_before_keys_of_the_model_existed_goes_on(copied_run: Path, recipe: Recipe) -> None:
    (pretrain,) = (stage for stage in STAGES if stage.name == "pretrain")
    known = {"depth_scaled_initialization", "embedding_std", "mup_base_width"}
    model = recipe.model
    assert not known & pretrain.settings(recipe)[0].keys()
    changed = model.model_copy(
        update={"depth_scaled_initialization": False, "mup_base_width": model.hidden_size}
    )
    found = pretrain.settings(recipe.model_copy(update={"model": changed}))[0]
    assert found.keys() & known == {"depth_scaled_initialization", "mup_base_width"}


def test_a_threshold_that_changes_no_document_does_not_train_again(copied_run: Path, recipe: Recipe) -> None:
    first, *others = recipe.corpus.rules
    rules = (first.model_copy(update={"at_least": 99.0}), *others)
    changed = recipe.model_copy(update={"corpus": recipe.corpus.model_copy(update={"rules": rules})})
    assert rerun(changed, copied_run, last="pretrain") == ["corpus"]


def test_checkpoints_are_not_thrown_away_for_a_changed_recipe(copied_run: Path, recipe: Recipe) -> None:
    (copied_run / "pretrain").rename(copied_run / "pretrain.partial")
    changed = recipe.model_copy(update={"pretrain": recipe.pretrain.model_copy(update={"z_loss": 1e-4})})
    with pytest.raises(TsumuguError, match=r"step-\d+.*Take back the change"):
        rerun(changed, copied_run)
    assert any((copied_run / "pretrain.partial" / "checkpoints").iterdir())


def test_a_file_that_vanished_is_made_again(copied_run: Path, recipe: Recipe) -> None:
    (copied_run / "tokens" / "train" / "000" / "00000.npy").unlink()
    assert rerun(recipe, copied_run, last="pretrain") == ["tokens"]


def test_a_damaged_manifest_is_named(copied_run: Path, recipe: Recipe) -> None:
    (copied_run / "corpus" / "manifest.json").write_text("{")
    with pytest.raises(TsumuguError, match="corpus/manifest.json is damaged"):
        rerun(recipe, copied_run)


def test_two_processes_do_not_work_in_one_folder(copied_run: Path, recipe: Recipe) -> None:
    with (copied_run / ".lock").open("w") as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(TsumuguError, match="another tsumugu process"):
            rerun(recipe, copied_run)


def test_manifests_are_plain_json(finished_run: Path) -> None:
    for stage in STAGES:
        json.loads((finished_run / stage.name / "manifest.json").read_text(encoding="utf-8"))
