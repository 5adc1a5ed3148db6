"""The `tokenizer` section of a recipe."""

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from tsumugu.section import Section
from tsumugu.tokenizer.presets import BYTES, PRESETS, SPECIAL_TOKENS, PresetName

VOCABULARY = 51_200
"""Of line-corporation/japanese-large-lm (model card)."""
TOKENIZER_FILES = (
    "tokenizer.json",
    "spiece.model",
    "tokenizer.model",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "config.json",
    "chat_template.jinja",
)
"""What is read of a Hugging Face directory."""


class TokenizerConfig(Section):
    """A SentencePiece unigram model with byte fallback and no pre-tokenizer, or an existing tokenizer."""

    vocab_size: Annotated[int, Field(lt=2**31)] | None = None
    """Pieces of the vocabulary, everything included; 51,200 unless said. Not together with `path`."""
    preset: PresetName = "japanese-large-lm"
    """Which special tokens and given pieces the vocabulary has: LINE's, or `modern` (the same seven
    special tokens, chat tokens, single digits, runs of white space)."""
    path: str | None = None
    """An existing tokenizer instead of training one: a Hugging Face directory (with `tokenizer.json`, or
    with `spiece.model` and `tokenizer_config.json`), or a SentencePiece `.model` file."""
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

    @model_validator(mode="before")
    @classmethod
    def _usual_size(cls, data: Any) -> Any:
        if isinstance(data, dict) and data.get("path") is None and data.get("vocab_size") is None:
            return {**data, "vocab_size": VOCABULARY}
        return data

    @model_validator(mode="after")
    def _trained_or_given(self) -> "TokenizerConfig":
        if self.path is not None:
            # A run's own recipe.yaml has every default written out.
            fields = type(self).model_fields.items()
            given = [
                name for name, field in fields if name != "path" and getattr(self, name) != field.default
            ]
            if given:
                raise ValueError(
                    f"path names an existing tokenizer, and nothing is trained: leave out {', '.join(given)}"
                )
            return self
        preset = PRESETS[self.preset]
        if self.vocab_size is not None and self.vocab_size < preset.smallest_vocabulary:
            raise ValueError(
                f"a vocabulary of {self.vocab_size} pieces is too small: {self.preset} with byte fallback "
                f"needs at least {preset.smallest_vocabulary} pieces: "
                f"{len(SPECIAL_TOKENS) + len(preset.reserved)} special tokens, {len(preset.pieces)} given "
                f"pieces, {len(BYTES)} bytes, and {len(preset.required_characters)} characters to spell "
                f"special tokens and bytes with"
            )
        return self

    @property
    def other_files(self) -> tuple[Path, ...]:
        """The files of the existing tokenizer, on which the result depends."""
        return () if self.path is None else tokenizer_files(Path(self.path))


def tokenizer_files(path: Path) -> tuple[Path, ...]:
    """What is read of an existing tokenizer; not all need be there."""
    return tuple(path / name for name in TOKENIZER_FILES) if path.is_dir() else (path,)
