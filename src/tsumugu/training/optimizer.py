"""The optimizer of a model: which parameters decay, and which are Muon's."""

from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from tsumugu.model.config import ModelConfig
from tsumugu.model.parametrization import multiple, row_of
from tsumugu.training.config import OptimizerConfig
from tsumugu.training.muon import Muon


def build_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig, *, model: ModelConfig
) -> torch.optim.Optimizer:
    """An optimizer with the fused kernel of its device, over plain parameters or DTensors.

    The matrices of the layers decay, and they are what Muon takes. Norms, biases and embeddings do not decay
    and are always AdamW's: a row of an embedding is a vector by itself, and it is only moved when its
    token occurs.

    With `model.mup_base_width` rates and decay are those of `parametrization.py`.

    Args:
        named_parameters: of the model, or of the part of it that is here, as `named_parameters()` names
            them; those of wrapped modules may have more parts in their names.
        config: the section of the recipe.
        model: says how the fused matrix of queries, keys and values is put together, and for which width the
            rates are meant.

    Returns:
        Besides "lr", every group has "lr_ratio", by which `set_learning_rate` multiplies the rate.
    """
    named = list(named_parameters)
    matrices = [(name, p) for name, p in named if row_of(name, model).muon is not None]
    others = [(name, p) for name, p in named if row_of(name, model).muon is None]
    groups = _groups(others, config, model)
    if config.name == "adamw":
        groups = _groups(matrices, config, model) + groups
    adamw = torch.optim.AdamW(groups, betas=(config.beta1, config.beta2), eps=config.eps, fused=True)
    if config.name == "adamw":
        return adamw
    fused = [(name, p) for name, p in matrices if _is_qkv(name)]
    single = [(name, p) for name, p in matrices if not _is_qkv(name)]
    own: list[dict[str, Any]] = []
    for some, row_blocks in ((fused, qkv_row_blocks(model)), (single, None)):
        for group in _groups(some, config, model):
            muon = {"momentum": config.muon_momentum, "ns_steps": config.muon_ns_steps}
            own.append({**group, "row_blocks": row_blocks, **muon})
    return Muon(own, adamw)


def _groups(
    named: list[tuple[str, nn.Parameter]], config: OptimizerConfig, model: ModelConfig
) -> list[dict[str, Any]]:
    """Parameters that have the same rate and decay, together."""
    found: dict[tuple[float, float, float], list[nn.Parameter]] = {}
    for name, parameter in named:
        row = row_of(name, model)
        peak, rate, decay = config.learning_rate, row.adamw, row.adamw_decay
        if config.name == "muon" and row.muon is not None:
            peak, rate, decay = config.muon_learning_rate or peak, row.muon, row.muon_decay
        multiples = (multiple(rate, model), 0.0 if decay is None else multiple(decay, model))
        found.setdefault((peak, *multiples), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": peak * rate,
            "lr_ratio": peak / config.learning_rate * rate,
            "weight_decay": config.weight_decay * decay,
        }
        for (peak, rate, decay), parameters in found.items()
    ]


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its multiple of `rate`, the schedule's rate at this step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_ratio"]


def qkv_row_blocks(model: ModelConfig) -> tuple[int, int, int]:
    """Rows of queries, keys and values in `attention.qkv` for one key-value head, after which they repeat."""
    return (model.group_size * model.head_size, model.head_size, model.head_size)


def _is_qkv(name: str) -> bool:
    return name.endswith("attention.qkv.weight")
