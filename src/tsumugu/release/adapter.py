"""The map between our models and those of transformers, in both directions.

Names come from the tables of `families`. Beside them only the order of numbers differs: GPT-2 keeps
its matrices transposed and all queries before all keys, Llama keeps queries, keys and values apart.
So a released model computes the same function, and so does an imported one: a configuration that
asks for what our decoder cannot compute is refused.
"""

import copy
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import Tensor

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.model.initialization import canonical_name, local_shard
from tsumugu.release.families import FAMILIES, GPT_NEOX, Family, family_of
from tsumugu.release.stored import StoredTensor

Stored = Tensor | StoredTensor
"""In memory, or in a file."""

# Masks and frequencies that older files keep beside the weights.
_NO_WEIGHTS = re.compile(r"\.(attn|attention)\.(masked_)?bias$|\.rotary_emb\.inv_freq$")


def hugging_face_config(
    config: ModelConfig,
    *,
    vocab_size: int,
    bos: int | None,
    eos: int | None,
    pad: int | None,
    dtype: str = "float32",
) -> dict[str, Any]:
    """The contents of `config.json` for this model, whose weights are stored in `dtype`."""
    family = family_of(config)
    return {
        "architectures": [family.model_class],
        "model_type": family.model_type,
        "vocab_size": vocab_size,
        **_function(config),
        **dict.fromkeys(family.dropouts, 0.0),
        "bos_token_id": bos,
        "eos_token_id": eos,
        "pad_token_id": pad,
        "dtype": dtype,
    }


def _function(config: ModelConfig) -> dict[str, Any]:
    """What of `config.json` decides the function that the model computes."""
    family = family_of(config)
    full = {
        **config.model_dump(),
        "intermediate_size": config.mlp_size,
        "num_key_value_heads": config.key_value_heads,
        "head_size": config.head_size,
    }
    found = {theirs: full[ours] for ours, theirs in family.sizes.items()} | dict(family.always)
    if not family.rotary:
        return found
    base = config.rotary_base
    rotary: dict[str, Any] = {"rope_type": "default", "rope_theta": base, "partial_rotary_factor": 1.0}
    # Once for transformers 5, once for its elders and for other programs.
    if family is GPT_NEOX:
        return {**found, "rope_parameters": rotary, "rotary_pct": 1.0, "rotary_emb_base": base}
    return {**found, "rope_parameters": rotary, "rope_theta": base, "rope_scaling": None}


def config_from_hugging_face(found: Mapping[str, Any]) -> ModelConfig:
    """The shape that a `config.json` describes. Its `vocab_size` and its token ids are the tokenizer's.

    Dropout, the precision of the weights and how they were first drawn are no part of it.

    Raises:
        TsumuguError: our decoder cannot compute what the model computes; the message says why.
    """
    model_type = found.get("model_type")
    family = next((each for each in FAMILIES if each.model_type == model_type), None)
    if family is None:
        known = ", ".join(each.model_type for each in FAMILIES)
        raise TsumuguError(f"config.json: model_type = {model_type!r}; Tsumugu's decoder knows {known}")
    theirs = _complete(family, found)
    values = {ours: theirs[key] for ours, key in family.sizes.items() if ours != "head_size"}
    if family.rotary:
        values["rotary_base"] = theirs["rope_parameters"]["rope_theta"]
    try:
        config = ModelConfig.model_validate(
            {"architecture": family.ours, "qk_norm": family.qk_norm, **values}
        )
    except ValidationError as error:
        wrong = "; ".join(".".join(map(str, e["loc"])) + " " + e["msg"] for e in error.errors())
        raise TsumuguError(f"config.json: {wrong.strip()}") from error
    ours = _complete(family, _function(config))
    different = [
        f"{key} = {theirs[key]!r}, which must be {ours[key]!r}"
        for key in (*family.always, "head_dim", "rope_parameters")
        if key in ours and theirs[key] != ours[key]
    ]
    if theirs.get("quantization_config"):
        different.append("its weights are quantized (quantization_config)")
    if different:
        raise TsumuguError(
            f"config.json: Tsumugu's decoder cannot compute this {model_type} model: {'; '.join(different)}"
        )
    return config


def shape_of_directory(folder: Path) -> ModelConfig:
    """The shape of the model in a Hugging Face directory.

    Raises:
        TsumuguError: as `config_from_hugging_face`, or config.json is damaged.
    """
    try:
        found = read_json(folder / "config.json")
    except (OSError, ValueError) as error:
        raise TsumuguError(f"config.json is damaged: {error}") from error
    if not isinstance(found, dict):
        raise TsumuguError("config.json is damaged: it is no JSON object")
    return config_from_hugging_face(found)


def _complete(family: Family, found: Mapping[str, Any]) -> dict[str, Any]:
    """With the values of absent keys, and rotary positions in one spelling, as transformers has them."""
    from huggingface_hub.errors import StrictDataclassError
    from transformers import CONFIG_MAPPING

    try:
        # A copy: transformers writes into what it is given.
        complete: dict[str, Any] = (
            CONFIG_MAPPING[family.model_type].from_dict(copy.deepcopy(dict(found))).to_dict()
        )
    except StrictDataclassError as error:
        raise TsumuguError(f"config.json: {error}") from error
    if family.rotary:
        rotary = {"partial_rotary_factor": 1.0, **complete["rope_parameters"]}
        complete["rope_parameters"] = {key: value for key, value in rotary.items() if key != "type"}
    return complete


def to_hugging_face(model: Decoder) -> dict[str, Tensor]:
    """The weights of `model` under transformers' names. A tied output embedding is not repeated."""
    return {
        theirs: part.contiguous()
        for name, parameter in model.named_parameters()
        for theirs, part in to_theirs(name, parameter.detach(), model.config).items()
    }


def to_theirs(name: str, value: Tensor, config: ModelConfig) -> dict[str, Tensor]:
    """Our parameter `name` as the tensors that transformers has in its place: views where that can be."""
    family = family_of(config)
    parts: tuple[Tensor, ...] = (value,)
    names = family.names(name)
    if ".qkv." in name and not family.grouped_rows:
        parts = split_rows(value, config)
        if len(names) == 1:
            parts = (torch.cat(parts),)
    if family.transposed and name.startswith("layers."):
        parts = tuple(part.t() for part in parts)
    return dict(zip(names, parts, strict=True))


def from_hugging_face(tensors: Mapping[str, Tensor], config: ModelConfig) -> dict[str, Tensor]:
    """The weights of a model of transformers under our names, those of `Decoder.named_parameters`.

    Args:
        tensors: as they stand in the model's files.
        config: of `config_from_hugging_face`.

    Raises:
        TsumuguError: weights are missing, are too many, or have other shapes than `config` says.
    """
    return dict(TheirWeights(tensors, config))


class TheirWeights(Mapping[str, Tensor]):
    """The weights of a model of transformers by our names; those in files are read when asked for."""

    def __init__(self, tensors: Mapping[str, Stored], config: ModelConfig) -> None:
        """See `from_hugging_face`."""
        self._family = family_of(config)
        self._config = config
        self._found = _weights(tensors, config)
        embedding = self._found.get(self._family.names("embedding.weight")[0])
        self.vocab_size = embedding.shape[0] if embedding is not None else 1
        """Rows of the embedding."""
        with torch.device("meta"):
            model = Decoder(config, self.vocab_size)
        _compare(self._found, to_hugging_face(model))
        self._names = [name for name, _ in model.named_parameters()]

    def __len__(self) -> int:
        return len(self._names)

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __getitem__(self, name: str) -> Tensor:
        """A whole parameter."""
        family = self._family
        parts = tuple(_read(self._found[theirs]) for theirs in family.names(name))
        if family.transposed and name.startswith("layers."):
            parts = tuple(part.t() for part in parts)
        if ".qkv." in name and not family.grouped_rows:
            if len(parts) == 1:
                parts = parts[0].chunk(3)
            parts = (_join_rows(parts, self._config),)
        return parts[0].contiguous()

    def rows(self, name: str, first: int, last: int) -> Tensor:
        """Rows of a parameter, no more of it being read where they lie as ours do."""
        family = self._family
        reordered = ".qkv." in name and not family.grouped_rows
        if reordered or (family.transposed and name.startswith("layers.")):
            return self[name][first:last]
        (theirs,) = family.names(name)
        found = self._found[theirs]
        return found.read(first, last) if isinstance(found, StoredTensor) else found[first:last]

    @torch.no_grad()
    def fill(self, model: Decoder) -> None:
        """Set the parameters of a decoder, or of the part or the shard of one that it is.

        Where its vocabulary is smaller, the last rows of the embeddings are left out.
        """
        for name, parameter in model.named_parameters():
            local, shape, offset = local_shard(parameter)
            if not local.numel():
                continue
            rows = self.rows(canonical_name(name, self._config), offset[0], offset[0] + shape[0])
            columns = [slice(begin, begin + size) for size, begin in zip(shape[1:], offset[1:], strict=False)]
            local.copy_(rows[(slice(None), *columns)])


def _read(tensor: Stored) -> Tensor:
    return tensor.read() if isinstance(tensor, StoredTensor) else tensor


def _weights(tensors: Mapping[str, Stored], config: ModelConfig) -> dict[str, Stored]:
    """Without buffers, and without an output embedding that repeats the input's."""
    family = family_of(config)
    found = {name: value for name, value in tensors.items() if not _NO_WEIGHTS.search(name)}
    (embedding,), (head,) = family.names("embedding.weight"), family.names("head.weight")
    if "lm_head.weight" in found:
        found[head] = found.pop("lm_head.weight")
    repeated = found.pop(head, None) if config.tie_word_embeddings else None
    if repeated is not None and embedding in found and not _equal(repeated, found[embedding]):
        raise TsumuguError(f"{head} differs from {embedding}, but config.json has tie_word_embeddings")
    return found


def _equal(one: Stored, other: Stored) -> bool:
    if not isinstance(one, StoredTensor) or not isinstance(other, StoredTensor):
        return torch.equal(_read(one), _read(other))
    if (one.shape, one.dtype) != (other.shape, other.dtype):
        return False
    return all(torch.equal(block, other.read(first, first + len(block))) for first, block in one.blocks())


def _compare(found: Mapping[str, Stored], wanted: Mapping[str, Tensor]) -> None:
    wrong = [f"{name} is missing" for name in wanted if name not in found]
    wrong += [f"{name} has no place in this model" for name in found if name not in wanted]
    wrong += [
        f"{name} is {list(found[name].shape)} instead of {list(wanted[name].shape)}"
        for name in wanted
        if name in found and tuple(found[name].shape) != tuple(wanted[name].shape)
    ]
    if wrong:
        more = f"; and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise TsumuguError(f"the weights do not fit config.json: {'; '.join(wrong[:5])}{more}")


def split_rows(qkv: Tensor, config: ModelConfig) -> tuple[Tensor, ...]:
    """Our rows `[G * (H / G + 2) * K, ...]` as queries `[H * K, ...]`, keys and values `[G * K, ...]`."""
    group_size = config.num_attention_heads // config.key_value_heads
    by_group = qkv.reshape(config.key_value_heads, group_size + 2, config.head_size, *qkv.shape[1:])
    return tuple(part.flatten(0, 2) for part in torch.split(by_group, [group_size, 1, 1], dim=1))


def _join_rows(parts: tuple[Tensor, ...], config: ModelConfig) -> Tensor:
    """Queries, keys and values as our rows."""
    by_group = [part.reshape(config.key_value_heads, -1, config.head_size, *part.shape[1:]) for part in parts]
    return torch.cat(by_group, dim=1).flatten(0, 2)
