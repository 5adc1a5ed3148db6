"""This process's part of a tensor."""

from torch import Tensor
from torch.distributed.tensor import DTensor


def local_part(tensor: Tensor) -> Tensor:
    """The numbers that are here: all of a plain tensor, this process's of a DTensor. They share memory."""
    return tensor.to_local() if isinstance(tensor, DTensor) else tensor
