"""Published numbers are those of their sources, and stand beside ours only where they may."""

from importlib import resources
from pathlib import Path

import pytest

from tsumugu.evaluation.comparison.published import BLOG, CAVEATS, COLUMNS, JP_STABLE, SOURCES, fit, published

LINE = "line-corporation/japanese-large-lm-3.6b"
RINNA = "rinna/japanese-gpt-neox-3.6b"


def number(model: str, source: str, column: str, version: str | None) -> float:
    (found,) = (
        one.value
        for one in published()
        if (one.model, one.source, one.column, one.version) == (model, source, column, version)
    )
    return found


def test_numbers_of_the_blog() -> None:
    assert number(LINE, BLOG, "blog_c4", None) == 7.50
    assert number(RINNA, BLOG, "blog_aio", None) == pytest.approx(0.486)
    assert number("cyberagent/open-calm-7b", BLOG, "blog_jsquad", None) == pytest.approx(0.4813)
    assert len({one.model for one in published() if one.source == BLOG}) == 5


def test_numbers_of_the_result_files() -> None:
    assert number(LINE, JP_STABLE, "jsquad_f1", "1.1") == pytest.approx(0.7452)
    assert number(LINE, JP_STABLE, "jaqket_em", "0.2") == pytest.approx(0.6718)
    assert number(RINNA, JP_STABLE, "jsquad_em", "1.2") == pytest.approx(0.4901)
    assert number("rinna/japanese-gpt-1b", JP_STABLE, "marc_ja", "1.1") == pytest.approx(0.8786)
    models = {one.model for one in published() if one.source == JP_STABLE}
    assert {model.split("/")[0] for model in models} == {"line-corporation", "rinna", "cyberagent"}
    assert len(models) == 18


def test_published_averages_are_those_of_the_eight_columns() -> None:
    # As the README of the branch has them (rinna 3.6B, OpenCALM 7B).
    eight = ("jcommonsenseqa", "jnli", "marc_ja", "jsquad_em", "jaqket_em", "xlsum", "xwinograd", "mgsm")
    for model, average in ((RINNA, 41.79), ("cyberagent/open-calm-7b", 38.80)):
        values = [
            one.value
            for one in published()
            if (one.model, one.source) == (model, JP_STABLE) and one.column in eight and one.version != "1.2"
        ]
        assert 100 * sum(values) / 8 == pytest.approx(average, abs=0.02)


def test_standard_errors_are_those_of_the_result_files() -> None:
    found = {one.column: one.stderr for one in published() if (one.model, one.source) == (LINE, JP_STABLE)}
    assert found["jcommonsenseqa"] == pytest.approx(0.01278, abs=1e-5)
    assert found["jnli"] == pytest.approx(0.00929, abs=1e-5)
    assert found["marc_ja"] == pytest.approx(0.00538, abs=1e-5)
    assert found["xwinograd"] == pytest.approx(0.01477, abs=1e-5)
    assert found["mgsm"] == pytest.approx(0.01045, abs=2e-5)
    assert found["jsquad_f1"] is None


def test_the_same_question_stands_beside_ours() -> None:
    found = fit(task="jp_stable_jsquad_0.2", metric="exact_match", version="1.1", num_fewshot=2)
    assert found[JP_STABLE, LINE].differs == ()
    assert found[JP_STABLE, LINE].published.value == pytest.approx(0.6227)
    # The blog says neither version nor prompt, and gives three examples.
    assert found[BLOG, LINE].differs == ("version not stated", "prompt not stated", "3-shot")
    # OpenCALM 1B had three examples.
    assert found[JP_STABLE, "cyberagent/open-calm-1b"].differs == ("3-shot",)
    # A model for conversations was asked in its own words.
    assert found[JP_STABLE, f"{LINE}-instruction-sft"].differs == ("prompt 0.5",)


def test_another_number_of_examples_or_version_is_said() -> None:
    found = fit(task="jp_stable_jaqket_0.2", metric="exact_match", version="0.2", num_fewshot=0)
    assert found[JP_STABLE, LINE].differs == ("1-shot",)
    assert found[JP_STABLE, RINNA].differs == ("version 0.1", "1-shot")


def test_the_number_that_differs_least_is_taken() -> None:
    found = fit(task="jp_stable_jsquad_title_0.2", metric="exact_match", version="1.2", num_fewshot=2)
    assert found[JP_STABLE, RINNA].differs == ()
    assert found[JP_STABLE, RINNA].published.value == pytest.approx(0.4901)
    assert found[JP_STABLE, LINE].differs == ("version 1.1",)


def test_tasks_with_one_prompt_compare_without_naming_it() -> None:
    found = fit(task="jp_stable_xwinograd", metric="acc", version="1.0", num_fewshot=0)
    assert found[JP_STABLE, LINE].differs == ()
    assert found[JP_STABLE, f"{LINE}-instruction-sft"].differs == ()


def test_prompts_without_a_name_are_those_of_base_models() -> None:
    found = fit(task="jp_stable_mgsm_0.0", metric="acc", version="1.0", num_fewshot=5)
    assert found[JP_STABLE, LINE].differs == ()
    assert found[JP_STABLE, f"{LINE}-instruction-sft"].differs == ("prompt 0.5",)


def test_examples_that_are_not_from_the_training_data_do_not_compare() -> None:
    for split, differs in (("train", ()), ("test", ("our examples from test",))):
        found = fit(
            task="jp_stable_xlsum_0.0", metric="rouge2", version="1.0", num_fewshot=1, few_shot_from=split
        )
        assert found[JP_STABLE, LINE].differs == differs


def test_a_part_of_the_questions_does_not_compare_with_all() -> None:
    for questions, differs in ((2434, ()), (200, ("ours are 200 questions of 2,434",))):
        found = fit(
            task="jp_stable_jnli_0.2", metric="acc", version="1.1", num_fewshot=3, questions=questions
        )
        assert found[JP_STABLE, LINE].differs == differs


def test_every_column_stands_beside_a_task_that_there_is() -> None:
    folder = Path(str(resources.files("tsumugu.evaluation"))) / "tasks" / "jp_stable"
    names = {path.stem for path in folder.glob("*.yaml")}
    for column in COLUMNS.values():
        for ours in column.ours:
            short = ours.removeprefix("jp_stable_")
            assert ours == "aio" or any(name == short or name.startswith(f"{short}_0") for name in names)


@pytest.mark.parametrize("task", ["kotowari", "jp_stable_jsquadx", "llm_jp_jsquad"])
def test_nothing_stands_beside_tasks_that_nobody_published(task: str) -> None:
    assert fit(task=task, metric="acc", version="1.1", num_fewshot=2) == {}


def test_another_metric_of_the_same_task_does_not_fit() -> None:
    assert fit(task="jp_stable_jnli_0.2", metric="balanced_acc", version="1.1", num_fewshot=3) == {}


def test_every_number_has_a_source_and_a_column() -> None:
    for one in published():
        assert one.source in SOURCES
        assert one.column in COLUMNS
        assert one.value >= 0


def test_the_caveats_name_what_does_not_compare() -> None:
    text = "\n".join(CAVEATS)
    for word in (
        "per token",
        "JAQKET v2: version 0.2",
        "20 %",
        "JNLI and MARC-ja",
        "financial",
        "3 examples",
    ):
        assert word in text
