"""The names of the transforms, and of what each of them counts.

Nothing heavy is imported here, so that reading a recipe stays quick.
"""

from typing import Literal

TransformName = Literal[
    "unicode_repair",
    "whitespace",
    "punctuation",
    "boilerplate_lines",
    "foreign_paragraphs",
    "lines_without_kana",
    "ascii_runs",
    "source_code_blocks",
    "personal_information",
    "nfkc",
    "hojichar_mask",
]
"""Every transform; the module of the same name (or near it) says what it does."""

CounterName = Literal[
    "repaired_mojibake_lines",
    "replacement_characters",
    "unified_punctuation",
    "boilerplate_lines",
    "foreign_paragraphs",
    "lines_without_kana",
    "ascii_runs",
    "source_code_lines",
    "masked_emails",
    "masked_phone_numbers",
    "masked_ip_addresses",
    "masked_my_numbers",
    "masked_credit_cards",
    "masked_addresses",
]
"""Everything that transforms count; each becomes a signal, so rules can ask for it."""

DEFAULT_TRANSFORMS: tuple[TransformName, ...] = (
    "unicode_repair",
    "whitespace",
    "punctuation",
    "boilerplate_lines",
    "foreign_paragraphs",
    "personal_information",
)
"""What a recipe that says nothing gets, in this order."""

COUNTERS: dict[TransformName, tuple[CounterName, ...]] = {
    "unicode_repair": ("repaired_mojibake_lines", "replacement_characters"),
    "whitespace": (),
    "punctuation": ("unified_punctuation",),
    "boilerplate_lines": ("boilerplate_lines",),
    "foreign_paragraphs": ("foreign_paragraphs",),
    "lines_without_kana": ("lines_without_kana",),
    "ascii_runs": ("ascii_runs",),
    "source_code_blocks": ("source_code_lines",),
    "personal_information": (
        "masked_emails",
        "masked_phone_numbers",
        "masked_ip_addresses",
        "masked_my_numbers",
        "masked_credit_cards",
        "masked_addresses",
    ),
    "nfkc": (),
    "hojichar_mask": ("masked_emails", "masked_phone_numbers"),
}
"""What each transform counts, in the order in which it returns its numbers."""
