"""The model card: what the model is, what it was made of, and how good it is."""

from collections.abc import Mapping
from typing import Any

import jinja2

from tsumugu.model.config import ModelConfig
from tsumugu.recipe import Recipe
from tsumugu.release.families import family_of
from tsumugu.training.config import PretrainConfig

_ARCHITECTURES = {
    "gpt2": "GPT-2: learned positions, LayerNorm, GELU",
    "gpt-neox": "GPT-NeoX: rotary positions, LayerNorm, GELU",
    "llama": "Llama: rotary positions, RMSNorm, SwiGLU, no biases",
}
_OPTIMIZERS = {"adamw": "AdamW", "muon": "Muon for the matrices of the layers, AdamW for the rest"}


def model_card(recipe: Recipe, counts: Mapping[str, Mapping[str, Any]], scores: Mapping[str, Any]) -> str:
    """The Markdown text of a release's README, from the counts of the earlier stages."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tsumugu", "release"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Markdown, not HTML; nothing from web pages goes in, only names and numbers of the recipe.
        autoescape=False,
    )
    licenses = {entry.source: entry.license for entry in recipe.corpus.inputs}
    return environment.get_template("card.md.j2").render(
        recipe=recipe,
        family=family_of(recipe.model),
        architecture=describe(recipe.model),
        counts=counts,
        scores=scores,
        licenses=licenses,
        optimizer=_OPTIMIZERS[recipe.pretrain.optimizer.name],
        after_warmup=after_warmup(recipe.pretrain),
    )


def describe(config: ModelConfig) -> str:
    """The architecture in a line."""
    parts = [_ARCHITECTURES[config.architecture]]
    if config.architecture == "gpt-neox":
        parts.append("parallel residual" if config.parallel_residual else "sequential residual")
    if config.qk_norm:
        parts.append("norms on queries and keys")
    parts.append("tied embeddings" if config.tie_word_embeddings else "separate output embedding")
    return ", ".join(parts)


def after_warmup(pretrain: PretrainConfig) -> str:
    """What the learning rate does then, in words."""
    schedule = pretrain.schedule
    end = f"decay to {schedule.final_share} of it"
    return {
        "cosine": f"cosine {end}",
        "linear": f"linear {end}",
        "inverse_sqrt": "decay with the inverse square root of the step",
        "constant": "no decay",
        "wsd": f"linear {end} in the last {schedule.decay_steps(pretrain.steps)} steps",
    }[schedule.name]
