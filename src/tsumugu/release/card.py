"""The model card: what the model is, what it was made of, and how good it is."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2

from tsumugu.corpus.profile import Rule
from tsumugu.model.config import ModelConfig
from tsumugu.recipe import Recipe
from tsumugu.release.card_metadata import card_head
from tsumugu.release.families import family_of
from tsumugu.training.config import PretrainConfig

_ARCHITECTURES = {
    "gpt2": "GPT-2: learned positions, LayerNorm, GELU",
    "gpt-neox": "GPT-NeoX: rotary positions, LayerNorm, GELU",
    "llama": "Llama: rotary positions, RMSNorm, SwiGLU, no biases",
}
_OPTIMIZERS = {"adamw": "AdamW", "muon": "Muon for the matrices of the layers, AdamW for the rest"}


@dataclass(frozen=True)
class Trained:
    """The facts of a training, up to the checkpoint that is released."""

    step: int
    tokens: int
    """Targets that were trained on."""
    parameters: int
    flops: float
    """By the usual formula, which counts no recomputation; see `flops_per_token`."""
    seconds: float | None
    """None: unknown. So are the next ones."""
    epochs: float | None
    hardware: str | None


def model_card(
    recipe: Recipe,
    counts: Mapping[str, Mapping[str, Any]],
    trained: Trained,
    scores: Mapping[str, Any] | None,
) -> str:
    """The text of a release's README: metadata for the hub, and Markdown for people.

    Args:
        recipe: of the run.
        counts: of the stages corpus, tokenizer and tokens.
        trained: the facts of the training.
        scores: of the evaluate stage, if these weights were evaluated.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tsumugu", "release"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        # Markdown, not HTML; nothing from web pages goes in, only names and numbers of the recipe.
        autoescape=False,
    )
    environment.filters["cell"] = _cell
    environment.filters["number"] = lambda value: f"{value:,}"
    return environment.get_template("card.md.j2").render(
        head=card_head(recipe, scores),
        recipe=recipe,
        family=family_of(recipe.model),
        architecture=describe(recipe.model),
        counts=counts,
        trained=trained,
        scores=scores,
        rules=[_rule(rule) for rule in recipe.corpus.effective_rules],
        licenses={entry.source: entry.license for entry in recipe.corpus.inputs}
        | {entry.source: entry.license for entry in recipe.tokens.pretokenized},
        optimizer=_OPTIMIZERS[recipe.pretrain.optimizer.name],
        after_warmup=after_warmup(recipe.pretrain),
        base=recipe.release.base_model or (recipe.model.weights and Path(recipe.model.weights).name),
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


def _rule(rule: Rule) -> tuple[str, str]:
    """Its reason, and which documents it drops."""
    bounds = []
    if rule.at_least is not None:
        bounds.append(f"`{rule.signal}` below {rule.at_least:g}")
    if rule.at_most is not None:
        bounds.append(f"`{rule.signal}` above {rule.at_most:g}")
    return rule.reason, " or ".join(bounds)


def _cell(text: object) -> str:
    """For a cell of a Markdown table."""
    return " ".join(str(text).split()).replace("|", "\\|")
