"""Checkpoints without a training."""

from pathlib import Path

from torch import nn

from tsumugu.training import checkpoint_files


def write_checkpoint(folder: Path, model: nn.Module, *, step: int = 1, processes: int = 1) -> Path:
    """The model's weights as `processes` would have written them: rows of one matrix, columns of the next."""
    checkpoint = folder / f"step-{step}"
    checkpoint.mkdir(parents=True)
    shards: list[list[tuple[str, object, tuple[int, ...]]]] = [[] for _ in range(processes)]
    for number, (name, parameter) in enumerate(model.named_parameters()):
        axis = number % parameter.dim()
        begin = 0
        for rank, part in enumerate(parameter.detach().tensor_split(processes, dim=axis)):
            offset = tuple(begin if axis == each else 0 for each in range(parameter.dim()))
            if part.numel():
                shards[rank].append((name, part, offset))
            begin += part.shape[axis]
    files = {}
    for rank, tensors in enumerate(shards):
        path = checkpoint / f"shard-{rank:05d}.safetensors"
        size, checksum = checkpoint_files._write_tensors(path, tensors)  # type: ignore[arg-type]
        files[path.name] = {"bytes": size, "xxh3": checksum}
    state = {"step": step, "updates": step, "samples": step, "tokens": step, "guard": {}}
    checkpoint_files.write_state(checkpoint, state, files)
    return checkpoint
