"""What is said about a task file with a slip of the pen."""

import shutil
from pathlib import Path

import pytest
from tiny_data import write_tiny_data

from tsumugu.errors import TsumuguError

pytest.importorskip("lm_eval")

from tsumugu.evaluation.tasks.data import DATA_VARIABLE
from tsumugu.evaluation.tasks.groups import TaskChoice
from tsumugu.evaluation.tasks.task_files import TASK_FOLDER
from tsumugu.evaluation.tasks.task_loading import open_tasks


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two files like ours, and data for them."""
    monkeypatch.setenv(DATA_VARIABLE, str(write_tiny_data(tmp_path / "data")))
    tasks = tmp_path / "tasks"
    tasks.mkdir()
    for name in ("_base.yaml", "aio.yaml"):
        shutil.copy(TASK_FOLDER / name, tasks / name)
    return tasks


def change(path: Path, before: str, after: str) -> None:
    text = path.read_text(encoding="utf-8")
    assert before in text
    path.write_text(text.replace(before, after), encoding="utf-8")


def test_a_folder_of_ones_own_files_can_be_opened(folder: Path) -> None:
    (task,), _ = open_tasks([TaskChoice("aio")], folder=folder)
    assert task.config.task == "aio"


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("doc_to_text:", "doc_to_txt:", "aio.yaml: there is no key 'doc_to_txt'; did you mean doc_to_text"),
        ("aggregation: mean, higher", "agregation: mean, higher", "metric_list has no key 'agregation'"),
        ("judging.quiz_answer", "judging.quiz_answr", "aio.yaml: AttributeError.*quiz_answr"),
        ("evaluation.tasks.judging", "evaluation.tasks.juding", "aio.yaml: ImportError.*juding"),
        ("{{ question }}", "{{ qestion }}", "aio.yaml: UndefinedError.*qestion"),
        ("{{ question }}", "{{ question }", "aio.yaml: TemplateSyntaxError"),
        ("include: _base.yaml", "include: _bse.yaml", "_bse.yaml, which .*aio.yaml includes, does not exist"),
        ("task: aio", "tsk: aio", "aio.yaml: there is no `task: NAME`"),
        ("num_fewshot: 0", "num_fewshot: [0", "aio.yaml is not YAML"),
        ("data_set: aio", "data_set: aoi", "there is no data set 'aoi'"),
        ("aggregation: mean", "aggregation: maen", "there is no aggregation 'maen'; did you mean mean"),
    ],
)
def test_a_slip_names_the_file_and_what_is_wrong(folder: Path, before: str, after: str, message: str) -> None:
    change(folder / "aio.yaml", before, after)
    with pytest.raises(TsumuguError, match=message):
        open_tasks([TaskChoice("aio")], folder=folder)


def test_two_files_of_one_name_are_refused(folder: Path) -> None:
    shutil.copy(folder / "aio.yaml", folder / "quiz.yaml")
    with pytest.raises(TsumuguError, match="quiz.yaml: the name aio is taken by .*aio.yaml"):
        open_tasks([TaskChoice("aio")], folder=folder)


def test_files_that_include_each_other_are_refused(folder: Path) -> None:
    change(folder / "_base.yaml", "test_split: test", "test_split: test\ninclude: _base.yaml")
    with pytest.raises(TsumuguError, match="includes itself"):
        open_tasks([TaskChoice("aio")], folder=folder)


def test_a_task_that_no_file_has_is_refused(folder: Path) -> None:
    with pytest.raises(TsumuguError, match="there is no task 'niilc'"):
        open_tasks([TaskChoice("niilc")], folder=folder)
