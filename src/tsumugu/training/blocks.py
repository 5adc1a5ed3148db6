"""What is done to the blocks of a model before they are sharded: float8, checkpointing, compilation."""

from types import MethodType

import torch
from torch import nn

from tsumugu.errors import TsumuguError
from tsumugu.model.decoder import Block, Decoder
from tsumugu.model.products import use_pytorch_products
from tsumugu.training.activation_checkpointing import CheckpointedBlock, apply_activation_checkpointing
from tsumugu.training.config import PretrainConfig

_FLOAT8_MULTIPLE = 16
"""Both sides of a float8 matrix product are multiples of this."""


def prepare_blocks(part: Decoder, config: PretrainConfig) -> None:
    """Change the blocks of `part` as the recipe says, in place.

    Raises:
        TsumuguError: float8 without its package.
    """
    if config.precision == "float8":
        _use_float8(part)
    apply_activation_checkpointing(part, config.activation_checkpointing)
    if config.compile:
        budget = config.activation_checkpointing.memory_budget
        if budget is not None:
            torch._functorch.config.activation_memory_budget = budget
            # The compiler takes products that it does not know for cheap, and computes all of them again.
            use_pytorch_products(part)
        for block in part.layers.values():
            _compile(block)


def _compile(block: nn.Module) -> None:
    """Block by block: they are alike, so the code of the first serves all of them."""
    if isinstance(block, CheckpointedBlock) and block.contexts is None:
        # Around the compiled code, not in it: torch 2.13 cannot save a mesh, which tensor parallelism
        # leaves in there, for code that is all computed again.
        block.inner = torch.compile(MethodType(Block.forward, block), fullgraph=True)
    else:
        block.compile(fullgraph=True)


def _use_float8(part: Decoder) -> None:
    try:
        from torchao.float8 import convert_to_float8_training
    except ImportError as error:
        raise TsumuguError(
            f'pretrain.precision = float8 needs torchao ({error}): pip install "tsumugu[float8]", or '
            f"choose bfloat16"
        ) from error

    def fits(module: nn.Module, name: str) -> bool:
        if not isinstance(module, nn.Linear) or not name.startswith("layers."):
            return False
        return module.in_features % _FLOAT8_MULTIPLE == 0 and module.out_features % _FLOAT8_MULTIPLE == 0

    convert_to_float8_training(part, module_filter_fn=fits)
