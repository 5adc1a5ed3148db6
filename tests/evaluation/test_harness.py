"""Tasks through the harness: on real questions the scores of its own `hf` model, item by item."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from small_models import write_small_model
from workers import Workers

from tsumugu.evaluation.harness import TaskResult, open_together, run_tasks
from tsumugu.evaluation.subject import open_subject
from tsumugu.evaluation.tasks.groups import TaskChoice

KOTOWARI = [TaskChoice("kotowari", 0, limit=31)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, finished_run: Path) -> Path:
    """A model that sees few-shot prompts whole."""
    path = tmp_path_factory.mktemp("model") / "neox"
    return write_small_model(path, finished_run / "release", "gpt_neox", positions=4096)


@pytest.fixture(scope="module")
def jglue() -> Path:
    """A folder with JCommonsenseQA, JNLI and JSQuAD."""
    path = Path(os.environ.get("TSUMUGU_DATA", ""))
    if not os.environ.get("TSUMUGU_DATA") or not (path / "jglue" / "jsquad-valid.json").is_file():
        pytest.skip("the folder named by TSUMUGU_DATA holds no jglue/jsquad-valid.json")
    return path


@pytest.mark.parametrize(
    ("task", "shots", "limit", "metric"),
    [
        ("ja_leaderboard_jcommonsenseqa", 3, 8, "acc"),
        ("ja_leaderboard_jnli", 3, 8, "acc"),
        ("ja_leaderboard_jsquad", 1, 3, "exact_match"),
        ("jp_stable_jcommonsenseqa_0.2.1", 3, 8, "acc"),
        ("jp_stable_jsquad_0.5", 1, 3, "f1"),
    ],
)
def test_scores_are_those_of_the_harness(
    folder: Path, jglue: Path, task: str, shots: int, limit: int, metric: str
) -> None:
    from lm_eval.evaluator import evaluate
    from lm_eval.models.huggingface import HFLM

    choice = TaskChoice(task, shots, limit)
    (opened,) = open_together([choice], jglue)
    # The harness's model does not know what an answer's length should depend on.
    opened.dynamic_length = False
    if opened.config.output_type == "generate_until":
        opened.set_config(key="generation_kwargs", value={"max_gen_toks": 24}, update=True)
    opened.set_fewshot_seed(seed=1234)
    theirs = evaluate(
        lm=HFLM(str(folder), device="cpu", dtype="float32", batch_size=4),
        task_dict={"tasks": {task: opened}, "groups": {}},
        limit=limit,
        bootstrap_iters=0,
    )
    expected = {sample["doc_id"]: sample for sample in theirs["samples"][task]}

    from tsumugu.evaluation.answering import TsumuguLM
    from tsumugu.evaluation.harness import evaluate_tasks

    answering = TsumuguLM(open_subject(str(folder)), batch_size=3, quiet=True)
    found = evaluate_tasks(answering, [choice], [opened])[task]
    assert found.facts["questions"] == len(expected) == limit
    assert found.facts["main_metric"] in found.facts["metrics"]
    for item in found.items:
        assert item[metric] == pytest.approx(expected[item["id"]][metric])
        assert item["hash"] == expected[item["id"]]["doc_hash"]
    mean = sum(item[metric] for item in found.items) / limit
    assert found.facts["metrics"][metric]["value"] == pytest.approx(mean)


def test_results_say_what_a_score_is_worth(folder: Path) -> None:
    result = run_tasks(open_subject(str(folder)), KOTOWARI, batch_size=8, quiet=True)["kotowari"]
    facts = result.facts
    assert (facts["questions"], facts["num_fewshot"], facts["few_shot_from"]) == (31, 0, None)
    assert facts["chance"] == pytest.approx(0.25)
    assert 0.25 <= facts["majority"] < 0.5
    accuracy = facts["metrics"]["acc"]["value"]
    assert facts["metrics"]["acc"]["stderr"] == pytest.approx((accuracy * (1 - accuracy) / 30) ** 0.5)
    assert facts["truncated"] == facts["empty"] == 0
    assert [item["id"] for item in result.items] == list(range(31))
    assert len(result.texts) == 31
    assert all(text for text in result.texts)


def test_a_prompt_that_does_not_fit_is_counted(tmp_path: Path, finished_run: Path) -> None:
    path = write_small_model(tmp_path / "short", finished_run / "release", "gpt_neox", positions=24)
    facts = run_tasks(open_subject(str(path)), KOTOWARI, batch_size=8, quiet=True)["kotowari"].facts
    assert facts["truncated"] > 20


def answered(rank: int, folder: Path, cache: Path, shots: int = 0) -> Any:
    choices = [TaskChoice("kotowari", shots, limit=31)]
    found = run_tasks(open_subject(str(folder)), choices, batch_size=4, cache=cache, quiet=True)
    return found.get("kotowari")


def asked(cache: Path) -> set[str]:
    """The keys of all answers, which are hashes of prompts."""
    lines = [line for path in cache.glob("answers-*") for line in path.read_text().splitlines()]
    return {json.loads(line)[0] for line in lines}


def test_processes_show_the_examples_that_one_process_shows(
    workers: Workers, folder: Path, tmp_path: Path
) -> None:
    alone = answered(0, folder, tmp_path / "one", 2)
    first, _ = workers.run(answered, 2, folder, tmp_path / "two", 2)
    assert first.items == alone.items
    assert asked(tmp_path / "two") == asked(tmp_path / "one")
    assert len(asked(tmp_path / "one")) == 4 * 31


def test_processes_that_share_the_questions_get_the_scores_of_one(
    workers: Workers, folder: Path, tmp_path: Path
) -> None:
    alone = run_tasks(open_subject(str(folder)), KOTOWARI, batch_size=4, quiet=True)["kotowari"]
    first, second = workers.run(answered, 2, folder, tmp_path / "answers")
    assert isinstance(first, TaskResult)
    assert second is None
    assert first.items == alone.items
    assert first.facts == alone.facts
    lines = [len(path.read_text().splitlines()) for path in (tmp_path / "answers").glob("answers-*")]
    # The harness gives both equally many questions, one of them twice.
    assert lines == [64, 64]
