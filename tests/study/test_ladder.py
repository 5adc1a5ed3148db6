"""The ladders' rungs are as large as LINE's recipe, and take no more than half of its training FLOPs."""

from pathlib import Path

import pytest

from tsumugu.model.counts import flops_per_token, muon_flops, parameter_count
from tsumugu.recipe import Recipe, load_recipe
from tsumugu.study.config import load_study

LINE = "LINE's recipe"
VOCABULARY = 4096


@pytest.mark.parametrize("millions", [3, 12])
def test_rungs_are_alike_in_all_but_their_ingredients(millions: int) -> None:
    path = Path(f"recipes/studies/ladder-{millions}m.yaml")
    study = load_study(path)
    recipes = {
        setting["rung"]: load_recipe(
            path.parent / study.base, keys={**study.keys, **study.keys_of(setting)}, keys_from="here"
        )
        for setting in study.settings()
    }
    line = recipes[LINE]
    assert next(iter(recipes)) == LINE
    assert round(beside_embeddings(line) / 1e6) == millions
    for rung, recipe in recipes.items():
        assert beside_embeddings(recipe) <= beside_embeddings(line)
        # Its own rate is searched at full length.
        assert training_flops(recipe) <= training_flops(line) / (1 if rung.startswith("LINE's") else 2)
        assert (recipe.corpus, recipe.tokenizer, recipe.tokens) == (line.corpus, line.tokenizer, line.tokens)
        assert recipe.pretrain.sequence_length == line.pretrain.sequence_length


def beside_embeddings(recipe: Recipe) -> int:
    assert recipe.model.tie_word_embeddings
    assert recipe.tokenizer.vocab_size == VOCABULARY
    return parameter_count(recipe.model, VOCABULARY) - VOCABULARY * recipe.model.hidden_size


def training_flops(recipe: Recipe) -> int:
    settings = recipe.pretrain
    tokens = settings.steps * settings.global_batch_size * settings.sequence_length
    flops = tokens * flops_per_token(recipe.model, VOCABULARY, settings.sequence_length)
    if settings.optimizer.name == "muon":
        flops += settings.steps * muon_flops(recipe.model, settings.optimizer.muon_ns_steps)
    return flops
