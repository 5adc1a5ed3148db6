"""The names of all signals, without the machinery that measures them.

A recipe is checked before anything heavy is imported, so the names stand here, in the order in
which the measuring modules fill their columns, and those take them from here.
"""

from typing import Literal, get_args

from tsumugu.corpus.transforms.names import CounterName

CharacterSignal = Literal[
    "length",
    "characters",
    "japanese_share",
    "hiragana_share",
    "katakana_share",
    "kanji_share",
    "digit_share",
    "latin_share",
    "symbol_share",
    "emoji_share",
    "sentence_end_share",
    "kana_in_first_50",
    "kuten_share",
    "longest_run",
]
LineSignal = Literal[
    "lines",
    "short_line_share",
    "short_line_share_with_empty",
    "ending_ellipsis_share",
    "source_code_share",
    "duplicate_lines_share",
    "duplicate_line_share",
    "duplicate_paragraphs_share",
    "duplicate_paragraph_share",
    "punctuated_line_share",
    "newlines_per_character",
]
SentenceSignal = Literal[
    "sentences",
    "mean_sentence_length",
    "max_sentence_length",
    "ellipsis_sentence_share",
    "duplicate_sentences_share",
    "duplicate_sentence_share",
    "swallow_duplicate_paragraphs_share",
    "swallow_duplicate_paragraph_share",
    "swallow_letters",
    "swallow_hiragana_share",
    "swallow_katakana_share",
    "swallow_japanese_share",
]
RepetitionSignal = Literal["repeated_5gram_share",]
NgramSignal = Literal[
    "top_2gram_share",
    "top_3gram_share",
    "top_4gram_share",
    "duplicated_5gram_share",
    "duplicated_6gram_share",
    "duplicated_7gram_share",
    "duplicated_8gram_share",
    "duplicated_9gram_share",
    "duplicated_10gram_share",
    "swallow_top_2gram_share",
    "swallow_top_3gram_share",
    "swallow_top_4gram_share",
    "swallow_duplicated_5gram_share",
    "swallow_duplicated_6gram_share",
    "swallow_duplicated_7gram_share",
    "swallow_duplicated_8gram_share",
    "swallow_duplicated_9gram_share",
    "swallow_duplicated_10gram_share",
]
WordSignal = Literal[
    "adult_ja",
    "discrimination_ja",
    "violence_ja",
    "adult_ja_isolated",
    "discrimination_ja_isolated",
    "violence_ja_isolated",
    "ads",
    "ng_character_share",
]
EnglishWordSignal = Literal["adult_en",]
BulletinSignal = Literal["bbs",]
CompressionSignal = Literal["compression_ratio",]
LanguageSignal = Literal["japanese_probability",]
MorphologySignal = Literal[
    "words",
    "mean_word_length",
    "noun_share",
    "content_word_share",
    "function_word_share",
    "unknown_word_share",
    "repeated_word_7gram_share",
]
MeasuredName = Literal[
    CharacterSignal,
    LineSignal,
    SentenceSignal,
    RepetitionSignal,
    NgramSignal,
    WordSignal,
    EnglishWordSignal,
    BulletinSignal,
    CompressionSignal,
    LanguageSignal,
    MorphologySignal,
]
"""Measured on texts by the modules of `signals`, which define them."""

ProvenanceSignal = Literal["opt_out_noai", "opt_out_noindex", "opt_out_tdm", "creative_commons"]
ExtractionSignal = Literal["extraction_fallback"]
ReadingSignalName = Literal[ProvenanceSignal, ExtractionSignal]
"""Known about a page before its text is looked at: provenance.py and extracting.py."""

QualitySignal = Literal["quality_score", "quality_perplexity"]
"""What models of the user's say: quality_models.py."""

SignalName = Literal[MeasuredName, CounterName, ReadingSignalName, QualitySignal]

SIGNALS: tuple[SignalName, ...] = get_args(SignalName)
ON_DEMAND: tuple[MeasuredName, ...] = (
    *get_args(CompressionSignal),
    *get_args(LanguageSignal),
    *get_args(MorphologySignal),
)
"""Slow ones (a few megabytes a second), measured only when a rule asks for them."""
