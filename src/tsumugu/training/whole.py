"""The whole model on every process, for a while: what the parts of a `ParallelModel` are together.

For questions that come one by one and want to be divided among all processes, however these share
the model. It takes the memory of one copy of the weights on each device, until it is let go.
"""

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.training.parallelize import ParallelModel


def whole_decoder(model: ParallelModel, *, dtype: torch.dtype) -> Decoder:
    """A plain decoder with the model's weights as they are now, in evaluation mode.

    All processes call it together.

    Args:
        model: its parts, on every process.
        dtype: of the matrices of layers, which matrix products would round to it anyway; all other
            weights stay float32.
    """
    with torch.device("meta"):
        whole = Decoder(model.parts[0].config, model.parts[0].vocab_size)
    here = {name: value for name, value in model.named_parameters() if not model.is_copy(name)}
    owners, group = _owners(model, list(here))
    weights = {}
    for name, wanted in whole.named_parameters():
        value = _full(here[name]) if name in here else torch.empty(wanted.shape, device=model.device)
        if group is not None:
            dist.broadcast(value, src=dist.get_global_rank(group, owners[name]), group=group)
        weights[name] = value.to(dtype) if _is_matrix_of_a_layer(name, wanted) else value
    whole.load_state_dict(weights, strict=False, assign=True)
    # What was assigned is another tensor than the one that the head shared.
    whole._tie()
    return whole.eval()


def whole_bytes(config: ModelConfig, vocab_size: int, *, dtype: torch.dtype) -> int:
    """Memory that `whole_decoder` takes on a device."""
    with torch.device("meta"):
        whole = Decoder(config, vocab_size)
    return sum(
        wanted.numel() * (dtype if _is_matrix_of_a_layer(name, wanted) else torch.float32).itemsize
        for name, wanted in whole.named_parameters()
    )


def _owners(model: ParallelModel, names: list[str]) -> tuple[dict[str, int], dist.ProcessGroup | None]:
    """Which process of the pipeline has each parameter, and their group if there are several."""
    if model.mesh is None or model.layout.pipeline == 1:
        return {}, None
    group = model.mesh.get_group("pipeline")
    everyone: list[list[str]] = [[] for _ in range(model.layout.pipeline)]
    dist.all_gather_object(everyone, names, group=group)
    return {name: rank for rank, theirs in enumerate(everyone) for name in theirs}, group


@torch.no_grad()
def _full(parameter: nn.Parameter) -> Tensor:
    value = parameter.detach()
    # A copy, which training does not change and `to` does not share.
    full: Tensor = value.full_tensor() if isinstance(value, DTensor) else value.clone()
    return full.contiguous()


def _is_matrix_of_a_layer(name: str, value: Tensor) -> bool:
    return name.startswith("layers.") and value.ndim == 2
