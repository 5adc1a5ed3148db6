"""Where the tasks' data come from, and what is said when they do not come."""

import logging
import os
from pathlib import Path

import pytest
from tiny_data import write_tiny_data

from tsumugu.errors import TsumuguError

pytest.importorskip("lm_eval")

from datasets import Dataset, DatasetDict
from lm_eval.evaluator import evaluate
from lm_eval.models.dummy import DummyLM

from tsumugu.evaluation.tasks.baselines import task_baseline
from tsumugu.evaluation.tasks.data import (
    DATA_VARIABLE,
    SOURCES,
    TEST,
    TRAIN,
    HubSet,
    load,
    local_file,
    local_rows,
)
from tsumugu.evaluation.tasks.groups import GROUPS, LEADERBOARD, TaskChoice, all_tasks
from tsumugu.evaluation.tasks.harness_task import few_shot_split
from tsumugu.evaluation.tasks.task_loading import open_tasks

REAL_DATA = os.environ.get(DATA_VARIABLE)


class Anything(DummyLM):  # type: ignore[misc]
    """The harness's model of random answers, without the tokenizer that it would look for on the hub."""

    tokenizer = None


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """The hub is out of reach. `open_tasks` sets the variable of the data; no test may see another's."""

    def fail(*_: object, **__: object) -> None:
        raise ConnectionError("no network")

    monkeypatch.setenv(DATA_VARIABLE, REAL_DATA or "")
    monkeypatch.setattr("datasets.load_dataset", fail)
    monkeypatch.setattr("huggingface_hub.hf_hub_download", fail)


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Few questions of every data set, with examples for prompts."""
    return write_tiny_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def without_train(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same without the splits that examples come from."""
    return write_tiny_data(tmp_path_factory.mktemp("data"), train=False)


def test_every_task_runs_from_local_files(tiny: Path) -> None:
    names = list(all_tasks())
    tasks, _ = open_tasks([TaskChoice(name) for name in names], tiny)
    for task in tasks:
        task.set_fewshot_seed(1234)
    # Not simple_evaluate, which spends seconds on a description of the machine.
    results = evaluate(
        lm=Anything(),
        task_dict={"tasks": dict(zip(names, tasks, strict=True))},
        limit=2,
        bootstrap_iters=0,
        log_samples=True,
    )
    assert set(results["results"]) == set(names)
    for name, file in all_tasks().items():
        metrics = file.metrics if file else ()
        for metric in metrics:
            assert isinstance(results["results"][name][f"{metric},none"], float), (name, metric)
        assert len(results["samples"][name]) == 2
        assert task_baseline(results["samples"][name]) is not None
    chances = {
        "kotowari": 0.25,
        "jp_stable_jcommonsenseqa_0.5": 0.2,
        "jp_stable_xwinograd": 0.5,
        "jmmlu": 0.25,
    }
    for name, chance in chances.items():
        baseline = task_baseline(results["samples"][name])
        assert baseline is not None
        assert baseline.chance == pytest.approx(chance)


@pytest.mark.parametrize("data_set", SOURCES)
def test_the_hub_gives_the_same_examples_as_local_files(
    tiny: Path, monkeypatch: pytest.MonkeyPatch, data_set: str
) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(tiny))
    expected = {split: found.to_list() for split, found in load(data_set).items()}
    rows, hub = local_rows(data_set), SOURCES[data_set].hub
    if isinstance(hub, HubSet):
        there = DatasetDict({hub.splits[split]: Dataset.from_list(found) for split, found in rows.items()})
        monkeypatch.setattr("datasets.load_dataset", lambda path, name: there)
    else:
        paths = {file: str(local_file(data_set, split)) for split, file in hub.files.items()}
        monkeypatch.setattr("huggingface_hub.hf_hub_download", lambda path, file, repo_type: paths[file])
    monkeypatch.delenv(DATA_VARIABLE)
    assert {split: found.to_list() for split, found in load(data_set).items()} == expected


def test_a_subfolder_jglue_is_looked_into_and_both_kinds_of_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_tiny_data(tmp_path / "jglue")
    released = tmp_path / "jnli-v1.3"
    released.mkdir()
    (tmp_path / "jglue" / "jnli-valid.json").rename(released / "valid-v1.3.json")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert local_file("jsquad", TEST) == tmp_path / "jglue" / "jsquad-valid.json"
    assert local_file("jnli", TEST) == released / "valid-v1.3.json"
    assert set(load("jsquad", version=1.1)) == {TRAIN, TEST}


def test_examples_without_a_training_split_come_from_the_evaluated_one_but_never_the_question(
    without_train: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        (task,), _ = open_tasks([TaskChoice("jp_stable_jsquad_0.2", 2)], without_train)
    assert few_shot_split(task) == TEST
    assert "cannot stand beside published ones" in caplog.text
    task.set_fewshot_seed(0)
    for doc in task.eval_docs:
        for _ in range(5):
            text = task.fewshot_context(doc, num_fewshot=2)
            assert text.count(f"質問:{doc['question']}\n") == 1


def test_the_split_of_the_examples_can_be_asked(tiny: Path) -> None:
    choices = [TaskChoice("jp_stable_jsquad_0.2", 2), TaskChoice("aio"), TaskChoice("jmmlu")]
    tasks, _ = open_tasks(choices, tiny)
    assert [few_shot_split(task) for task in tasks] == [TRAIN, None, TEST]


def test_tasks_of_the_harness_leave_the_question_out_too(
    without_train: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        tasks, _ = open_tasks([TaskChoice(name) for name in LEADERBOARD], without_train)
    assert caplog.text.count("cannot stand beside published ones") == 7
    assert {task.config.task: few_shot_split(task) for task in tasks} == {
        "ja_leaderboard_jaqket_v2": "validation",
        "ja_leaderboard_jcommonsenseqa": "validation",
        "ja_leaderboard_jnli": "validation",
        "ja_leaderboard_jsquad": "validation",
        "ja_leaderboard_marc_ja": "validation",
        "ja_leaderboard_mgsm": "test",
        "ja_leaderboard_xlsum": "test",
        "ja_leaderboard_xwinograd": None,
    }
    jsquad = next(task for task in tasks if task.config.task == "ja_leaderboard_jsquad")
    jsquad.set_fewshot_seed(0)
    doc = jsquad.eval_docs[0]
    assert jsquad.fewshot_context(doc, num_fewshot=2).count(f"質問：{doc['question']}\n") == 1


def test_a_local_file_changes_nothing_else_of_a_task_of_the_harness(tiny: Path) -> None:
    (task,), _ = open_tasks([TaskChoice("ja_leaderboard_jcommonsenseqa")], tiny)
    assert (task.config.num_fewshot, few_shot_split(task)) == (3, "train")
    assert task.doc_to_text(task.eval_docs[0]) == (
        "### 指示：\n出力は以下から選択してください：\n- 空\n- 山\n- 海\n- 机\n- 箱\n\n"
        "### 入力：\n船が進むところは？\n\n### 応答："
    )


def test_missing_data_name_the_files_the_hub_and_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TsumuguError) as caught:
        open_tasks([TaskChoice("jp_stable_jsquad_0.2")], tmp_path)
    message = str(caught.value)
    assert "jsquad-valid.json" in message
    assert str(tmp_path / "jglue") in message
    assert "Rakuten/JGLUE" in message
    assert "--data DIR" in message


def test_missing_data_of_a_task_of_the_harness_are_told_in_the_same_way(tmp_path: Path) -> None:
    with pytest.raises(TsumuguError, match="the data set mgsm is not at hand.*mgsm_ja.tsv.*juletxara/mgsm"):
        open_tasks([TaskChoice("ja_leaderboard_mgsm")], tmp_path)


def test_files_beside_a_script_are_fetched_without_the_script(tmp_path: Path) -> None:
    with pytest.raises(TsumuguError, match="kumapo/JAQKET could not be loaded"):
        open_tasks([TaskChoice("jp_stable_jaqket_0.2")], tmp_path)


def test_a_folder_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TsumuguError, match="which is not a folder"):
        open_tasks([TaskChoice("aio")], tmp_path / "nowhere")


@pytest.mark.parametrize("text", ["{broken", '{"question": "何？"}', '{"data": 3}'])
def test_a_file_of_another_form_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "jsquad-valid.json").write_text(text, encoding="utf-8")
    with pytest.raises(TsumuguError, match="jsquad-valid.json does not look like jsquad"):
        open_tasks([TaskChoice("jp_stable_jsquad_0.2")], tmp_path)


def test_the_page_of_tasks_names_every_group_metric_and_local_file() -> None:
    page = (Path(__file__).parents[2] / "docs" / "tasks.md").read_text(encoding="utf-8")
    for source in SOURCES.values():
        for files in source.files.values():
            assert f"`{files[0]}`" in page
    assert all(f"`{group}" in page for group in GROUPS)
    for name, file in all_tasks().items():
        if file is not None:
            start = f"| `{name.rsplit('_0.', 1)[0]}"
            rows = [line for line in page.splitlines() if line.startswith(start)]
            (row,) = [line for line in rows if ("_title" in line) == ("_title" in name)]
            assert f"| {', '.join(file.metrics)} |" in row
            assert f" {file.metadata['version']} |" in row


def test_a_zip_file_of_subjects_is_read_as_the_folder_is(
    tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zipfile

    with zipfile.ZipFile(tmp_path / "JMMLU.zip", "w") as archive:
        for path in (tiny / "jmmlu").glob("*.csv"):
            archive.write(path, f"JMMLU/test/{path.name}")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    zipped = load("jmmlu")[TEST].to_list()
    monkeypatch.setenv(DATA_VARIABLE, str(tiny))
    assert zipped == load("jmmlu")[TEST].to_list()
    assert zipped[0]["subject"] == "anatomy"


@pytest.mark.skipif(
    not REAL_DATA or not Path(REAL_DATA, "jglue").is_dir(),
    reason="the folder named by TSUMUGU_DATA holds no jglue",
)
def test_the_real_jglue_files_have_all_questions() -> None:
    choices = [
        TaskChoice("jp_stable_jsquad_0.2", 2),
        TaskChoice("jp_stable_jcommonsenseqa_0.2.1", 3),
        TaskChoice("jp_stable_jnli_0.2", 3),
        TaskChoice("jsts", 4),
    ]
    tasks, _ = open_tasks(choices)
    assert [len(task.eval_docs) for task in tasks] == [4442, 1119, 2434, 1457]
    assert [few_shot_split(task) for task in tasks] == [TEST, TRAIN, TEST, TEST]
    for task, choice in zip(tasks, choices, strict=True):
        task.set_fewshot_seed(1234)
        for doc in task.eval_docs.select(range(0, 1000, 50)):
            text = task.fewshot_context(doc, num_fewshot=choice.num_fewshot)
            assert text.endswith(task.doc_to_text(doc))
            assert text.count(task.doc_to_text(doc)) == 1
