"""Texts that break tokenizers: a list made by hand, and a strategy that makes thousands."""

import itertools
import unicodedata

from hypothesis import strategies

from conftest import japanese_text
from tsumugu.tokenizer.presets import BYTES, PRESETS, SPECIAL_TOKENS

_TOKENS = (
    *SPECIAL_TOKENS.values(),
    *PRESETS["modern"].reserved,
    *BYTES[:3],
    "<0xE3>",
    "[SEP]",
    "<|endoftext|>",
)

PARTS = (
    *_TOKENS,
    "<", ">", "</", "s>", "<0x", "0A>", "<|", "|>", "_", "\\n",
    " ", "  ", "   ", "\t", "\n", "\r\n", "\r", "\v", "\f", "\u3000", "\u00a0", "\u200b", "\ufeff", "\u2028",
    "▁", "▁▁", "▂", "\x00", "\x01", "\x1b[0m", "\x7f", "\x85", "\u202e", "\ufff0", "\ufffd", "\ufdd0",
    "ｶﾞ", "ﾊﾟﾋﾟ", "ﾞ", "カ\uff9e", "か\u3099", "は\u309a", "が", "ガ", "㌔", "㍿", "㋿", "①", "Ａ１",
    "ｱ", "ﷺ", "ﬁ", "²",
    "e\u0301", "\u0301", "가", "가", "각", "한국어", "العربية", "русский",
    "👨‍👩‍👧‍👦", "👍🏽", "🇯🇵", "1️⃣", "❤️", "🏴󠁧󠁢󠁥󠁮󠁧󠁿", "𠮷", "葛󠄀", "\U0010ffff", "\U0001f9ff",
    "12", "２０２４年", "3.14", "年", "時計", "古い地図を", "と言いながら。", "静かに",
    "×8 音符 (c  d)", "the", "return x",
)  # fmt: skip

HANDMADE = (
    "",
    *PARTS,
    *(f"犬{part}猫" for part in PARTS),
    *(part * 3 for part in PARTS),
    *("".join(pair) for pair in itertools.product(PARTS[-60:], repeat=2)),
    *(" " * length + "return" for length in range(40)),
    *("\n" * length + "\t" * length for length in range(12)),
    *(chr(code) for code in range(0x20, 0x800)),
    *(f"あ{chr(code)}" for code in range(0x2000, 0x3400, 3)),
    "あ" * 3000,
    *(japanese_text(number) for number in range(70, 90)),
    # Sums of scores over a long document, beyond the point where SentencePiece begins them anew.
    "\n".join(japanese_text(number) for number in range(700)),
    "\n".join(" " * (number % 23) + "×8 " + " " * (number % 7) + "音符 (c  d)" for number in range(3000)),
)

TEXTS = strategies.one_of(
    strategies.lists(strategies.sampled_from(PARTS), max_size=12).map("".join),
    strategies.text(max_size=30),
    strategies.lists(
        strategies.one_of(strategies.sampled_from(PARTS), strategies.characters(exclude_categories=["Cs"])),
        max_size=12,
    ).map("".join),
)


def has_marks(text: str) -> bool:
    """Whether a combining mark stands in it."""
    return any(unicodedata.category(character).startswith("M") for character in text)
