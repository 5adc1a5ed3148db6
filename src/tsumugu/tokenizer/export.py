"""The fast twin of a SentencePiece unigram model: the same ids from the `tokenizers` library.

Three things differ between the two libraries, and are made equal here.

*What a text can contain.* SentencePiece never finds "</s>" or "<0x0A>" in a text; its twin looks for
every piece. Such hidden pieces get a score that any spelling in plain pieces beats. Where a character
of theirs has no piece, the text is cut around that character instead: it is unknown, so that no piece
reaches across it.

*Unknown characters.* Both charge more for one than for any piece, but not the same. The price does not
matter as long as a character without a piece is in no longer piece either: then every way to spell the
text pays for it. Other vocabularies are refused.

*Normalisation.* Spaces, the dummy prefix and extra white space are steps of `normalizers.Sequence`.
SentencePiece's tables (nmt_nfkc and its kin) work through `Precompiled`, which alone would be wrong: it
looks up whole grapheme clusters, and takes "①" with an accent for "①". A control character between
all characters makes every cluster a single character; NFC then composes what the table's longer rules
compose. `equality.py` says what is left.
"""

from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers

from tsumugu.errors import TsumuguError
from tsumugu.files import write_aside
from tsumugu.tokenizer.presets import SPACE

SPIECE = "spiece.model"
FAST = "tokenizer.json"
KIND = sentencepiece_model_pb2.ModelProto.SentencePiece
_TABLES = ("nmt_nfkc", "nmt_nfkc_cf", "nfkc", "nfkc_cf")
# Characters that never join a grapheme cluster with another of them: no separator between two.
_SIMPLE = r" -~\u3001-\u3002\u3041-\u3096\u30a1-\u30fa\u4e00-\u9fff\uff01-\uff5e"
_BETWEEN = rf"(?m)(?<=[^{_SIMPLE}])(?=.)|(?<=.)(?=[^{_SIMPLE}])"
# Unassigned characters that end every grapheme cluster (Grapheme_Cluster_Break=Control). What stands
# between the text's characters for a time begins with U+FFF0; so does what a U+FFF0 of the text becomes,
# and it is never taken for anything else.
_OWN, _OWN_ASIDE, _SEPARATOR = "\ufff0", "\ufff0\ufff1", "\ufff0\ufff2"
_ASIDE = ["\ufff0" + first + second for first in "\ufff3\ufff4\ufff5" for second in "\ufff3\ufff4\ufff5"]


def load_sentencepiece(folder: Path) -> spm.SentencePieceProcessor:
    """The SentencePiece model of a tokenizer folder."""
    return _processor((folder / SPIECE).read_bytes())


@lru_cache(maxsize=1)
def _processor(model: bytes) -> spm.SentencePieceProcessor:
    # A worker asks for it at every shard.
    return spm.SentencePieceProcessor(model_proto=model)


def effective_scores(model: Any) -> list[float]:
    """The score that SentencePiece gives each piece of the ModelProto `model` when it encodes.

    A piece that is never found in text has that of an unknown character: ten below the lowest
    (kUnkPenalty in unigram_model.cc).
    """
    unknown = min(piece.score for piece in model.pieces if piece.type == KIND.NORMAL) - 10
    return [_score(piece) if _is_found(piece) else unknown for piece in model.pieces]


def text_scores(model: Any) -> list[float | None]:
    """The score of each piece of the ModelProto `model`; None for those that are never found in text."""
    return [_score(piece) if _is_found(piece) else None for piece in model.pieces]


def fast_tokenizer(model: Any) -> Tokenizer:
    """The twin of the ModelProto `model`.

    Raises:
        TsumuguError: the model has something that cannot be made exact.
    """
    _check(model)
    found = [piece for piece in model.pieces if _is_found(piece)]
    hidden = [piece.piece for piece in model.pieces if not _is_found(piece)]
    lowest = min([-1.0, *(_score(piece) for piece in found)])
    never = (max(map(len, hidden)) + 1) * lowest - 1
    unknown = next(index for index, piece in enumerate(model.pieces) if piece.type == KIND.UNKNOWN)
    tokenizer = Tokenizer(
        models.Unigram(
            [(piece.piece, _score(piece) if _is_found(piece) else never) for piece in model.pieces],
            unk_id=unknown,
            byte_fallback=model.trainer_spec.byte_fallback,
        )
    )
    tokenizer.normalizer = normalizers.Sequence(_normalizers(model))
    unspelled = {*"".join(hidden)} - _characters(found)
    if unspelled:
        tokenizer.pre_tokenizer = pre_tokenizers.Split(_cuts(model, found, unspelled), "isolated")
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.ByteFallback(),
            decoders.Replace(SPACE, " "),
            decoders.Fuse(),
            *([decoders.Strip(" ", 1, 0)] if _begins_with_space(model) else []),
        ]
    )
    tokenizer.add_special_tokens(
        [
            AddedToken(piece.piece, normalized=False, special=True)
            for piece in model.pieces
            if piece.type in (KIND.CONTROL, KIND.UNKNOWN)
        ]
    )
    # A page that shows "</s>" must not end the document: special tokens never come from text.
    tokenizer.encode_special_tokens = True
    return tokenizer


def write_sentencepiece(folder: Path, model: bytes) -> None:
    """Write `spiece.model` and `tokenizer.json`."""
    tokenizer = fast_tokenizer(sentencepiece_model_pb2.ModelProto.FromString(model))
    with write_aside(folder / SPIECE) as aside:
        aside.write_bytes(model)
    with write_aside(folder / FAST) as aside:
        tokenizer.save(str(aside))


def has_table(model: Any) -> bool:
    """Whether the ModelProto normalises text by a table such as nmt_nfkc."""
    return bool(model.normalizer_spec.precompiled_charsmap)


def keeps_text(model: Any) -> bool:
    """Whether decoding gives every text back (one that holds U+2581 apart)."""
    spec = model.normalizer_spec
    exact = not (has_table(model) or spec.remove_extra_whitespaces)
    return bool(exact and model.trainer_spec.byte_fallback)


def _is_found(piece: Any) -> bool:
    return piece.type in (KIND.NORMAL, KIND.USER_DEFINED)


def _score(piece: Any) -> float:
    if piece.type == KIND.USER_DEFINED:
        # GetUserDefinedScore in unigram_model.cc of SentencePiece 0.2.3, a 32-bit float.
        return float(np.float32(0.1 * (len(piece.piece.encode()) - 1)))
    return float(piece.score)


def _characters(found: list[Any]) -> set[str]:
    return {piece.piece for piece in found if len(piece.piece) == 1}


def _check(model: Any) -> None:
    spec, trainer = model.normalizer_spec, model.trainer_spec
    if trainer.model_type != sentencepiece_model_pb2.TrainerSpec.UNIGRAM:
        name = sentencepiece_model_pb2.TrainerSpec.ModelType.Name(trainer.model_type)
        raise TsumuguError(
            f"it is a SentencePiece {name} model; only unigram models have an exact fast twin here. If the "
            f"tokenizer has a tokenizer.json, give its directory instead."
        )
    if has_table(model) and spec.name not in _TABLES:
        raise TsumuguError(
            f"it normalises text by a table of its own ({spec.name!r}); the fast twin can follow "
            f"{', '.join(_TABLES)} and identity."
        )
    if not spec.escape_whitespaces or trainer.treat_whitespace_as_suffix:
        raise TsumuguError(
            "it was trained with escape_whitespaces=false or treat_whitespace_as_suffix=true, which the "
            "fast twin cannot follow."
        )
    found = [piece for piece in model.pieces if _is_found(piece)]
    names = [piece.piece for piece in model.pieces]
    if len(set(names)) < len(names):
        raise TsumuguError("two of its pieces have the same name, which the fast twin cannot tell apart.")
    single = [piece.piece for piece in model.pieces if not _is_found(piece) and len(piece.piece) == 1]
    if single:
        raise TsumuguError(f"{single} are no text for it, and one character; the fast twin would find them.")
    alone = _characters(found)
    lost = {*"".join(piece.piece for piece in found if piece.type == KIND.NORMAL)} - alone
    if lost:
        raise TsumuguError(
            f"the characters {sorted(lost)[:10]} occur in longer pieces and have no piece of their own: "
            f"SentencePiece and its fast twin would charge differently for them."
        )
    if not trainer.byte_fallback and {*"".join(names)} - alone - {*"".join(p.piece for p in found)}:
        raise TsumuguError("it has no byte fallback and no pieces to spell the names of its special tokens.")
    if spec.remove_extra_whitespaces and any(SPACE * 2 in p.piece for p in _user_defined(model)):
        raise TsumuguError("it removes extra white space and has user-defined runs of it.")


def _user_defined(model: Any) -> list[Any]:
    return [piece for piece in model.pieces if piece.type == KIND.USER_DEFINED]


def _begins_with_space(model: Any) -> bool:
    spec = model.normalizer_spec
    return bool(spec.add_dummy_prefix or spec.remove_extra_whitespaces)


def _cuts(model: Any, found: list[Any], unspelled: set[str]) -> Regex:
    """User-defined pieces with an unspelled character whole, and every other unspelled character."""
    wholes = [piece.piece for piece in _user_defined(model) if unspelled & {*piece.piece}]
    ordered = sorted(wholes, key=len, reverse=True) + sorted(unspelled)
    return Regex("|".join(_escaped(text) for text in ordered))


def _escaped(text: str) -> str:
    return "".join(rf"\x{{{ord(character):X}}}" for character in text)


def _normalizers(model: Any) -> list[Any]:
    spec = model.normalizer_spec
    prefix = [normalizers.Prepend(SPACE)] if spec.add_dummy_prefix else []
    spaces = [normalizers.Replace(" ", SPACE)]
    if not spec.remove_extra_whitespaces:
        return [*prefix, *_table(model), *spaces]
    # SentencePiece strips spaces in front, and signs for spaces (U+2581 in the text too) at the end.
    return [
        *_table(model),
        normalizers.Replace(Regex(r"\A +"), ""),
        normalizers.Replace(Regex(" {2,}"), " "),
        *spaces,
        *prefix,
        normalizers.Replace(Regex(rf"{SPACE}+\z"), ""),
    ]


def _table(model: Any) -> list[Any]:
    if not has_table(model):
        return []
    aside = _user_defined_aside(model)
    return [
        normalizers.Replace(_OWN, _OWN_ASIDE),
        *(normalizers.Replace(text, sign) for text, sign in aside),
        normalizers.Replace(Regex(_BETWEEN), _SEPARATOR),
        normalizers.Precompiled(model.normalizer_spec.precompiled_charsmap),
        normalizers.Replace(_SEPARATOR, ""),
        normalizers.NFC(),
        *(normalizers.Replace(sign, text) for text, sign in aside),
        normalizers.Replace(_OWN_ASIDE, _OWN),
    ]


def _user_defined_aside(model: Any) -> list[tuple[str, str]]:
    """The user-defined symbols that the table would change, and a sign for each.

    SentencePiece does not normalise user-defined symbols; here they step aside meanwhile.
    """
    table = spm.SentencePieceNormalizer(
        model_proto=model.SerializeToString(),
        add_dummy_prefix=False,
        remove_extra_whitespaces=False,
        escape_whitespaces=False,
    )
    changed = [piece.piece for piece in _user_defined(model) if table.normalize(piece.piece) != piece.piece]
    if len(changed) > len(_ASIDE):
        raise TsumuguError(
            f"its normalisation would change {len(changed)} of its user-defined symbols, more than the "
            f"{len(_ASIDE)} around which the fast twin can normalise."
        )
    return list(zip(sorted(changed, key=len, reverse=True), _ASIDE, strict=False))
