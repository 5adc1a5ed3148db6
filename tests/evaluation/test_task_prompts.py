"""The prompts of jp-stable, character for character, with one example before the question.

The expected texts were written from the fork's classes (DESCRIPTION, doc_to_text, doc_to_target and
FEWSHOT_SEP), not from our files.
"""

from pathlib import Path
from typing import Any

import pytest

from tiny_data import write_tiny_data

pytest.importorskip("lm_eval")

from tsumugu.evaluation.data import DATA_VARIABLE
from tsumugu.evaluation.groups import TaskChoice
from tsumugu.evaluation.task_loading import open_tasks

ALPACA = "以下は、タスクを説明する指示と、文脈のある入力の組み合わせです。要求を適切に満たす応答を書きなさい。\n\n"
EXTRACT = "与えられた文脈から、質問に対する答えを抜き出してください。"

JSQUAD = {
    "jsquad_0.1": (
        "[題名]と[問題]から[質問]に対する[答え]を抜き出しなさい\n\n"
        "[題名]:梅雨\n[問題]:梅雨は雨の多い時期である。\n[質問]:梅雨とは何か。\n[答え]:雨の多い時期\n\n"
        "[題名]:富士山\n[問題]:富士山は日本一高い山である。\n[質問]:日本一高い山は。\n[答え]:"
    ),
    "jsquad_0.2": (
        "質問に対する回答を文章から一言で抽出してください。回答は名詞で答えてください。\n\n"
        "文章:梅雨は雨の多い時期である。\n質問:梅雨とは何か。\n回答:雨の多い時期\n\n"
        "文章:富士山は日本一高い山である。\n質問:日本一高い山は。\n回答:"
    ),
    "jsquad_title_0.2": (
        "質問に対する回答を題名と文章から一言で抽出してください。回答は名詞で答えてください。\n\n"
        "題名:梅雨\n文章:梅雨は雨の多い時期である。\n質問:梅雨とは何か。\n回答:雨の多い時期\n\n"
        "題名:富士山\n文章:富士山は日本一高い山である。\n質問:日本一高い山は。\n回答:"
    ),
    "jsquad_0.3": (
        f"{ALPACA}### 指示:\n{EXTRACT}\n\n"
        "### 入力:\n文脈：梅雨は雨の多い時期である。\n質問：梅雨とは何か。\n\n### 応答:\n雨の多い時期\n\n"
        f"### 指示:\n{EXTRACT}\n\n"
        "### 入力:\n文脈：富士山は日本一高い山である。\n質問：日本一高い山は。\n\n### 応答:\n"
    ),
    "jsquad_title_0.3": (
        f"{ALPACA}### 指示:\n{EXTRACT}\n\n"
        "### 入力:\n文脈：梅雨\n梅雨は雨の多い時期である。\n質問：梅雨とは何か。\n\n### 応答:\n雨の多い時期\n\n"
        f"### 指示:\n{EXTRACT}\n\n"
        "### 入力:\n文脈：富士山\n富士山は日本一高い山である。\n質問：日本一高い山は。\n\n### 応答:\n"
    ),
    "jsquad_0.4": (
        f"ユーザー: {EXTRACT}<NL>システム: 分かりました。<NL>"
        "ユーザー: 文脈：梅雨は雨の多い時期である。<NL>質問：梅雨とは何か。<NL>システム: 雨の多い時期<NL>"
        "ユーザー: 文脈：富士山は日本一高い山である。<NL>質問：日本一高い山は。<NL>システム: "
    ),
    "jsquad_title_0.4": (
        f"ユーザー: {EXTRACT}<NL>システム: 分かりました。<NL>"
        "ユーザー: 文脈：梅雨<NL>梅雨は雨の多い時期である。<NL>質問：梅雨とは何か。<NL>システム: 雨の多い時期<NL>"
        "ユーザー: 文脈：富士山<NL>富士山は日本一高い山である。<NL>質問：日本一高い山は。<NL>システム: "
    ),
    "jsquad_0.5": (
        f"ユーザー: {EXTRACT}\nシステム: 分かりました。\n"
        "ユーザー: 文脈：梅雨は雨の多い時期である。\n質問：梅雨とは何か。\nシステム: 雨の多い時期\n"
        "ユーザー: 文脈：富士山は日本一高い山である。\n質問：日本一高い山は。\nシステム: "
    ),
    "jsquad_title_0.5": (
        f"ユーザー: {EXTRACT}\nシステム: 分かりました。\n"
        "ユーザー: 文脈：梅雨\n梅雨は雨の多い時期である。\n質問：梅雨とは何か。\nシステム: 雨の多い時期\n"
        "ユーザー: 文脈：富士山\n富士山は日本一高い山である。\n質問：日本一高い山は。\nシステム: "
    ),
}

CHOOSE = "与えられた選択肢の中から、最適な答えを選んでください。"
JCOMMONSENSEQA = {
    "jcommonsenseqa_0.1": (
        "[問題]に対する[答え]を[選択肢]の中から選んでください。\n\n"
        "[問題]:木を切る道具は？\n[選択肢]:[のこぎり, 鉛筆, 皿, 靴, 傘]\n[答え]:のこぎり\n\n"
        "[問題]:船が進むところは？\n[選択肢]:[空, 山, 海, 机, 箱]\n[答え]:"
    ),
    # The example answers with a number; what is scored are the texts all the same.
    "jcommonsenseqa_0.2": (
        "質問と回答の選択肢を入力として受け取り、選択肢から回答を選択してください。"
        "なお、回答は選択肢の番号(例:0)でするものとします。 \n\n"
        "質問:木を切る道具は？\n選択肢:0.のこぎり,1.鉛筆,2.皿,3.靴,4.傘\n回答:0\n\n"
        "質問:船が進むところは？\n選択肢:0.空,1.山,2.海,3.机,4.箱\n回答:"
    ),
    "jcommonsenseqa_0.2.1": (
        f"{CHOOSE} \n\n"
        "質問：木を切る道具は？\n選択肢：\n- のこぎり\n- 鉛筆\n- 皿\n- 靴\n- 傘\n回答：のこぎり\n\n"
        "質問：船が進むところは？\n選択肢：\n- 空\n- 山\n- 海\n- 机\n- 箱\n回答："
    ),
    "jcommonsenseqa_0.3": (
        f"{ALPACA}### 指示:\n{CHOOSE}出力は以下から選択してください：\n- のこぎり\n- 鉛筆\n- 皿\n- 靴\n- 傘\n\n"
        "### 入力:\n木を切る道具は？\n\n### 応答:\nのこぎり\n\n"
        f"### 指示:\n{CHOOSE}出力は以下から選択してください：\n- 空\n- 山\n- 海\n- 机\n- 箱\n\n"
        "### 入力:\n船が進むところは？\n\n### 応答:\n"
    ),
    "jcommonsenseqa_0.4": (
        f"ユーザー: {CHOOSE}<NL>システム: 分かりました。<NL>"
        "ユーザー: 質問：木を切る道具は？<NL>選択肢：<NL>- のこぎり<NL>- 鉛筆<NL>- 皿<NL>- 靴<NL>- 傘<NL>システム: のこぎり<NL>"
        "ユーザー: 質問：船が進むところは？<NL>選択肢：<NL>- 空<NL>- 山<NL>- 海<NL>- 机<NL>- 箱<NL>システム: "
    ),
    "jcommonsenseqa_0.5": (
        f"ユーザー: {CHOOSE}\nシステム: 分かりました。\n"
        "ユーザー: 質問：木を切る道具は？\n選択肢：\n- のこぎり\n- 鉛筆\n- 皿\n- 靴\n- 傘\nシステム: のこぎり\n"
        "ユーザー: 質問：船が進むところは？\n選択肢：\n- 空\n- 山\n- 海\n- 机\n- 箱\nシステム: "
    ),
}

RELATION = "与えられた前提と仮説の関係を回答してください。"
JNLI = {
    "jnli_0.2": (
        "前提と仮説の関係を含意、矛盾、中立の中から回答してください。\n\n制約:\n"
        "- 前提から仮説が、論理的知識や常識的知識を用いて導出可能である場合は含意と出力\n"
        "- 前提と仮説が両立しえない場合は矛盾と出力\n"
        "- そのいずれでもない場合は中立と出力\n\n"
        "前提:犬が1匹走る。\n仮説:動物が走る。\n関係:矛盾\n\n"
        "前提:犬が0匹走る。\n仮説:動物が走る。\n関係:"
    ),
    "jnli_0.3": (
        f"{ALPACA}### 指示:\n{RELATION}\n\n出力は以下から選択してください：\n含意\n矛盾\n中立\n\n"
        "### 入力:\n前提：犬が1匹走る。\n仮説：動物が走る。\n\n### 応答:\n矛盾\n\n"
        f"### 指示:\n{RELATION}\n\n出力は以下から選択してください：\n含意\n矛盾\n中立\n\n"
        "### 入力:\n前提：犬が0匹走る。\n仮説：動物が走る。\n\n### 応答:\n"
    ),
    "jnli_0.4": (
        f"ユーザー: {RELATION}出力は以下から選択してください：<NL>含意<NL>矛盾<NL>中立<NL>システム: 分かりました。<NL>"
        "ユーザー: 前提：犬が1匹走る。<NL>仮説：動物が走る。<NL>システム: 矛盾<NL>"
        "ユーザー: 前提：犬が0匹走る。<NL>仮説：動物が走る。<NL>システム: "
    ),
    "jnli_0.5": (
        f"ユーザー: {RELATION}出力は以下から選択してください：\n含意\n矛盾\n中立\nシステム: 分かりました。\n"
        "ユーザー: 前提：犬が1匹走る。\n仮説：動物が走る。\nシステム: 矛盾\n"
        "ユーザー: 前提：犬が0匹走る。\n仮説：動物が走る。\nシステム: "
    ),
}

FEELING = "製品レビューを、ポジティブまたはネガティブの感情クラスのいずれかに分類してください。"
MARC_JA = {
    "marc_ja_0.2": (
        "製品レビューをnegativeかpositiveのいずれかのセンチメントに分類してください。出力は小文字化してください。 \n\n"
        "製品レビュー:1回使いました。良い。\nセンチメント:negative\n\n"
        "製品レビュー:0回使いました。良い。\nセンチメント:"
    ),
    "marc_ja_0.3": (
        f"{ALPACA}### 指示:\n以下の{FEELING}\n\n### 入力:\n1回使いました。良い。\n\n### 応答:\nネガティブ\n\n"
        f"### 指示:\n以下の{FEELING}\n\n### 入力:\n0回使いました。良い。\n\n### 応答:\n"
    ),
    "marc_ja_0.4": (
        f"ユーザー: 与えられた{FEELING}<NL>システム: 分かりました。<NL>"
        "ユーザー: 1回使いました。良い。<NL>システム: ネガティブ<NL>ユーザー: 0回使いました。良い。<NL>システム: "
    ),
    "marc_ja_0.5": (
        f"ユーザー: 与えられた{FEELING}\nシステム: 分かりました。\n"
        "ユーザー: 1回使いました。良い。\nシステム: ネガティブ\nユーザー: 0回使いました。良い。\nシステム: "
    ),
}

BRACKETS = "".join(f"[題名]:題{n}\n[問題]:本文{n}。\n" for n in range(5))
LINES, NL_LINES = "\n".join(f"本文{n}。" for n in range(5)), "<NL>".join(f"本文{n}。" for n in range(5))
JAQKET = {
    "jaqket_0.1": (
        "[題名]と[問題]から[質問]に対する[答え]を抜き出しなさい\n\n"
        f"{BRACKETS}[質問]:問1の答えは何でしょう？\n[答え]:答1\n\n{BRACKETS}[質問]:問0の答えは何でしょう？\n[答え]:"
    ),
    "jaqket_0.2": (
        "質問に対する回答を文章から一言で抽出してください。回答は名詞で答えてください。\n\n"
        f"文章:{LINES}\n質問:問1の答えは何でしょう？\n回答:答1\n\n文章:{LINES}\n質問:問0の答えは何でしょう？\n回答:"
    ),
    "jaqket_0.3": (
        f"{ALPACA}### 指示:\n{EXTRACT}\n\n### 入力:\n文脈：{LINES}\n質問：問1の答えは何でしょう？\n\n### 応答:\n答1\n\n"
        f"### 指示:\n{EXTRACT}\n\n### 入力:\n文脈：{LINES}\n質問：問0の答えは何でしょう？\n\n### 応答:\n"
    ),
    "jaqket_0.4": (
        f"ユーザー: {EXTRACT}<NL>システム: 分かりました。<NL>"
        f"ユーザー: 文脈：{NL_LINES}<NL>質問：問1の答えは何でしょう？<NL>システム: 答1<NL>"
        f"ユーザー: 文脈：{NL_LINES}<NL>質問：問0の答えは何でしょう？<NL>システム: "
    ),
    "jaqket_0.5": (
        f"ユーザー: {EXTRACT}\nシステム: 分かりました。\n"
        f"ユーザー: 文脈：{LINES}\n質問：問1の答えは何でしょう？\nシステム: 答1\n"
        f"ユーザー: 文脈：{LINES}\n質問：問0の答えは何でしょう？\nシステム: "
    ),
}

SUMMARIZE = "与えられたニュース記事を要約してください。"
XLSUM = {
    "xlsum_0.0": f"{SUMMARIZE}\n\nニュース記事:記事1の本文。\n要約:要約1\n\nニュース記事:記事0の本文。\n要約:",
    "xlsum_0.3": (
        f"{ALPACA}### 指示:\n{SUMMARIZE}\n\n### 入力:\nニュース記事:記事1の本文。\n\n### 応答:\n要約1\n\n"
        f"### 指示:\n{SUMMARIZE}\n\n### 入力:\nニュース記事:記事0の本文。\n\n### 応答:\n"
    ),
    "xlsum_0.4": (
        f"ユーザー: {SUMMARIZE}<NL>システム: 分かりました。<NL>"
        "ユーザー: ニュース記事:記事1の本文。<NL>システム: 要約1<NL>ユーザー: ニュース記事:記事0の本文。<NL>システム: "
    ),
    "xlsum_0.5": (
        f"ユーザー: {SUMMARIZE}\nシステム: 分かりました。\n"
        "ユーザー: ニュース記事:記事1の本文。\nシステム: 要約1\nユーザー: ニュース記事:記事0の本文。\nシステム: "
    ),
}

APPLES, ADD = "りんごが3個あり、4個もらうと何個ですか？", "1に4を足すと？"
STEPS = "3に4を足すと7です。答えは7です。"
EXPLAIN = "与えられた問題をステップごとに解説してください。"
STEPWISE = "与えられた問題に対して、ステップごとに答えを導き出してください。"
MGSM = {
    "mgsm_0.0": f"問題：{ADD}\nステップごとの答え：{STEPS}\n\n問題：{APPLES}\nステップごとの答え：",
    "mgsm_0.3": (
        f"{ALPACA}### 指示:\n{STEPWISE}\n\n### 入力:\n{ADD}\n\n### 応答:\n{STEPS}\n\n"
        f"### 指示:\n{STEPWISE}\n\n### 入力:\n{APPLES}\n\n### 応答:\n"
    ),
    "mgsm_0.4": (
        f"ユーザー: {EXPLAIN}<NL>システム: 分かりました。<NL>"
        f"ユーザー: 問題：{ADD}<NL>システム: ステップごとの答え：{STEPS}<NL>"
        f"ユーザー: 問題：{APPLES}<NL>システム: ステップごとの答え："
    ),
    # The fork leaves <NL> in this prompt, and so do we.
    "mgsm_0.5": (
        f"ユーザー: {EXPLAIN}\nシステム: 分かりました。\n"
        f"ユーザー: 問題：{ADD}<NL>システム: ステップごとの答え：{STEPS}\n"
        f"ユーザー: 問題：{APPLES}<NL>システム: ステップごとの答え："
    ),
}

EXPECTED = JSQUAD | JCOMMONSENSEQA | JNLI | MARC_JA | JAQKET | XLSUM | MGSM


@pytest.fixture(scope="module", autouse=True)
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """Few questions of every data set."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(DATA_VARIABLE, str(write_tiny_data(tmp_path_factory.mktemp("data"))))
        yield


def prompt(name: str, *, example: int | None = None, shots: int = 1) -> str:
    """The prompt of a task's first question; with one fixed example, or with those it draws itself."""
    ((task,), _) = open_tasks([TaskChoice(name, shots)])
    if example is not None:
        fixed = list(task.fewshot_docs())[example]
        task.sampler.sample = lambda n, **_: [fixed]
    else:
        task.set_fewshot_seed(1234)
    text = task.fewshot_context(task.eval_docs[0], num_fewshot=shots)
    assert isinstance(text, str)
    return text


@pytest.mark.parametrize("name", EXPECTED)
def test_prompts_are_those_of_jp_stable(name: str) -> None:
    # Where the training split holds one example over and over, the first is as good as the second.
    example = 0 if name.startswith(("jsquad", "jcommonsenseqa")) else 1
    assert prompt(f"jp_stable_{name}", example=example) == EXPECTED[name]


def test_these_are_all_files_of_jp_stable() -> None:
    from tsumugu.evaluation.groups import all_tasks

    names = {name for name in all_tasks() if name.startswith("jp_stable_")}
    assert names == {f"jp_stable_{name}" for name in EXPECTED} | {"jp_stable_xwinograd"}


def test_without_examples_only_the_description_stands_before_the_question() -> None:
    assert prompt("jp_stable_jsquad_0.2", shots=0) == (
        "質問に対する回答を文章から一言で抽出してください。回答は名詞で答えてください。\n\n"
        "文章:富士山は日本一高い山である。\n質問:日本一高い山は。\n回答:"
    )
    assert prompt("jp_stable_xwinograd", shots=0) == ""


def test_the_quiz_prompt_is_flexevals() -> None:
    assert prompt("aio", shots=0) == "問0の答えは何でしょう？答えは「"


def test_llm_jp_prompts_begin_with_the_first_examples_of_the_training_split() -> None:
    head = (
        "以下はタスクを説明する指示と、追加の背景情報を提供する入力の組み合わせです。要求を適切に満たす回答を書いてください。\n"
        "### 指示\n質問に対する答えを出力してください。回答の他には何も含めないことを厳守してください。"
        "答えが複数の場合、コンマ（,）で繋げてください。\n\n"
    )
    assert prompt("niilc", shots=2) == (
        f"{head}### 入力：\n質問：問0の答えは何でしょう？\n### 回答：\n答0\n\n"
        "### 入力：\n質問：問1の答えは何でしょう？\n### 回答：\n答1\n\n"
        "### 入力：\n質問：問0の答えは何でしょう？\n### 回答：\n"
    )
    assert prompt("jemhopqa", shots=1).endswith(
        "### 入力：\n質問：0と5、大きいのは？\n### 回答：\n5\n\n### 入力：\n質問：0と5、大きいのは？\n### 回答：\n"
    )
    assert prompt("jsts", shots=1).endswith(
        "### 入力：\n文1：猫が0匹。\n文2：猫がいる。\n### 回答：\n0.0\n\n"
        "### 入力：\n文1：猫が0匹。\n文2：猫がいる。\n### 回答：\n"
    )


def test_jmmlu_shows_other_questions_of_the_same_subject() -> None:
    text = prompt("jmmlu", shots=2)
    assert text.endswith(
        "質問:: anatomyの問1は？, 選択肢::\n 甲1\n 乙1\n 丙1\n 丁1, 回答:: 乙1\n"
        "質問:: anatomyの問2は？, 選択肢::\n 甲2\n 乙2\n 丙2\n 丁2, 回答:: 丙2\n"
        "質問:: anatomyの問0は？, 選択肢::\n 甲0\n 乙0\n 丙0\n 丁0, 回答::"
    )
    assert "japanese_history" not in text


def test_three_examples_of_jnli_are_one_of_each_label(tmp_path: Path) -> None:
    ((task,), _) = open_tasks([TaskChoice("jp_stable_jnli_0.2", 3)])
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
    name: str, stop: str, longest: list[str], margin: int
) -> None:
    ((task,), _) = open_tasks([TaskChoice(name, 0)])
    doc = task.eval_docs[0]
    request = task.construct_requests(doc, "文脈", metadata=(name, 0, 1))
    assert request.arguments[0] == "文脈"
    assert request.arguments[1]["until"] == [stop]
    assert request.arguments[1]["longest_of"] == longest
    assert request.arguments[1]["longest_of_margin"] == margin
    # Other models of the harness would refuse a key that they do not know.
    task.dynamic_length = False
    assert "longest_of" not in task.construct_requests(doc, "文脈", metadata=(name, 0, 1)).arguments[1]


def test_jcommonsenseqa_0_2_scores_texts_although_its_examples_are_numbers() -> None:
    ((task,), _) = open_tasks([TaskChoice("jp_stable_jcommonsenseqa_0.2")])
    requests = task.construct_requests(task.eval_docs[0], "文脈", metadata=("", 0, 1))
    assert [request.arguments for request in requests] == [
        ("文脈", choice) for choice in ["空", "山", "海", "机", "箱"]
    ]
