"""The two vocabularies that Tsumugu trains, as data.

`japanese-large-lm` is LINE's: seven special tokens with the ids of line-corporation/japanese-large-lm
(model cards and spiece.model), and a line break, since text is trained line by line and encoded whole.
`modern` keeps those seven where they are and adds what models of today expect: digits one by one,
tokens for conversations, room for more of them, and runs of white space in one piece (source code).
"""

from dataclasses import dataclass
from typing import Literal

PresetName = Literal["japanese-large-lm", "modern"]

SPECIAL_TOKENS = {
    "unk_token": "<unk>",
    "bos_token": "<s>",
    "eos_token": "</s>",
    "pad_token": "<pad>",
    "sep_token": "<sep>",
    "mask_token": "<mask>",
    "cls_token": "<cls>",
}
"""Ids 0 to 6, by the names that transformers gives them."""
SPACE = "▁"
"""SentencePiece's sign for a space, U+2581."""
NEWLINE = "\n"
BYTES = tuple(f"<0x{value:02X}>" for value in range(256))


@dataclass(frozen=True)
class Preset:
    """What a vocabulary holds before anything is learned, in the order of the ids.

    First `SPECIAL_TOKENS`, then `reserved`, then `pieces`, then the 256 bytes.
    """

    reserved: tuple[str, ...]
    """More special tokens: like the seven, they never come from text."""
    pieces: tuple[str, ...]
    """Ordinary text that always has a piece of its own; training does not learn across it."""
    split_digits: bool
    """No learned piece holds a digit and something else (decimal digits of every script)."""

    @property
    def special_tokens(self) -> dict[str, str | list[str]]:
        """All special tokens, by the names that transformers gives them."""
        more = {"additional_special_tokens": list(self.reserved)} if self.reserved else {}
        return {**SPECIAL_TOKENS, **more}

    @property
    def required_characters(self) -> str:
        """A text that shows "</s>" or "<0x0A>" must always have plain pieces to be spelled with.

        So must a space: as bytes it would be SentencePiece's sign, and come back as that.
        """
        spelled = {SPACE, *"".join((*SPECIAL_TOKENS.values(), *self.reserved, *BYTES, *self.pieces))}
        return "".join(sorted(spelled - {*self.pieces}))

    @property
    def smallest_vocabulary(self) -> int:
        """The least number of pieces that a vocabulary of this preset can have."""
        given = len(SPECIAL_TOKENS) + len(self.reserved) + len(self.pieces) + len(BYTES)
        return given + len(self.required_characters)


_CHAT = ("<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>")
_RESERVED = tuple(f"<|reserved_{number}|>" for number in range(20))


def _runs(character: str, longest: int) -> tuple[str, ...]:
    return tuple(character * length for length in range(2, longest + 1))


PRESETS: dict[PresetName, Preset] = {
    "japanese-large-lm": Preset(reserved=(), pieces=(NEWLINE,), split_digits=False),
    "modern": Preset(
        reserved=(*_CHAT, *_RESERVED),
        pieces=(
            NEWLINE,
            *_runs(NEWLINE, 4),
            *_runs(SPACE, 16),
            "\t",
            *_runs("\t", 8),
            "\u3000",
            *_runs("\u3000", 4),
        ),
        split_digits=True,
    ),
}
