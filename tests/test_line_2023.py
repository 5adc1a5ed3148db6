"""The page about LINE's run says what the planner says today."""

from pathlib import Path

import line_2023
import pytest
from marked_blocks import filled_in

from tsumugu.planning.cluster import find_cluster

ROOT = Path(__file__).parents[1]


def test_the_tables_of_the_page_are_the_planner_s() -> None:
    page = ROOT / "docs" / "line-2023.md"
    tables = {
        "tokens": line_2023.tokens_table(),
        "today": line_2023.today_table(),
        "same-loss": line_2023.same_loss_table(),
    }
    renewed = filled_in(page, tables)
    assert page.read_text(encoding="utf-8") == renewed, (
        "python scripts/line_2023.py --write renews docs/line-2023.md"
    )


def test_four_thousand_hours_at_the_peak_are_four_hundred_billion_tokens() -> None:
    line = line_2023.recipe_workload("japanese-large-lm-1.7b")
    most = line_2023.most_tokens(line, find_cluster("64xA100-80GB"))
    assert most == pytest.approx(4000 * 3600 * 312e12 / 11_239_686_144)
    assert most == pytest.approx(400e9, rel=0.01)


@pytest.mark.parametrize("law", ["BESIROGLU", "HOFFMANN"])
def test_the_smallest_computation_of_a_loss_is_the_smallest(law: str) -> None:
    found = getattr(line_2023, law)
    parameters, tokens = line_2023.least(found, 2.27)
    assert found.loss(parameters, tokens) == pytest.approx(2.27)
    for factor in (0.5, 0.9, 1.1, 2):
        other = line_2023.tokens_for(found, parameters * factor, 2.27)
        assert found.loss(parameters * factor, other) == pytest.approx(2.27)
        assert parameters * factor * other > parameters * tokens
