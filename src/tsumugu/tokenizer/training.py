"""Train a SentencePiece unigram model on documents.

As LINE did for japanese-large-lm: raw text goes into the trainer, without a morphological
analyser or any other pre-tokenizer in front, and characters without a piece fall back to bytes.
Text is not normalised and no space is put before it, so that decoding gives back exactly what
was encoded. The preset says which pieces are there before anything is learned.

Scores are rounded to multiples of 1/64. SentencePiece adds them up in 32-bit floats and its fast
twin in 64-bit ones; on a long document the two would come to different sums, and now and then to
different pieces. Sums of such multiples are exact in both: 24 bits hold them up to 2**18 nats, and
SentencePiece begins its sum anew at 100,000.

The preset's pieces are given to the trainer as user-defined symbols and become normal pieces
afterwards, as probable as the likeliest learned one, so that the fewest of them win. SentencePiece
scores user-defined symbols by a formula that is no such multiple and that changed between versions.
"""

import io
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2

from tsumugu.errors import TsumuguError
from tsumugu.tokenizer.config import TokenizerConfig
from tsumugu.tokenizer.export import KIND
from tsumugu.tokenizer.presets import NEWLINE, PRESETS, SPECIAL_TOKENS
from tsumugu.tokenizer.sampling import Document

# SentencePiece leaves out longer sentences without a word (its limit is 4192 bytes).
_LONGEST_LINE = 1000
_SCORE_STEPS = 64


@dataclass
class Seen:
    """What went into the trainer."""

    documents: Counter[str] = field(default_factory=Counter)
    """By source."""
    characters: Counter[str] = field(default_factory=Counter)
    """By source, line breaks included."""
    lines: int = 0
    divided_lines: int = 0
    """Lines of more than 1000 characters, which went in as several."""


def train_sentencepiece(documents: Iterable[Document], config: TokenizerConfig) -> tuple[bytes, Seen]:
    """Train on `documents`; return the model file's bytes and what was seen.

    In this process, for little text; the stage trains in one of its own (`training_process.py`), to the same
    bytes.

    The bytes depend on the documents and the settings alone: text goes in through memory, so no path
    of this machine is written into the model. Memory: SentencePiece holds all the text, and several
    times its size while it counts substrings.

    Raises:
        TsumuguError: SentencePiece cannot make a vocabulary of this size from this text.
    """
    written, seen = io.BytesIO(), Seen()
    try:
        spm.SentencePieceTrainer.train(
            sentence_iterator=training_lines(documents, seen),
            model_writer=written,
            **trainer_options(config),
            minloglevel=2,
        )
    except RuntimeError as error:
        raise refusal(config, seen, str(error)) from error
    return with_exact_scores(written.getvalue()), seen


def refusal(config: TokenizerConfig, seen: Seen, error: str) -> TsumuguError:
    """What to do about an error of the trainer's."""
    return TsumuguError(
        f"tokenizer: SentencePiece could not train a vocabulary of {config.vocab_size} pieces from "
        f"{sum(seen.characters.values()):,} characters: {error}\n"
        f"Choose another tokenizer.vocab_size, or give it more text."
    )


def trainer_options(config: TokenizerConfig) -> dict[str, Any]:
    """SentencePiece's own names for the settings: everything but text, model and log."""
    preset = PRESETS[config.preset]
    return {
        "model_type": "unigram",
        "vocab_size": config.vocab_size,
        "character_coverage": config.character_coverage,
        "max_sentencepiece_length": config.max_piece_characters,
        "num_threads": config.threads,
        "byte_fallback": True,
        "normalization_rule_name": "identity",
        "add_dummy_prefix": False,
        "remove_extra_whitespaces": False,
        "split_by_unicode_script": False,
        "split_by_whitespace": False,
        "split_by_number": False,
        "split_digits": preset.split_digits,
        "allow_whitespace_only_pieces": True,
        "unk_id": 0,
        "bos_id": 1,
        "eos_id": 2,
        "pad_id": 3,
        "control_symbols": [*list(SPECIAL_TOKENS.values())[4:], *preset.reserved],
        "user_defined_symbols": list(preset.pieces),
        "required_chars": preset.required_characters,
    }


def with_exact_scores(model: bytes) -> bytes:
    """The trainer's model file with scores that any sum keeps exactly; see above."""
    parsed = sentencepiece_model_pb2.ModelProto.FromString(model)
    for piece in parsed.pieces:
        piece.score = round(piece.score * _SCORE_STEPS) / _SCORE_STEPS
    likeliest = max(piece.score for piece in parsed.pieces if piece.type == KIND.NORMAL)
    for piece in parsed.pieces:
        if piece.type == KIND.USER_DEFINED:
            piece.type, piece.score = KIND.NORMAL, likeliest
    serialized: bytes = parsed.SerializeToString(deterministic=True)
    return serialized


def training_lines(documents: Iterable[Document], seen: Seen) -> Iterator[str]:
    """The lines of `documents` as the trainer gets them, counted in `seen` on the way."""
    for document in documents:
        seen.documents[document.source] += 1
        seen.characters[document.source] += len(document.text)
        for line in document.text.split(NEWLINE):
            seen.lines += 1
            seen.divided_lines += len(line) > _LONGEST_LINE
            for start in range(0, len(line), _LONGEST_LINE):
                yield line[start : start + _LONGEST_LINE]
