"""From names to tasks."""

import json
from pathlib import Path

import pytest

from tsumugu.cli import main
from tsumugu.errors import TsumuguError
from tsumugu.evaluation.tasks.groups import (
    GROUPS,
    LEADERBOARD,
    TEMPLATES,
    TaskChoice,
    all_tasks,
    group_texts,
    resolve_tasks,
)
from tsumugu.evaluation.tasks.listing import list_tasks
from tsumugu.evaluation.texts import read_group_text


def test_the_eight_tasks_have_the_examples_of_the_forks_suite() -> None:
    found = {choice.name: choice.num_fewshot for choice in resolve_tasks(["jp-stable-8"])}
    assert found == {
        "jp_stable_jsquad_0.2": 2,
        "jp_stable_jcommonsenseqa_0.2.1": 3,
        "jp_stable_jnli_0.2": 3,
        "jp_stable_marc_ja_0.2": 3,
        "jp_stable_jaqket_0.2": 1,
        "jp_stable_xlsum_0.0": 1,
        "jp_stable_xwinograd": 0,
        "jp_stable_mgsm_0.0": 5,
    }


def test_a_template_is_picked_with_a_colon() -> None:
    names = [choice.name for choice in resolve_tasks(["jp-stable-8:0.5"])]
    assert names == [
        "jp_stable_jsquad_0.5",
        "jp_stable_jcommonsenseqa_0.5",
        "jp_stable_jnli_0.5",
        "jp_stable_marc_ja_0.5",
        "jp_stable_jaqket_0.5",
        "jp_stable_xlsum_0.5",
        "jp_stable_xwinograd",
        "jp_stable_mgsm_0.5",
    ]


def test_line_2023_is_a_quiz_without_examples_and_jsquad_with_three() -> None:
    assert resolve_tasks(["line-2023"]) == [TaskChoice("aio", 0), TaskChoice("jp_stable_jsquad_0.2", 3)]


def test_every_group_with_every_template_has_its_task_files() -> None:
    known = all_tasks()
    for group in ("jp-stable-8", "line-2023", "quick"):
        for template in TEMPLATES:
            for choice in resolve_tasks([f"{group}:{template}"]):
                assert choice.name in known
    assert all(choice.name in known for choices in GROUPS.values() for choice in choices)


def test_the_harness_group_is_there_as_it_is() -> None:
    assert resolve_tasks(["japanese_leaderboard"]) == [TaskChoice(name) for name in LEADERBOARD]


def test_a_task_alone_has_the_examples_of_its_file() -> None:
    assert resolve_tasks(["kotowari", "kotowari"]) == [TaskChoice("kotowari")]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("jsquad_0.2", "did you mean jp_stable_jsquad_0.2"),
        ("jp-stable-9", "did you mean jp-stable-8"),
        ("kotowri", "did you mean kotowari"),
        ("zzz", "docs/tasks.md"),
        ("jp-stable-8:0.7", "there is no template '0.7'"),
    ],
)
def test_an_unknown_name_is_refused_with_what_was_probably_meant(name: str, message: str) -> None:
    with pytest.raises(TsumuguError, match=message):
        resolve_tasks([name])


def test_one_task_in_two_ways_is_refused() -> None:
    with pytest.raises(TsumuguError, match="jp_stable_jsquad_0.2 is asked for twice: with 3 examples on all"):
        resolve_tasks(["line-2023", "quick"])


def test_every_task_file_names_version_source_licence_and_examples() -> None:
    for name, file in all_tasks().items():
        if file is None:
            continue
        assert {"version", "source", "license"} <= set(file.metadata), name
        assert isinstance(file.contents["num_fewshot"], int), name
        assert file.metrics, name


def test_every_task_and_group_is_listed(capsys: pytest.CaptureFixture[str]) -> None:
    listing = list_tasks()
    assert {task.name for task in listing.tasks} == set(all_tasks())
    assert set(listing.groups) == set(GROUPS)
    assert "text c4-ja-validation" in listing.groups["line-2023"]
    assert main(["evaluate", "tasks"]) == 0
    assert "jp_stable_jsquad_0.2" in capsys.readouterr().out


def test_the_text_of_a_group_comes_from_local_files_first(tmp_path: Path) -> None:
    (text,) = group_texts(["line-2023:0.5", "kotowari"])
    documents = [json.dumps({"text": f"{number}番目の文書。"}) for number in range(5)]
    (tmp_path / "c4-ja-validation.00000.json").write_text("\n".join(documents) + "\n", encoding="utf-8")
    found = read_group_text(text, data=tmp_path, limit=3)
    assert found.name == "c4-ja-validation"
    assert [(one.source, one.text) for one in found.documents] == [
        ("c4-ja-validation", f"{number}番目の文書。") for number in range(3)
    ]
    assert group_texts(["quick", "jp-stable-8"]) == []
