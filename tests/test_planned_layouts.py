"""The layouts in the comments of the large recipes are those that the planner chooses today."""

import shlex
from pathlib import Path

import planned_layouts
import pytest

from tsumugu.planning.cluster import find_cluster
from tsumugu.planning.planner import own_candidate
from tsumugu.recipe import load_recipe

ROOT = Path(__file__).parents[1]


NAMES = ["japanese-large-lm-1.7b", "japanese-large-lm-3.6b", "tsumugu-1.7b", "tsumugu-3.6b"]


@pytest.mark.parametrize("name", NAMES)
def test_comments_are_the_plan_and_their_words_are_understood(name: str) -> None:
    path = ROOT / "recipes" / f"{name}.yaml"
    text = path.read_text(encoding="utf-8")
    assert text == planned_layouts.renewed(name, text), (
        "python scripts/planned_layouts.py --write renews the recipes"
    )
    words = [line[1:].strip() for line in map(str.strip, text.splitlines()) if "'pretrain.layout=" in line]
    assert len(words) == len(planned_layouts.COUNTS)
    for count, of_count in zip(planned_layouts.COUNTS, words, strict=True):
        recipe = load_recipe(path, shlex.split(of_count))
        candidate = own_candidate(recipe, find_cluster(f"{count}x{planned_layouts.DEVICES[name]}"))
        assert candidate.layout.processes == count
