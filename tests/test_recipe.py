"""A recipe is checked whole, before any work, in words for the person who wrote it."""

from pathlib import Path

import pytest
import torch
import yaml

from conftest import recipe_data
from tsumugu.errors import TsumuguError
from tsumugu.model.counts import flops_per_token
from tsumugu.model.decoder import Decoder, count_parameters
from tsumugu.planning.auto import choose_layout, training_of
from tsumugu.planning.cluster import device_cluster
from tsumugu.recipe import Recipe, load_recipe, parse_yaml, recipe_schema, recipe_text
from tsumugu.training.layout import LayoutConfig
from tsumugu.training.schedule import learning_rate, samples_before
from tsumugu.training.throughput import peak_flops


def message(path: Path, *overrides: str) -> str:
    with pytest.raises(TsumuguError) as caught:
        load_recipe(path, overrides)
    return str(caught.value)


def test_full_recipe_reads_back_unchanged(recipe: Recipe, tmp_path: Path) -> None:
    path = tmp_path / "full.yaml"
    path.write_text(recipe_text(recipe), encoding="utf-8")
    assert load_recipe(path) == recipe


def test_merged_keys_may_be_changed_and_none_may_stand_twice() -> None:
    text = "a: &a {x: 1, y: 1}\nb: &b {<<: *a, y: 2}\nc: {<<: *b, x: 3}"
    assert parse_yaml(text, where="here")["c"] == {"x": 3, "y": 2}
    with pytest.raises(TsumuguError, match="here: .*'y' stands here twice"):
        parse_yaml("a: &a {x: 1}\nb: {<<: *a, y: 2, y: 3}", where="here")


def test_override_reaches_any_key(recipe_path: Path) -> None:
    changed = load_recipe(
        recipe_path,
        [
            "pretrain.steps=7",
            "corpus.inputs.0.source=other",
            "pretrain.optimizer.learning_rate=1e-3",
            "pretrain.schedule.warmup_steps=1",
        ],
    )
    assert changed.pretrain.steps == 7
    assert changed.corpus.inputs[0].source == "other"
    assert changed.pretrain.optimizer.learning_rate == 0.001


def test_all_mistakes_are_told_at_once_with_file_key_found_and_allowed(recipe_path: Path) -> None:
    told = message(
        recipe_path, "tokenizer.vocab_sise=10", "pretrain.steps=many", "model.num_attention_heads=5"
    )
    assert "command line: tokenizer.vocab_sise: unknown key (did you mean 'vocab_size'?)" in told
    assert "allowed here: vocab_size, preset" in told
    assert 'command line: pretrain.steps: Input should be a valid integer; found "many" (text)' in told
    blamed = f"{recipe_path} with model.num_attention_heads from the command line"
    assert f"{blamed}: model: num_attention_heads = 5 does not divide hidden_size = 32" in told


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("tokenizer.vocab_size=295", "needs at least 296 pieces"),
        ("model.hidden_size=6", "must be even"),
        ("pretrain.sequence_length=4096", "has only model.max_position_embeddings = 128"),
        ("pretrain.schedule.warmup_steps=41", "is more than steps = 40"),
        ("pretrain.micro_batch_size=3", "does not divide global_batch_size = 4"),
        ("pretrain.steps='40'", "valid integer"),
        ("pretrain.steps=true", "valid integer"),
        ("pretrain.steps=0", "greater than or equal to 1"),
        ("pretrain.optimizer.learning_rate=.nan", "finite number"),
        ("pretrain.optimizer.learning_rate=-1e-3", "greater than 0"),
        ("tokenizer.vocab_size=2147483648", "less than 2147483648"),
        ("tokenizer.character_coverage=0.95", "greater than or equal to 0.98"),
        ("tokenizer.threads=5000", "less than or equal to 1024"),
        ("report.prompts=[]", "at least 1 item"),
        ("corpus.inputs.0.path=", "valid string"),
        ("evaluate.tasks=[foo]", "command line: evaluate.tasks"),
        ("model.num_attention_heads=3", "with model.num_attention_heads from the command line: model:"),
        ("seed=-1", "greater than or equal to 0"),
        ("name=../evil", "match pattern"),
        ("corpus.inputs=[]", "at least 1 item"),
        ("corpus.rules.0.signal=lenght", "Input should be 'length', 'characters'"),
        ("corpus.rules.0.reason=contained", "itself gives"),
        ("corpus.rules.1.reason=too_short", "same reason"),
        ("corpus.rules.0.signal=boilerplate_lines", "only the transform boilerplate_lines counts"),
        ("corpus.rules.0.signal=quality_score", "name its model in quality.fasttext"),
        ("corpus.rules.0.signal=quality_perplexity", "name its model in quality.kenlm"),
        ("corpus.without=[lists]", "has no rule 'lists'"),
        ("corpus.rules.9.reason=x", "list of 3"),
        ("data.mixture={web: {weight: 1}}", "the source 'web'; the sources of corpus.inputs"),
        ("data.mixture={test-pages: {weight: 1, epochs: 2}}", "either epochs or a weight"),
        ("data.mixture={test-pages: {epoch: 2}}", "did you mean 'epochs'?"),
        ("data.packing=first_fit", "'concatenate' or 'best_fit'"),
        ("pretrain.steps.x=1", "not a section"),
        ("pretrain.steps", "write key=value"),
        ("pretrain.steps=[", "not valid YAML"),
    ],
)
def test_impossible_values_are_refused(recipe_path: Path, override: str, told: str) -> None:
    assert told in message(recipe_path, override)


def test_a_missing_section_and_a_missing_file_are_named(tmp_path: Path, pages: Path) -> None:
    data = recipe_data(pages)
    del data["model"]
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    assert f"{path}: model: this key is required" in message(path)
    assert "cannot be read" in message(tmp_path / "absent.yaml")


@pytest.mark.parametrize(
    "text", ["", "- a", "just text", "a: 1\na: 2\n", "a: [", "a: !!python/object:os.system x"]
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text, encoding="utf-8")
    assert str(path) in message(path)


@pytest.mark.parametrize(
    "section",
    [
        "ModelConfig",
        "PretrainConfig",
        "LayoutConfig",
        "OptimizerConfig",
        "ScheduleConfig",
        "StabilityConfig",
        "ActivationCheckpointingConfig",
        "BatchSizeWarmupConfig",
        "ProfileConfig",
    ],
)
def test_schema_says_what_every_key_of_training_means(section: str) -> None:
    found = recipe_schema()["$defs"][section]
    assert found["description"]
    assert [key for key, value in found["properties"].items() if not value.get("description")] == []


def test_numbers_are_read_as_people_write_them(recipe_path: Path) -> None:
    # YAML 1.1 would read the first as a string.
    for text in ("1e-3", "1.0e-3", "0.001", "1E-3", ".001"):
        changed = load_recipe(recipe_path, [f"pretrain.optimizer.learning_rate={text}"])
        assert changed.pretrain.optimizer.learning_rate == 0.001


def test_schema_describes_every_key() -> None:
    schema = recipe_schema()
    assert set(schema["properties"]) == set(Recipe.model_fields)
    assert "byte fallback" in schema["$defs"]["TokenizerConfig"]["description"]
    assert (
        "sequences"
        in schema["$defs"]["PretrainConfig"]["properties"]["global_batch_size"]["description"].lower()
    )


RECIPES = Path(__file__).parent.parent / "recipes"
LARGE = {
    "japanese-large-lm-1.7b": 1_652_230_656,
    "japanese-large-lm-3.6b": 3_555_876_864,
    "tsumugu-1.7b": 1_715_611_648,
    "tsumugu-3.6b": 3_680_709_632,
}
"""Parameters by recipe."""


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*.yaml")), ids=lambda path: path.stem)
def test_recipes_of_the_repository_are_valid(path: Path) -> None:
    assert load_recipe(path).name == path.stem


@pytest.fixture(params=LARGE)
def large(request: pytest.FixtureRequest) -> Recipe:
    return load_recipe(RECIPES / f"{request.param}.yaml")


def vocabulary(recipe: Recipe) -> int:
    assert recipe.tokenizer.vocab_size is not None
    return recipe.tokenizer.vocab_size


def test_a_large_recipe_has_the_model_of_its_name(large: Recipe) -> None:
    with torch.device("meta"):
        model = Decoder(large.model, vocabulary(large))
    assert count_parameters(model) == LARGE[large.name]
    assert large.model.preset == large.name
    assert large.pretrain.sequence_length == large.model.max_position_embeddings


def test_large_recipes_train_on_as_many_tokens_as_one_another(large: Recipe) -> None:
    config = large.pretrain
    tokens = samples_before(config.steps + 1, config) * config.sequence_length
    assert tokens == 199_229_440_000


def test_the_schedules_are_those_that_the_recipes_name(large: Recipe) -> None:
    config = large.pretrain
    peak, steps = config.optimizer.learning_rate, config.steps
    assert learning_rate(1000, config) == pytest.approx(peak / 2)
    assert learning_rate(2000, config) == peak
    assert learning_rate(steps, config) == pytest.approx(peak / 10)
    middle = learning_rate((2000 + steps) // 2, config)
    if large.name.startswith("tsumugu"):
        assert peak == 3e-4
        assert middle == learning_rate(steps * 9 // 10, config) == peak
    else:
        assert peak == 1.5e-4
        assert middle == pytest.approx(peak * 0.55)


@pytest.mark.parametrize("processes", [8, 64, 128])
def test_a_large_recipe_has_a_layout_on_machines_of_eight_gpus(large: Recipe, processes: int) -> None:
    cluster = device_cluster("NVIDIA A100-SXM4-80GB", processes, 8, memory=85 * 10**9)
    training = training_of(large, vocabulary(large), cluster)
    # Models of this size need no more than shared weights.
    layout, micro_batch_size = choose_layout(large.pretrain.layout, training, cluster)
    assert layout.data == processes
    assert micro_batch_size == large.pretrain.micro_batch_size
    # The degrees of a cluster with slow networks between nodes.
    assert choose_layout(LayoutConfig(tensor=8), training, cluster)[0].tensor == 8


def test_the_steps_of_the_smaller_one_fill_the_hours_that_line_states() -> None:
    recipe = load_recipe(RECIPES / "japanese-large-lm-1.7b.yaml")
    config = recipe.pretrain
    tokens = config.steps * config.global_batch_size * config.sequence_length
    operations = tokens * flops_per_token(recipe.model, vocabulary(recipe), config.sequence_length)
    peak = peak_flops("NVIDIA A100-SXM4-80GB")
    assert peak is not None
    assert operations / (4000 * 3600 * peak) == pytest.approx(0.5, abs=0.01)
