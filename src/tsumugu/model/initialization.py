"""The first weights: a function of (seed, parameter, row), whatever part of them is here.

Every block of rows of a matrix is drawn from a generator of its own, keyed by the seed, the
parameter's name and the block's number. So a process that holds a shard draws the blocks that its
shard touches and no others, and every layout of processes begins from the same weights.
"""

import hashlib
import math

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.distributed.tensor._utils import compute_local_shape_and_global_offset

from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.model.parametrization import EMBEDDING, INTO_RESIDUAL, multiple, row_of

_BLOCK_ROWS = 64


@torch.no_grad()
def initialize(model: Decoder, seed: int) -> None:
    """Set all weights of `model`, or of the part of a model that it is, from `seed`.

    Matrices are normal with the deviation of `model.config.initialization`; biases are 0, the
    weights of norms 1; matrices and norms times what `parametrization.py` says. Weights that are sharded
    over processes get their shard.
    """
    for name, parameter in model.named_parameters():
        if parameter.dim() == 2:
            _draw(parameter, canonical_name(name, model.config), seed, std=_std(name, model.config))
        elif name.endswith("norm.weight"):
            nn.init.constant_(parameter, multiple(row_of(name, model.config).first, model.config))
        else:
            nn.init.zeros_(parameter)


def canonical_name(name: str, config: ModelConfig) -> str:
    """The name under which a weight is drawn and saved: a tied output embedding is the input's."""
    return "embedding.weight" if name == "head.weight" and config.tie_word_embeddings else name


def _std(name: str, config: ModelConfig) -> float:
    row, width = row_of(name, config), config.mup_base_width or config.hidden_size
    std = 0.02 if config.initialization == "gpt2" else math.sqrt(2 / (5 * width))
    if row is EMBEDDING and config.embedding_std is not None:
        std = config.embedding_std
    std *= multiple(row.first, config)
    if row is INTO_RESIDUAL and config.depth_scaled_initialization:
        std /= math.sqrt(2 * config.num_hidden_layers)
    return std


def _draw(parameter: Tensor, name: str, seed: int, *, std: float) -> None:
    local, shape, offset = local_shard(parameter)
    if not local.numel():
        return
    width = parameter.shape[1]
    columns = slice(offset[1], offset[1] + shape[1])
    first, last = offset[0], offset[0] + shape[0]
    for block in range(first // _BLOCK_ROWS, (last - 1) // _BLOCK_ROWS + 1):
        generator = torch.Generator().manual_seed(_key(seed, name, block))
        drawn = torch.randn(_BLOCK_ROWS, width, generator=generator) * std
        start = block * _BLOCK_ROWS
        begin, end = max(first, start), min(last, start + _BLOCK_ROWS)
        local[begin - first : end - first].copy_(drawn[begin - start : end - start, columns])


def local_shard(parameter: Tensor) -> tuple[Tensor, tuple[int, ...], tuple[int, ...]]:
    """The numbers that are here, their shape, and where they begin in the whole."""
    if not isinstance(parameter, DTensor):
        return parameter, tuple(parameter.shape), (0, 0)
    shape, offset = compute_local_shape_and_global_offset(
        parameter.shape, parameter.device_mesh, parameter.placements
    )
    return parameter.to_local(), tuple(shape), tuple(offset)


def _key(seed: int, name: str, block: int) -> int:
    digest = hashlib.blake2b(f"{seed}/{name}/{block}".encode(), digest_size=8).digest()
    # Positive in 64 bits with a sign, as torch wants its seeds.
    return int.from_bytes(digest, "big") >> 1
