"""The prompts of the task files, character for character."""

from collections.abc import Iterator
from typing import Any

import pytest
from jp_stable_prompts import EXPECTED
from tiny_data import write_tiny_data

pytest.importorskip("lm_eval")

from tsumugu.evaluation.tasks.data import DATA_VARIABLE
from tsumugu.evaluation.tasks.groups import TaskChoice
from tsumugu.evaluation.tasks.task_files import read_task_files
from tsumugu.evaluation.tasks.task_loading import open_tasks


@pytest.fixture(scope="module")
def tasks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    """Every task of ours, with few questions."""
    folder = write_tiny_data(tmp_path_factory.mktemp("data"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_VARIABLE, str(folder))
        names = list(read_task_files())
        opened, _ = open_tasks([TaskChoice(name) for name in names])
        yield dict(zip(names, opened, strict=True))


def prompt(task: Any, *, shots: int = 1) -> str:
    """The prompt of a task's first question, with examples that it draws itself."""
    task.set_fewshot_seed(1234)
    text = task.fewshot_context(task.eval_docs[0], num_fewshot=shots)
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("name", EXPECTED)
def test_prompts_are_those_of_jp_stable(
    tasks: dict[str, Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    task = tasks[f"jp_stable_{name}"]
    # Where the training split holds one example over and over, the first is as good as the second.
    example = task.fewshot_docs()[0 if name.startswith(("jsquad", "jcommonsenseqa")) else 1]
    monkeypatch.setattr(task.sampler, "sample", lambda n, **_: [example])
    assert task.fewshot_context(task.eval_docs[0], num_fewshot=1) == EXPECTED[name]


def test_these_are_all_files_of_jp_stable(tasks: dict[str, Any]) -> None:
    names = {name for name in tasks if name.startswith("jp_stable_")}
    assert names == {f"jp_stable_{name}" for name in EXPECTED} | {"jp_stable_xwinograd"}


def test_without_examples_only_the_description_stands_before_the_question(
    tasks: dict[str, Any],
) -> None:
    assert prompt(tasks["jp_stable_jsquad_0.2"], shots=0) == (
        "質問に対する回答を文章から一言で抽出してください。回答は名詞で答えてください。\n\n"
        "文章:富士山は日本一高い山である。\n質問:日本一高い山は。\n回答:"
    )
    assert prompt(tasks["jp_stable_xwinograd"], shots=0) == ""


def test_the_quiz_prompt_is_flexevals(
    tasks: dict[str, Any],
) -> None:
    assert prompt(tasks["aio"], shots=0) == "問0の答えは何でしょう？答えは「"


def test_llm_jp_prompts_begin_with_the_first_examples_of_the_training_split(
    tasks: dict[str, Any],
) -> None:
    head = (
        "以下はタスクを説明する指示と、追加の背景情報を提供する入力の組み合わせです。要求を適切に満たす回答を書いてください。\n"
        "### 指示\n質問に対する答えを出力してください。回答の他には何も含めないことを厳守してください。"
        "答えが複数の場合、コンマ（,）で繋げてください。\n\n"
    )
    assert prompt(tasks["niilc"], shots=2) == (
        f"{head}### 入力：\n質問：問0の答えは何でしょう？\n### 回答：\n答0\n\n"
        "### 入力：\n質問：問1の答えは何でしょう？\n### 回答：\n答1\n\n"
        "### 入力：\n質問：問0の答えは何でしょう？\n### 回答：\n"
    )
    assert prompt(tasks["jemhopqa"], shots=1).endswith(
        "### 入力：\n質問：0と5、大きいのは？\n### 回答：\n5\n\n"
        "### 入力：\n質問：0と5、大きいのは？\n### 回答：\n"
    )
    assert prompt(tasks["jsts"], shots=1).endswith(
        "### 入力：\n文1：猫が0匹。\n文2：猫がいる。\n### 回答：\n0.0\n\n"
        "### 入力：\n文1：猫が0匹。\n文2：猫がいる。\n### 回答：\n"
    )


def test_jmmlu_shows_other_questions_of_the_same_subject(
    tasks: dict[str, Any],
) -> None:
    text = prompt(tasks["jmmlu"], shots=2)
    assert text.endswith(
        "質問:: anatomyの問1は？, 選択肢::\n 甲1\n 乙1\n 丙1\n 丁1, 回答:: 乙1\n"
        "質問:: anatomyの問2は？, 選択肢::\n 甲2\n 乙2\n 丙2\n 丁2, 回答:: 丙2\n"
        "質問:: anatomyの問0は？, 選択肢::\n 甲0\n 乙0\n 丙0\n 丁0, 回答::"
    )
    assert "japanese_history" not in text


def test_three_examples_of_jnli_are_one_of_each_label(tasks: dict[str, Any]) -> None:
    task = tasks["jp_stable_jnli_0.2"]
    task.set_fewshot_seed(1)
    orders = set()
    for _ in range(20):
        drawn = [one["label"] for one in task.sampler.sample(3)]
        assert sorted(drawn) == [0, 1, 2]
        orders.add(tuple(drawn))
    assert len(orders) > 2
    assert sorted(one["label"] for one in task.sampler.sample(4, eval_doc=task.eval_docs[0])) == [0, 1, 2, 2]


@pytest.mark.parametrize(
    ("name", "stop", "longest", "margin"),
    [
        ("jp_stable_jsquad_0.2", "\n", ["富士山"], 0),
        ("jp_stable_jsquad_0.4", "<NL>", ["富士山"], 0),
        ("jp_stable_jaqket_0.5", "\n", ["答0", "別解"], 0),
        ("jp_stable_xlsum_0.0", "\n", ["要約0"], 10),
    ],
)
def test_an_answer_may_be_as_long_as_the_longest_gold_answer(
    tasks: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    stop: str,
    longest: list[str],
    margin: int,
) -> None:
    task = tasks[name]
    doc = task.eval_docs[0]
    request = task.construct_requests(doc, "文脈", metadata=(name, 0, 1))
    assert request.arguments[0] == "文脈"
    assert request.arguments[1]["until"] == [stop]
    assert request.arguments[1]["longest_of"] == longest
    assert request.arguments[1]["longest_of_margin"] == margin
    # Other models of the harness would refuse a key that they do not know.
    monkeypatch.setattr(task, "dynamic_length", False)
    assert "longest_of" not in task.construct_requests(doc, "文脈", metadata=(name, 0, 1)).arguments[1]


def test_jcommonsenseqa_0_2_scores_texts_although_its_examples_are_numbers(
    tasks: dict[str, Any],
) -> None:
    task = tasks["jp_stable_jcommonsenseqa_0.2"]
    requests = task.construct_requests(task.eval_docs[0], "文脈", metadata=("", 0, 1))
    assert [request.arguments for request in requests] == [
        ("文脈", choice) for choice in ["空", "山", "海", "机", "箱"]
    ]
