"""`tsumugu release gguf`: a model directory as one file for llama.cpp.

    config.json -> names, shapes and sizes -> head of the file
    tokenizer   -> vocabulary             /
    weights     -> one tensor at a time, a block of rows at a time -> body

The `gguf` package writes the file and makes the quantised forms. The head states the size of every
tensor, so nothing needs to be kept until the end: in memory is one tensor as it is stored, and as it
will be.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, write_aside
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.release.adapter import TheirWeights, shape_of_directory
from tsumugu.release.folder import CARD
from tsumugu.release.gguf_names import architecture_of, sizes_of, to_gguf
from tsumugu.release.gguf_vocabulary import MODEL, Vocabulary, read_vocabulary
from tsumugu.release.stored import BLOCK_BYTES
from tsumugu.release.weight_files import read_weights

KINDS = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0")
"""Forms of the matrices that the package `gguf` can write and llama.cpp computes with, finest first."""
_STORED = {torch.float32: "f32", torch.float16: "f16", torch.bfloat16: "bf16"}
_FILE_TYPES = {
    "f32": "ALL_F32",
    **{kind: f"MOSTLY_{kind.upper()}" for kind in KINDS if kind != "f32"},
}
_LARGEST_HALF = 65_504.0
# As transformers applies them; what llama.cpp has by default cuts first and divides by the temperature last.
_SEQUENCE = "penalties;temperature;top_k;top_p;min_p"


@dataclass(frozen=True)
class Written:
    """What was made."""

    path: Path
    kind: str
    tensors: int
    bytes: int
    coarse: tuple[str, ...]
    """Matrices that are float16, because their rows do not divide into blocks of the kind."""


def export_gguf(folder: Path, path: Path | None = None, *, kind: str | None = None) -> Written:
    """Write a GGUF file of a model directory; it appears whole or not at all.

    Args:
        folder: a directory in the form of our releases: safetensors, `config.json`, `spiece.model`.
        path: the file; default: beside the directory, named after the model and the kind.
        kind: of the matrices, one of `KINDS`; default: as they are stored. Vectors, norms and learned
            positions are float32 in any case.

    Raises:
        TsumuguError: the file is there already, the model or its tokenizer cannot be said in GGUF, a weight
            has no place in the kind, or the package `gguf` is not installed.
    """
    if find_spec("gguf") is None:
        raise TsumuguError("the package gguf is not installed here. Run pip install 'tsumugu[gguf]'")
    if not (folder / "config.json").is_file():
        raise TsumuguError(f"{folder} is not a model directory: it has no config.json")
    try:
        config = shape_of_directory(folder)
        stored = read_weights(folder)
        weights = TheirWeights(stored, config)
        vocabulary = read_vocabulary(folder, weights.vocab_size)
    except TsumuguError as error:
        raise TsumuguError(f"{folder}: {error}") from error
    kind = kind or _stored_kind(
        {tensor.dtype for tensor in stored.values() if tensor.dtype.is_floating_point}
    )
    card = _card(folder)
    name = _name(card) or folder.resolve().name
    path = path or folder.resolve().parent / f"{name}-{kind}.gguf"
    if path.exists():
        raise TsumuguError(f"{path} is there already. Remove it, or choose another file")
    with write_aside(path) as aside:
        writer = _head(aside, name, config, vocabulary, kind=kind, rows=weights.vocab_size)
        _describe(writer, card, _generation(folder))
        tensors = [*_planned(config, weights.vocab_size, kind)]
        for tensor in tensors:
            writer.add_tensor_info(
                tensor.name,
                _byte_shape(tensor.shape, tensor.kind),
                np.dtype(np.uint8),
                math.prod(_byte_shape(tensor.shape, tensor.kind)),
                raw_dtype=_quantization(tensor.kind),
            )
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for ours, names in _by_parameter(tensors):
            parts = to_gguf(ours, weights[ours], config)
            for planned in names:
                writer.write_tensor_data(encode(parts.pop(planned.name), planned.kind, name=planned.name))
        writer.close()
        size = aside.stat().st_size
    coarse = tuple(
        tensor.name for tensor in tensors if len(tensor.shape) > 1 and tensor.kind not in (kind, "f32")
    )
    return Written(path, kind, len(tensors), size, coarse)


@dataclass(frozen=True)
class _Planned:
    ours: str
    name: str
    shape: tuple[int, ...]
    kind: str


def _planned(config: ModelConfig, rows: int, kind: str) -> Iterator[_Planned]:
    with torch.device("meta"):
        model = Decoder(config, rows)
    for ours, parameter in model.named_parameters():
        for name, part in to_gguf(ours, parameter, config).items():
            yield _Planned(ours, name, tuple(part.shape), _kind_of(name, tuple(part.shape), kind))


def _kind_of(name: str, shape: tuple[int, ...], kind: str) -> str:
    """llama.cpp adds vectors and positions in float32, and quantised rows are whole blocks."""
    if len(shape) == 1 or name == "position_embd.weight":
        return "f32"
    from gguf.constants import GGML_QUANT_SIZES

    return kind if shape[-1] % GGML_QUANT_SIZES[_quantization(kind)][0] == 0 else "f16"


def _by_parameter(tensors: list[_Planned]) -> Iterator[tuple[str, list[_Planned]]]:
    """In the order of the plan, in which the parts of a parameter stand together."""
    for ours in dict.fromkeys(tensor.ours for tensor in tensors):
        yield ours, [tensor for tensor in tensors if tensor.ours == ours]


def encode(tensor: Tensor, kind: str, *, name: str) -> NDArray[np.uint8]:
    """The bytes of a tensor `[..., N]`, as rows `[..., bytes of a row]`.

    Raises:
        TsumuguError: a number is not finite, or beyond what the kind can hold.
    """
    from gguf.quants import quantize

    out = np.empty(_byte_shape(tuple(tensor.shape), kind), dtype=np.uint8)
    step = max(1, BLOCK_BYTES // max(1, math.prod(tensor.shape[1:]) * 4))
    for first in range(0, len(tensor), step):
        rows = tensor[first : first + step].float()
        largest = float(rows.abs().max())
        # Scales of quantised blocks are float16 too.
        if not math.isfinite(largest) or (kind not in ("f32", "bf16") and largest > _LARGEST_HALF):
            raise TsumuguError(
                f"{name} holds numbers that are not finite, or too large for {kind}. float16 ends at 65,504; "
                f"bf16 and f32 reach as far as training does"
            )
        found = quantize(np.ascontiguousarray(rows.numpy()), _quantization(kind))
        begin = first if len(tensor.shape) > 1 else first * _row_bytes(1, kind)
        flat = np.ascontiguousarray(found).view(np.uint8)
        out[begin : begin + len(flat)] = flat
    return out


def _quantization(kind: str) -> Any:
    from gguf import GGMLQuantizationType

    return GGMLQuantizationType[kind.upper()]


def _row_bytes(numbers: int, kind: str) -> int:
    from gguf.constants import GGML_QUANT_SIZES

    block, size = GGML_QUANT_SIZES[_quantization(kind)]
    return numbers // int(block) * int(size)


def _byte_shape(shape: tuple[int, ...], kind: str) -> tuple[int, ...]:
    return (*shape[:-1], _row_bytes(shape[-1], kind))


def _stored_kind(found: set[torch.dtype]) -> str:
    """The kind that loses nothing."""
    kinds = {_STORED.get(dtype, "f32") for dtype in found}
    return kinds.pop() if len(kinds) == 1 else "f32"


def _head(path: Path, name: str, config: ModelConfig, vocabulary: Vocabulary, *, kind: str, rows: int) -> Any:
    """A writer that knows everything but the tensors."""
    from gguf import GGUFWriter, LlamaFileType
    from gguf.constants import GGML_QUANT_VERSION

    arch = architecture_of(config)
    writer = GGUFWriter(path, arch)
    writer.add_type("model")
    writer.add_name(name)
    writer.add_file_type(LlamaFileType[_FILE_TYPES[kind]])
    writer.add_quantization_version(GGML_QUANT_VERSION)
    for key, value in sizes_of(config, rows).items():
        # `bool` is an `int`.
        add = {bool: writer.add_bool, int: writer.add_uint32, float: writer.add_float32}[type(value)]
        add(f"{arch}.{key}", value)
    writer.add_tokenizer_model(MODEL)
    writer.add_tokenizer_pre("default")
    writer.add_token_list([token.encode() for token in vocabulary.tokens])
    writer.add_token_scores(list(vocabulary.scores))
    writer.add_token_types(list(vocabulary.kinds))
    for role, id_ in vocabulary.special.items():
        getattr(writer, f"add_{role}_token_id")(id_)
    # The tokenizer puts none in front whatever stands here, and a chat template would lose its own.
    writer.add_add_bos_token(False)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(False)
    if vocabulary.template is not None:
        writer.add_chat_template(vocabulary.template)
    return writer


def _describe(writer: Any, card: dict[str, Any], generation: dict[str, Any]) -> None:
    """What the card says of itself, and how the model likes to be sampled."""
    if card.get("license"):
        writer.add_license(str(card["license"]))
    for key, add in (("language", writer.add_languages), ("tags", writer.add_tags)):
        if found := card.get(key):
            add([str(each) for each in (found if isinstance(found, list) else [found])])
    if not generation.get("do_sample"):
        return
    writer.add_sampling_sequence(_SEQUENCE)
    # What is not said is what transformers takes it for.
    writer.add_sampling_temp(float(generation.get("temperature") or 1.0))
    writer.add_sampling_top_k(50 if generation.get("top_k") is None else int(generation["top_k"]))
    writer.add_sampling_top_p(float(generation.get("top_p") or 1.0))
    writer.add_sampling_min_p(float(generation.get("min_p") or 0.0))
    writer.add_sampling_penalty_repeat(float(generation.get("repetition_penalty") or 1.0))
    # Of the whole text; llama.cpp looks at the last 64 tokens unless told.
    writer.add_sampling_penalty_last_n(-1)


def _name(card: dict[str, Any]) -> str | None:
    """What the card calls the model; where there are no scores, nothing."""
    index = card.get("model-index")
    name = index[0].get("name") if isinstance(index, list) and index and isinstance(index[0], dict) else None
    return name if isinstance(name, str) and name and "/" not in name else None


def _generation(folder: Path) -> dict[str, Any]:
    path = folder / "generation_config.json"
    found = read_json(path) if path.is_file() else {}
    return found if isinstance(found, dict) else {}


def _card(folder: Path) -> dict[str, Any]:
    """The metadata of the card; none, if there is none."""
    from huggingface_hub import metadata_load

    if not (folder / CARD).is_file():
        return {}
    try:
        return dict(metadata_load(folder / CARD) or {})
    except ValueError as error:
        raise TsumuguError(f"{folder / CARD}: the metadata cannot be read: {error}") from error
