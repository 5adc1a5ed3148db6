"""The `tokenizer` section of a recipe."""

from typing import Annotated

from pydantic import Field, field_validator

from tsumugu.section import Section

SPECIAL_TOKENS = ("<unk>", "<s>", "</s>", "<pad>", "<sep>", "<mask>", "<cls>")
"""Ids 0 to 6, as in line-corporation/japanese-large-lm (model cards and spiece.model)."""
NEWLINE = "\n"
"""A piece of its own, id 7: text is trained line by line and encoded whole."""
BYTE_PIECES = 256
REQUIRED_CHARACTERS = "".join(sorted({*"".join(SPECIAL_TOKENS), *"<0x123456789ABCDEF>"}))
"""A text that shows "</s>" or "<0x0A>" must always have plain pieces to be spelled with."""
SMALLEST_VOCABULARY = len(SPECIAL_TOKENS) + 1 + BYTE_PIECES + len(REQUIRED_CHARACTERS)


class TokenizerConfig(Section):
    """A SentencePiece unigram model with byte fallback and no pre-tokenizer."""

    vocab_size: Annotated[int, Field(lt=2**31)]
    character_coverage: Annotated[float, Field(ge=0.98, le=1)] = 0.9995
    """Share of the characters of the text that get a piece of their own (SentencePiece's default
    for Japanese); the others are spelled in bytes."""
    training_characters: Annotated[int, Field(ge=1000)] = 20_000_000
    """About so many characters of training documents are drawn at random; all, if there are fewer."""
    source_weights: dict[str, Annotated[float, Field(gt=0)]] | None = None
    """How much of that each source gives, relative to the others, while its text lasts; sources that
    are not named give nothing. By default all give in proportion to their text."""
    max_piece_characters: Annotated[int, Field(ge=1, le=64)] = 16
    threads: Annotated[int, Field(ge=1, le=1024)] = 2
    """Part of the recipe because sums over threads decide the last bits of the scores: the same
    number gives the same model on any machine."""

    @field_validator("vocab_size")
    @classmethod
    def _vocabulary_holds_the_bytes(cls, value: int) -> int:
        if value < SMALLEST_VOCABULARY:
            raise ValueError(
                f"a vocabulary with byte fallback needs at least {SMALLEST_VOCABULARY} pieces: "
                f"{len(SPECIAL_TOKENS)} special tokens, a line break, {BYTE_PIECES} bytes, and "
                f"{len(REQUIRED_CHARACTERS)} characters to spell those with"
            )
        return value
