"""A release's tokenizer as llama.cpp reads it.

llama.cpp has two tokenizers that look for the likeliest pieces of a text. The one of T5 (`t5`) has no byte
fallback: a character without a piece becomes `<unk>`. The one of PLaMo 2 (`plamo2`) has, and takes text as
it is, which is what our vocabularies are. So pieces are written for that one:

- it copies a piece into the text as it stands, so the sign for a space (U+2581) is a space here;
- it looks for every piece but bytes in a text. What no text may become, such as `</s>`, gets a score
  beyond those that it considers;
- it multiplies scores by 10,000 and rounds them to integers. They are scaled by a power of two, so that
  multiples of 1/64, as which Tsumugu's are stored, stay exact. A common factor changes no comparison.

What is left is told in docs/release.md.
"""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.message import DecodeError
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer

from tsumugu.errors import TsumuguError
from tsumugu.release.loading import load_tokenizer
from tsumugu.tokenizer.export import FAST, KIND, SPIECE, fast_tokenizer, has_table, text_scores
from tsumugu.tokenizer.presets import BYTES, SPACE
from tsumugu.tokenizer.templates import refuse_hostile_templates

MODEL = "plamo2"
"""The tokenizer's name in llama.cpp."""
NORMAL, UNKNOWN, CONTROL, UNUSED, BYTE = 1, 2, 3, 5, 6
"""Kinds of tokens (`llama_token_type`)."""
NEVER = -10_000.0
"""A score that llama.cpp does not consider: it ends at -2,000 (INVALID_SCORE in llama-vocab.cpp)."""
_STEPS = 10_000
"""llama.cpp rounds scores to so many parts of a nat."""
_LARGEST = 4_000_000
"""Of these parts, so that float32 holds them exactly. An unknown character costs 10,000,000."""
_KINDS = {KIND.UNKNOWN: UNKNOWN, KIND.CONTROL: CONTROL, KIND.BYTE: BYTE, KIND.UNUSED: UNUSED}
_ROLES = ("bos", "eos", "unk", "sep", "pad", "mask")


@dataclass(frozen=True)
class Vocabulary:
    """What `tokenizer.ggml` holds."""

    tokens: tuple[str, ...]
    """By id; as many as the model's embedding has rows."""
    scores: tuple[float, ...]
    kinds: tuple[int, ...]
    special: dict[str, int]
    """Ids by role: bos, eos, ...; `eot` is another token that ends answers."""
    template: str | None
    """For conversations, in Jinja."""


def read_vocabulary(folder: Path, rows: int) -> Vocabulary:
    """The tokenizer of a released directory whose embedding has `rows` rows.

    Raises:
        TsumuguError: it is no SentencePiece unigram model with byte fallback that takes text as it is; its
            files do not agree; its chat template is hostile.
    """
    model = _read_model(folder)
    refuse_hostile_templates(folder)
    tokenizer = load_tokenizer(folder)
    pieces = [piece.piece for piece in model.pieces]
    if rows < len(pieces):
        raise TsumuguError(f"the tokenizer has {len(pieces)} tokens, and the embedding {rows} rows")
    more = rows - len(pieces)
    special = {
        role: int(id_) for role in _ROLES if (id_ := getattr(tokenizer, f"{role}_token_id")) is not None
    }
    ends = [id_ for id_ in _ends(folder) if id_ != special.get("eos")]
    if len(ends) > 1:
        raise TsumuguError(
            f"generation_config.json ends answers at {len(ends) + 1} tokens; a GGUF file names two at most"
        )
    if ends:
        special["eot"] = ends[0]
    template = tokenizer.get_chat_template() if tokenizer.chat_template else None
    return Vocabulary(
        # U+2581 stands for a space, and no piece has one.
        tokens=(*(piece.replace(SPACE, " ") for piece in pieces), *(f"[PAD{n}]" for n in range(more))),
        scores=(*scaled_scores(text_scores(model)), *[NEVER] * more),
        kinds=(*(_KINDS.get(piece.type, NORMAL) for piece in model.pieces), *[UNUSED] * more),
        special=special,
        template=template,
    )


def scaled_scores(scores: Sequence[float | None]) -> list[float]:
    """Scores as llama.cpp rounds them exactly; `NEVER` where there is none."""
    largest = max((abs(score) for score in scores if score is not None), default=1.0)
    factor = 2.0 ** math.floor(math.log2(_LARGEST / max(largest, 1.0)))
    return [NEVER if score is None else round(score * factor) / _STEPS for score in scores]


def _read_model(folder: Path) -> Any:
    path = folder / SPIECE
    if not path.is_file():
        raise TsumuguError(
            f"it has no {SPIECE}: only SentencePiece unigram models are written to GGUF here. For other "
            f"tokenizers, try convert_hf_to_gguf.py of llama.cpp"
        )
    try:
        model = sentencepiece_model_pb2.ModelProto.FromString(path.read_bytes())
    except DecodeError as error:
        raise TsumuguError(f"{SPIECE} is damaged: {error}") from error
    # Looks at all that must hold for the likeliest pieces to be those of SentencePiece.
    fast_tokenizer(model)
    spec = model.normalizer_spec
    changes = [
        *(["normalises text by a table"] if has_table(model) else []),
        *(["puts a space in front of it"] if spec.add_dummy_prefix else []),
        *(["takes spaces out of it"] if spec.remove_extra_whitespaces else []),
    ]
    if changes:
        raise TsumuguError(
            f"its tokenizer {' and '.join(changes)}, and llama.cpp has no unigram tokenizer that does so and "
            f"knows byte fallback"
        )
    found = {piece.piece for piece in model.pieces if piece.type == KIND.BYTE}
    if not model.trainer_spec.byte_fallback or found != {*BYTES}:
        raise TsumuguError(
            "its tokenizer has no byte fallback, which llama.cpp's unigram tokenizer relies on"
        )
    pieces = [piece.piece for piece in model.pieces]
    if any(" " in piece for piece in pieces):
        raise TsumuguError("a piece of its tokenizer holds a space, where SentencePiece writes U+2581")
    _refuse_other_tokens(folder, pieces)
    return model


def _refuse_other_tokens(folder: Path, pieces: Sequence[str]) -> None:
    if not (folder / FAST).is_file():
        return
    try:
        found = Tokenizer.from_file(str(folder / FAST)).get_vocab(with_added_tokens=True)
    except Exception as error:
        # The library raises `Exception` itself.
        raise TsumuguError(f"{FAST} is damaged: {error}") from error
    if found != {piece: id_ for id_, piece in enumerate(pieces)}:
        other = sorted(token for token, id_ in found.items() if id_ >= len(pieces) or pieces[id_] != token)
        named = f", such as {other[0]!r}" if other else ""
        raise TsumuguError(f"{FAST} has other tokens than {SPIECE}{named}; only the latter can be written")


def _ends(folder: Path) -> list[int]:
    """Ids at which generation ends."""
    path = folder / "generation_config.json"
    if not path.is_file():
        return []
    try:
        found = json.loads(path.read_text(encoding="utf-8")).get("eos_token_id")
    except (ValueError, AttributeError) as error:
        raise TsumuguError(f"{path.name} is damaged: {error}") from error
    if found is None:
        return []
    return [int(id_) for id_ in (found if isinstance(found, list) else [found])]
