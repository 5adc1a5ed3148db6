"""The optimizer of a model: which parameters decay, and which are Muon's."""

from collections.abc import Iterable

import torch
from torch import nn

from tsumugu.model.config import ModelConfig
from tsumugu.training.config import OptimizerConfig
from tsumugu.training.muon import Muon


def build_optimizer(
    named_parameters: Iterable[tuple[str, nn.Parameter]], config: OptimizerConfig, *, model: ModelConfig
) -> torch.optim.Optimizer:
    """An optimizer with the fused kernel of its device, over plain parameters or DTensors.

    The matrices of the layers decay, and they are what Muon takes. Norms, biases and embeddings do not decay
    and are always AdamW's: a row of an embedding is a vector by itself, and it is only moved when its
    token occurs.

    Args:
        named_parameters: of the model, or of the part of it that is here, as `named_parameters()` names
            them; those of wrapped modules may have more parts in their names.
        config: the section of the recipe.
        model: says how the fused matrix of queries, keys and values is put together.

    Returns:
        Besides "lr", every group has "lr_ratio", by which `set_learning_rate` multiplies the rate.
    """
    named = list(named_parameters)
    matrices = [(name, p) for name, p in named if is_hidden_matrix(name, p)]
    others = [p for name, p in named if not is_hidden_matrix(name, p)]
    groups = [{"params": others, "weight_decay": 0.0, "lr_ratio": 1.0}]
    if config.name == "adamw":
        decayed = [p for _, p in matrices]
        groups.insert(0, {"params": decayed, "weight_decay": config.weight_decay, "lr_ratio": 1.0})
    adamw = torch.optim.AdamW(
        groups, lr=config.learning_rate, betas=(config.beta1, config.beta2), eps=config.eps, fused=True
    )
    if config.name == "adamw":
        return adamw
    rate = config.muon_learning_rate or config.learning_rate
    shared = {
        "lr": rate,
        "lr_ratio": rate / config.learning_rate,
        "momentum": config.muon_momentum,
        "weight_decay": config.weight_decay,
    }
    fused = [p for name, p in matrices if _is_qkv(name)]
    single = [p for name, p in matrices if not _is_qkv(name)]
    return Muon(
        [
            {"params": fused, "row_blocks": qkv_row_blocks(model), **shared},
            {"params": single, "row_blocks": None, **shared},
        ],
        adamw,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give every group its multiple of `rate`, the schedule's rate at this step."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_ratio"]


def is_hidden_matrix(name: str, parameter: torch.Tensor) -> bool:
    """Whether it is a matrix of a layer: not an embedding, the output embedding included."""
    return parameter.dim() == 2 and "layers" in name.split(".")


def qkv_row_blocks(model: ModelConfig) -> tuple[int, int, int]:
    """Rows of queries, keys and values in `attention.qkv` for one key-value head, after which they repeat."""
    group_size = model.num_attention_heads // model.key_value_heads
    return (group_size * model.head_size, model.head_size, model.head_size)


def _is_qkv(name: str) -> bool:
    return name.endswith("attention.qkv.weight")
