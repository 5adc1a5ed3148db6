"""A checkpoint's weights to safetensors files in transformers' form, a parameter at a time.

A checkpoint has a file of each process that trained, with the part of every tensor that was there. Parts
are put together whatever layout they come from, in the precision of the result; in memory is one parameter
and a block of rows, never the model, nor a file of it.
"""

import json
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from tsumugu.errors import TsumuguError
from tsumugu.files import write_json
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.release.adapter import to_theirs
from tsumugu.release.stored import Plan, StoredTensor, read_header, writing_files
from tsumugu.release.weight_files import INDEX
from tsumugu.training.checkpoint_files import find_damage

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
_PLACES = "DCP_SHARDING_INFO"
_OFFSETS = "saved_offsets"


@dataclass(frozen=True)
class SavedTensor:
    """A tensor of a checkpoint, in parts."""

    parts: tuple[tuple[tuple[int, ...], StoredTensor], ...]
    """Each with the place of its first number in the whole."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the whole."""
        ends = [[o + n for o, n in zip(offset, part.shape, strict=True)] for offset, part in self.parts]
        return tuple(max(sizes) for sizes in zip(*ends, strict=True))

    def read(self, dtype: torch.dtype) -> Tensor:
        """The whole."""
        whole = torch.empty(self.shape, dtype=dtype)
        for offset, part in self.parts:
            place = whole[tuple(slice(o, o + n) for o, n in zip(offset, part.shape, strict=True))]
            for first, block in part.blocks():
                place[first : first + len(block)].copy_(block)
        return whole


def open_checkpoint(checkpoint: Path) -> dict[str, SavedTensor]:
    """The tensors of a checkpoint by name, the optimizer's too, not yet read.

    Raises:
        TsumuguError: it is damaged.
    """
    if damage := find_damage(checkpoint):
        raise TsumuguError(f"{damage}. Restore it from a copy, or take another checkpoint")
    parts: dict[str, list[tuple[tuple[int, ...], StoredTensor]]] = defaultdict(list)
    for path in sorted(checkpoint.glob("*.safetensors")):
        tensors, metadata = read_header(path)
        places = json.loads(metadata[_PLACES])
        for name, tensor in tensors.items():
            parts[name].append((tuple(places[name][_OFFSETS]), tensor))
    return {name: SavedTensor(tuple(found)) for name, found in parts.items()}


def export_weights(
    checkpoint: Path, folder: Path, config: ModelConfig, *, vocab_size: int, dtype: str, max_shard_size: str
) -> int:
    """Write `model.safetensors`, or `model-00001-of-0000N.safetensors` and their index.

    Args:
        checkpoint: `.../step-N`.
        folder: where to; what an earlier export left there goes.
        config: the model.
        vocab_size: rows of the embedding.
        dtype: `float32`, `bfloat16` or `float16`.
        max_shard_size: of a file, such as `5GB` (10^9 bytes); a larger tensor has a file of its own.

    Returns:
        The number of files.

    Raises:
        TsumuguError: the checkpoint is damaged, or of another model; a weight is too large for `dtype`.
    """
    saved = open_checkpoint(checkpoint)
    with torch.device("meta"):
        model = Decoder(config, vocab_size)
    shapes = {name: tuple(parameter.shape) for name, parameter in model.named_parameters()}
    _refuse_another_model(checkpoint, saved, shapes)
    kind = DTYPES[dtype]
    plan, total = _plan(model, kind, max_shard_size)
    for path in [*folder.glob("model*.safetensors"), folder / INDEX]:
        path.unlink(missing_ok=True)
    with writing_files({folder / file: Plan(kind, found) for file, found in plan.items()}) as writer:
        for name in shapes:
            for theirs, part in to_theirs(name, saved[name].read(kind), config).items():
                writer.write(theirs, part)
    if len(plan) > 1:
        # As transformers writes it; a shared parameter counts once.
        parameters = sum(prod(shape) for shape in shapes.values())
        write_json(
            folder / INDEX,
            {
                "metadata": {"total_parameters": parameters, "total_size": total},
                "weight_map": dict(sorted((name, file) for file, found in plan.items() for name in found)),
            },
        )
    return len(plan)


def _plan(
    model: Decoder, dtype: torch.dtype, max_shard_size: str
) -> tuple[dict[str, dict[str, tuple[int, ...]]], int]:
    """Shapes by file and name, as transformers deals tensors to files; bytes of all."""
    from huggingface_hub import split_torch_state_dict_into_shards

    shapes = {
        theirs: tuple(part.shape)
        for name, parameter in model.named_parameters()
        for theirs, part in to_theirs(name, parameter, model.config).items()
    }
    # Of memory of their own: what is counted is that.
    empty = {name: torch.empty(shape, dtype=dtype, device="meta") for name, shape in shapes.items()}
    split = split_torch_state_dict_into_shards(empty, max_shard_size=max_shard_size)
    plan = {file: {name: shapes[name] for name in names} for file, names in split.filename_to_tensors.items()}
    return plan, int(split.metadata["total_size"])


def _refuse_another_model(
    checkpoint: Path, saved: Mapping[str, SavedTensor], shapes: Mapping[str, tuple[int, ...]]
) -> None:
    wrong = [f"it has no {name}" for name in shapes if name not in saved]
    wrong += [
        f"its {name} is {list(saved[name].shape)} instead of {list(shape)}"
        for name, shape in shapes.items()
        if name in saved and saved[name].shape != shape
    ]
    if wrong:
        raise TsumuguError(
            f"{checkpoint} is of another model than the run's recipe.yaml and tokenizer say: "
            f"{'; '.join(wrong[:3])}"
        )
