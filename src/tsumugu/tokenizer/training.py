"""Train a SentencePiece unigram model on documents.

As LINE did for japanese-large-lm: raw text goes into the trainer, without a morphological
analyser or any other pre-tokenizer in front, and characters without a piece fall back to bytes.
Text is not normalised and no space is put before it, so that decoding gives back exactly what
was encoded. A line break is a piece of its own.

Scores are rounded to multiples of 1/64. SentencePiece adds them up in 32-bit floats and its fast
twin in 64-bit ones; on a long document the two would come to different sums, and now and then to
different pieces. Sums of such multiples are exact in both, up to 2**18 nats.
"""

import io
import random
from collections.abc import Iterator, Sequence

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2

from tsumugu.errors import TsumuguError
from tsumugu.tokenizer.config import NEWLINE, REQUIRED_CHARACTERS, SPECIAL_TOKENS, TokenizerConfig

# SentencePiece leaves out longer sentences without a word (its limit is 4192 bytes).
_LONGEST_LINE = 1000
_SCORE_STEPS = 64


def train_sentencepiece(documents: Sequence[str], config: TokenizerConfig, *, seed: int) -> bytes:
    """Train on `documents`; return the model file's bytes.

    The bytes depend on the documents, the settings and the seed alone: text goes in through
    memory, so no path of this machine is written into the model.

    Raises:
        TsumuguError: SentencePiece cannot make a vocabulary of this size from this text.
    """
    written = io.BytesIO()
    try:
        spm.SentencePieceTrainer.train(
            sentence_iterator=_lines(documents, config.training_characters, seed),
            model_writer=written,
            model_type="unigram",
            vocab_size=config.vocab_size,
            character_coverage=config.character_coverage,
            max_sentencepiece_length=config.max_piece_characters,
            num_threads=config.threads,
            byte_fallback=True,
            normalization_rule_name="identity",
            add_dummy_prefix=False,
            remove_extra_whitespaces=False,
            split_by_unicode_script=False,
            split_by_whitespace=False,
            split_by_number=False,
            allow_whitespace_only_pieces=True,
            unk_id=0,
            bos_id=1,
            eos_id=2,
            pad_id=3,
            control_symbols=list(SPECIAL_TOKENS[4:]),
            user_defined_symbols=[NEWLINE],
            required_chars=REQUIRED_CHARACTERS,
            minloglevel=2,
        )
    except RuntimeError as error:
        raise TsumuguError(
            f"tokenizer: SentencePiece could not train a vocabulary of {config.vocab_size} pieces: {error}\n"
            f"Choose another tokenizer.vocab_size, or give it more text."
        ) from error
    return _round_scores(written.getvalue())


def _round_scores(model: bytes) -> bytes:
    parsed = sentencepiece_model_pb2.ModelProto.FromString(model)
    for piece in parsed.pieces:
        piece.score = round(piece.score * _SCORE_STEPS) / _SCORE_STEPS
    serialized: bytes = parsed.SerializeToString(deterministic=True)
    return serialized


def _lines(documents: Sequence[str], characters: int, seed: int) -> Iterator[str]:
    """Lines of documents in random order, until they hold `characters`."""
    order = list(range(len(documents)))
    random.Random(seed).shuffle(order)
    for index in order:
        for line in documents[index].split(NEWLINE):
            for start in range(0, len(line), _LONGEST_LINE):
                yield line[start : start + _LONGEST_LINE]
        characters -= len(documents[index])
        if characters <= 0:
            return
