"""Models of others: directories in the published forms are evaluated, trained further, and released."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from torch.distributed.tensor import DTensor
from transformers import AutoConfig, AutoModelForCausalLM
from workers import Workers

from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.evaluation.subject import open_subject
from tsumugu.files import read_json, write_json
from tsumugu.model.config import ModelConfig
from tsumugu.pipeline import is_from_recipe, run_stages
from tsumugu.recipe import load_recipe
from tsumugu.release.adapter import TheirWeights, shape_of_directory
from tsumugu.release.first_weights import open_first_weights
from tsumugu.release.weight_files import read_weights
from tsumugu.training.layout import Layout
from tsumugu.training.parallelize import Settings, build_model
from tsumugu.training.processes import build_mesh
from tsumugu.training.runs import newest_checkpoint

# Keys as they stand in the published config.json; only sizes are smaller.
LINE_1_7B = {
    "_name_or_path": "line-corporation/japanese-large-lm-1.7b",
    "activation_function": "gelu",
    "architectures": ["GPT2LMHeadModel"],
    "attn_pdrop": 0.1,
    "bos_token_id": 1,
    "embd_pdrop": 0.1,
    "eos_token_id": 2,
    "initializer_range": 0.02,
    "layer_norm_epsilon": 1e-05,
    "model_type": "gpt2",
    "n_embd": 48,
    "n_head": 4,
    "n_inner": None,
    "n_layer": 2,
    "n_positions": 64,
    "reorder_and_upcast_attn": False,
    "resid_pdrop": 0.1,
    "scale_attn_by_inverse_layer_idx": False,
    "scale_attn_weights": True,
    "summary_activation": None,
    "summary_first_dropout": 0.1,
    "summary_proj_to_labels": True,
    "summary_type": "cls_index",
    "summary_use_proj": True,
    "torch_dtype": "float16",
    "transformers_version": "4.31.0",
    "use_cache": True,
    "vocab_size": 512,
}
LINE_3_6B = {
    "architectures": ["GPTNeoXForCausalLM"],
    "bos_token_id": 2,
    "classifier_dropout": 0.1,
    "eos_token_id": 2,
    "hidden_act": "gelu",
    "hidden_size": 48,
    "initializer_range": 0.02,
    "intermediate_size": 192,
    "layer_norm_eps": 1e-05,
    "max_position_embeddings": 64,
    "model_type": "gpt_neox",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "rotary_emb_base": 10000,
    "rotary_pct": 1.0,
    "tie_word_embeddings": True,
    "torch_dtype": "float16",
    "transformers_version": "4.29.2",
    "use_cache": True,
    "use_parallel_residual": False,
    "vocab_size": 512,
}
RINNA_3_6B = {
    **{key: value for key, value in LINE_3_6B.items() if key != "classifier_dropout"},
    "eos_token_id": 3,
    "tie_word_embeddings": False,
    "transformers_version": "4.28.1",
}
OPEN_CALM = {**RINNA_3_6B, "bos_token_id": 0, "eos_token_id": 0, "use_parallel_residual": True}
LLAMA = {
    "architectures": ["LlamaForCausalLM"],
    "attention_bias": False,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "hidden_act": "silu",
    "hidden_size": 48,
    "initializer_range": 0.02,
    "intermediate_size": 128,
    "max_position_embeddings": 64,
    "model_type": "llama",
    "num_attention_heads": 4,
    "num_hidden_layers": 2,
    "num_key_value_heads": 2,
    "pretraining_tp": 1,
    "rms_norm_eps": 1e-05,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
    "torch_dtype": "bfloat16",
    "transformers_version": "4.33.1",
    "use_cache": True,
    "vocab_size": 512,
}
PUBLISHED = {
    "line 1.7b": LINE_1_7B,
    "line 3.6b": LINE_3_6B,
    "rinna 3.6b": RINNA_3_6B,
    "open-calm": OPEN_CALM,
    "llama": LLAMA,
}
VOCABULARY = 512


def published(folder: Path, config: dict[str, Any], **save: Any) -> Any:
    """Write a directory as transformers saves it, in half precision and with the published config.json;
    return the model in float32."""
    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    model.save_pretrained(folder, **save)
    write_json(folder / "config.json", config)
    return model.float()


@pytest.mark.parametrize("config", PUBLISHED.values(), ids=PUBLISHED.keys())
@torch.no_grad()
def test_published_forms_compute_the_same_here(config: dict[str, Any], tmp_path: Path) -> None:
    theirs = published(tmp_path, config, max_shard_size="60KB")
    shape = shape_of_directory(tmp_path)
    assert shape.parallel_residual == bool(config.get("use_parallel_residual"))
    assert shape.tie_word_embeddings == config.get("tie_word_embeddings", True)
    (part,) = build_model(
        shape,
        VOCABULARY,
        layout=Layout(),
        mesh=None,
        device=torch.device("cpu"),
        settings=Settings(0, first_weights=open_first_weights(tmp_path, shape, VOCABULARY).fill),
    ).parts
    tokens = torch.randint(0, VOCABULARY, (2, 40))
    assert (part.eval()(tokens) - theirs(tokens).logits).abs().max() < 1e-5


def shards_are_the_whole(rank: int, folder: str, layout: Layout) -> int:
    """Numbers on this process that are those of the directory."""
    shape = shape_of_directory(Path(folder))
    weights = open_first_weights(Path(folder), shape, VOCABULARY)
    model = build_model(
        shape,
        VOCABULARY,
        layout=layout,
        mesh=build_mesh(layout, torch.device("cpu")),
        device=torch.device("cpu"),
        settings=Settings(0, first_weights=weights.fill),
        micro_batch=(1, 8),
    )
    compared = 0
    for name, parameter in model.named_parameters():
        known = "embedding.weight" if model.is_copy(name) else name
        whole = parameter.full_tensor() if isinstance(parameter, DTensor) else parameter
        assert torch.equal(whole, weights[known].float()), name
        compared += whole.numel()
    return compared


@pytest.mark.parametrize("config", [LINE_1_7B, LINE_3_6B, LLAMA], ids=["line 1.7b", "line 3.6b", "llama"])
def test_every_layout_begins_with_the_weights_of_the_directory(
    config: dict[str, Any], workers: Workers, tmp_path: Path
) -> None:
    published(tmp_path, config, max_shard_size="60KB")
    for layout in (Layout(data_shard=2, tensor=2), Layout(tensor=2, pipeline=2)):
        found = workers.run(shards_are_the_whole, layout.processes, str(tmp_path), layout)
        assert all(found)


@pytest.fixture
def go_on(
    finished_run: Path, recipe_path: Path, tmp_path: Path
) -> Callable[..., tuple[Path, Callable[[], Path]]]:
    """A recipe that trains a released model further, and how to run it."""

    def prepare(base: Path, **model: Any) -> tuple[Path, Callable[[], Path]]:
        data = yaml.safe_load(recipe_path.read_text(encoding="utf-8"))
        data["tokenizer"] = {"path": str(finished_run / "release")}
        data["model"] = {"weights": str(base), **model}
        data["pretrain"] |= {"steps": 1, "checkpoint_every": 1, "validation_every": 1}
        data["pretrain"] |= {"optimizer": {"learning_rate": 1e-9}, "schedule": {"warmup_steps": 0}}
        path = tmp_path / "go-on.yaml"
        path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")

        def run() -> Path:
            folder = tmp_path / "run"
            if not folder.exists():
                shutil.copytree(finished_run, folder)
            run_stages(load_recipe(path), folder, last="pretrain", resources=Resources(1), say=lambda _: None)
            return folder

        return path, run

    return prepare


def test_training_goes_on_from_a_directory(
    finished_run: Path, go_on: Callable[..., Any], tmp_path: Path
) -> None:
    base = tmp_path / "base"
    shutil.copytree(finished_run / "release", base)
    path, run = go_on(base)
    recipe = load_recipe(path)
    released = shape_of_directory(base)
    assert recipe.model == released.model_copy(update={"weights": str(base)})
    folder = run()
    before = open_subject(str(base)).model
    after = open_subject(str(newest_checkpoint(folder))).model
    ours = dict(after.decoder.named_parameters())  # type: ignore[attr-defined]
    theirs = dict(before.decoder.named_parameters())  # type: ignore[attr-defined]
    assert all((ours[name] - theirs[name]).abs().max() < 1e-6 for name in theirs)

    # The recipe as it ran is whole without the directory, and other weights are another training.
    assert is_from_recipe(recipe, folder, "pretrain")
    (base / "model.safetensors").touch()
    assert not is_from_recipe(recipe, folder, "pretrain")
    shutil.rmtree(base)
    assert load_recipe(folder / "recipe.yaml").model == recipe.model


def test_rates_for_another_width_may_stand_beside_a_directory(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", LLAMA)
    weights = str(tmp_path)
    shape = shape_of_directory(tmp_path)
    found = ModelConfig.model_validate({"weights": weights, "mup_base_width": 24})
    assert found == shape.model_copy(update={"weights": weights, "mup_base_width": 24})
    with pytest.raises(ValueError, match="leave them out"):
        ModelConfig.model_validate({"weights": weights, "embedding_std": 1.0})


def test_a_shape_that_contradicts_the_directory_is_refused(
    finished_run: Path, go_on: Callable[..., Any]
) -> None:
    path, _ = go_on(finished_run / "release", hidden_size=64, num_hidden_layers=2)
    with pytest.raises(TsumuguError, match=r"another shape than .*: hidden_size = 64, which is 32 there"):
        load_recipe(path)
    path, _ = go_on(finished_run / "tokenizer")
    with pytest.raises(TsumuguError, match=r"is no Hugging Face directory: it has no config\.json"):
        load_recipe(path)


def test_a_vocabulary_that_does_not_fit_the_tokenizer_is_refused(tmp_path: Path) -> None:
    published(tmp_path, LINE_3_6B)
    shape = shape_of_directory(tmp_path)
    with pytest.raises(TsumuguError, match=r"has 512 tokens, .* tokenizer 513\. .*tokenizer\.path="):
        open_first_weights(tmp_path, shape, 513)
    # Rows that only pad the vocabulary to a round number are left out.
    weights = open_first_weights(tmp_path, shape, 500)
    layout = Layout()
    (part,) = build_model(
        shape,
        500,
        layout=layout,
        mesh=None,
        device=torch.device("cpu"),
        settings=Settings(0, first_weights=weights.fill),
    ).parts
    assert part.embedding is not None
    assert torch.equal(part.embedding.weight, weights["embedding.weight"][:500].float())


def test_a_directory_that_lost_its_weights_is_explained(tmp_path: Path) -> None:
    published(tmp_path, LINE_1_7B)
    shape = shape_of_directory(tmp_path)
    (tmp_path / "model.safetensors").unlink()
    with pytest.raises(TsumuguError, match=r"model\.weights = .*: there are no weights"):
        open_first_weights(tmp_path, shape, VOCABULARY)
    with pytest.raises(TsumuguError, match="there is no such directory"):
        open_first_weights(tmp_path / "nowhere", shape, VOCABULARY)


def test_config_json_that_is_no_object_is_explained(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("[1]")
    with pytest.raises(ValueError, match=r"config\.json is damaged"):
        ModelConfig.model_validate({"weights": str(tmp_path)})
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(ValueError, match="knows gpt2, gpt_neox, llama, qwen3"):
        ModelConfig.model_validate({"weights": str(tmp_path)})


def test_the_reader_gives_weights_by_our_names(tmp_path: Path) -> None:
    published(tmp_path, LLAMA)
    weights = TheirWeights(read_weights(tmp_path), shape_of_directory(tmp_path))
    assert weights.rows("layers.0.attention.qkv.weight", 3, 5).equal(
        weights["layers.0.attention.qkv.weight"][3:5]
    )
    assert read_json(tmp_path / "config.json") == LLAMA
    assert len(weights) == len(list(weights))
