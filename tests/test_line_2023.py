"""The page about LINE's run says what the planner says today."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("line_2023", ROOT / "scripts" / "line_2023.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_tables_of_the_page_are_the_planner_s(script: ModuleType) -> None:
    page = (ROOT / "docs" / "line-2023.md").read_text(encoding="utf-8")
    tables = {
        "tokens": script.tokens_table(),
        "today": script.today_table(),
        "same-loss": script.same_loss_table(),
    }
    renewed = script.filled_in(page, tables)
    assert page == renewed, "python scripts/line_2023.py --write renews docs/line-2023.md"


def test_four_thousand_hours_at_the_peak_are_four_hundred_billion_tokens(script: ModuleType) -> None:
    line = script.recipe_workload("japanese-large-lm-1.7b")
    most = script.most_tokens(line, script.find_cluster("64xA100-80GB"))
    assert most == pytest.approx(4000 * 3600 * 312e12 / 11_239_686_144)
    assert most == pytest.approx(400e9, rel=0.01)


@pytest.mark.parametrize("law", ["BESIROGLU", "HOFFMANN"])
def test_the_smallest_computation_of_a_loss_is_the_smallest(script: ModuleType, law: str) -> None:
    found = getattr(script, law)
    parameters, tokens = script.least(found, 2.27)
    assert found.loss(parameters, tokens) == pytest.approx(2.27)
    for factor in (0.5, 0.9, 1.1, 2):
        other = script.tokens_for(found, parameters * factor, 2.27)
        assert found.loss(parameters * factor, other) == pytest.approx(2.27)
        assert parameters * factor * other > parameters * tokens
