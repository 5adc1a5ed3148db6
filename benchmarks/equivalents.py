"""datatrove's Gopher, C4 and FineWeb filters beside the signals and rules of ours that come nearest.

`corpus_quality.py` says what each comparison is for.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

SENTENCE = re.compile(r"[^。．！？!?]+[。．！？!?]?")
"""Swallow's, which the signal `sentences` counts."""
LINE_ENDS = tuple("。．！？｡.!?")
"""Those of the signal `punctuated_line_share`; datatrove's default has 150 more, of other scripts."""
WORD = 1.9
"""Characters in a word of SudachiPy's mode A (1.87 on every hundredth document of benchmark-mix)."""
FINEWEB2_TOP = ((2, 0.239), (3, 0.196), (4, 0.172))
FINEWEB2_DUPLICATED = ((5, 0.243), (6, 0.225), (7, 0.207), (8, 0.19), (9, 0.175), (10, 0.159))
"""huggingface/fineweb-2, configs/jpn_Jpan.yml at d331bee; the other values are in `fineweb2_filters`."""
GOPHER_TOP = ((2, 0.20), (3, 0.18), (4, 0.16))
GOPHER_DUPLICATED = ((5, 0.15), (6, 0.14), (7, 0.13), (8, 0.12), (9, 0.11), (10, 0.10))
"""Rae et al. 2021, table A1."""

Rules = dict[str, dict[str, Any]]
"""datatrove's reason, and our signal and threshold for it."""
GOPHER_RULES: Rules = {
    "dup_para_frac": {"signal": "duplicate_paragraphs_share", "at_most": 0.3},
    "dup_line_frac": {"signal": "duplicate_lines_share", "at_most": 0.3},
    **{f"top_{n}_gram": {"signal": f"top_{n}gram_share", "at_most": share} for n, share in GOPHER_TOP},
}
SAME_RULES: Rules = {
    **GOPHER_RULES,
    "line_punct_ratio": {"signal": "punctuated_line_share", "at_least": 0.12},
    "short_line_ratio": {"signal": "short_line_share", "at_most": 0.67},
    "char_dup_ratio": {"signal": "duplicate_line_share", "at_most": 0.1},
    "list_ratio": {"signal": "newlines_per_character", "at_most": 0.1},
    "too_few_sentences": {"signal": "sentences", "at_least": 5},
}
DUPLICATED_RULES: Rules = {
    **GOPHER_RULES,
    **{
        f"duplicated_{n}_n_grams": {"signal": f"duplicated_{n}gram_share", "at_most": share}
        for n, share in GOPHER_DUPLICATED
    },
}
FINEWEB2_RULES: Rules = {
    "dup_line_frac": {"signal": "duplicate_lines_share", "at_most": 0.328},
    "top_2_gram": {"signal": "top_4gram_share", "at_most": 0.16},
    "duplicated_5_n_grams": {"signal": "duplicated_10gram_share", "at_most": 0.243},
    "line_punct_ratio": {"signal": "punctuated_line_share", "at_least": 0.096},
    "char_dup_ratio": {"signal": "duplicate_line_share", "at_most": 0.1},
    "list_ratio": {"signal": "newlines_per_character", "at_most": 0.13 / WORD},
    "gopher_short_doc": {"signal": "characters", "at_least": 50 * WORD, "at_most": 100_000 * WORD},
    "gopher_too_many_end_ellipsis": {"signal": "ending_ellipsis_share", "at_most": 0.3},
    "gopher_below_alpha_threshold": {"signal": "symbol_share", "at_most": (1 - 0.759) / WORD},
    "gopher_enough_stop_words": {"signal": "hiragana_share", "at_least": 0.15},
}
C4_RULES: Rules = {
    "curly_bracket": {"signal": "source_code_share", "at_most": 0.4},
    "too_few_sentences": {"signal": "sentences", "at_least": 5},
}


def same_filters() -> list[Any]:
    """datatrove's filters on characters, with what `SAME_RULES` says."""
    from datatrove.pipeline.filters import C4QualityFilter, FineWebQualityFilter

    visible = _characters(white_space=False)
    return [
        _gopher_repetition(dup_n_grams=()),
        FineWebQualityFilter(
            language=visible,
            stop_chars=LINE_ENDS,
            short_line_length=10,
            char_duplicates_ratio=0.1,
            new_line_ratio=0.1,
        ),
        # Its other rules are for words with spaces between them and for English phrases.
        C4QualityFilter(
            language=visible,
            filter_no_terminal_punct=False,
            min_words_per_line=1,
            max_word_length=-1,
            remove_citations=False,
            filter_lorem_ipsum=False,
            filter_javascript=False,
            filter_curly_bracket=False,
            filter_policy=False,
        ),
    ]


def duplicated_filters() -> list[Any]:
    """Gopher's repetition on characters, with duplicated n-grams."""
    return [_gopher_repetition(dup_n_grams=GOPHER_DUPLICATED)]


def fineweb2_filters() -> list[Any]:
    """The filters of fineweb-2-pipeline.py, in its order, with its Japanese configuration."""
    from datatrove.pipeline.filters import FineWebQualityFilter, GopherQualityFilter, GopherRepetitionFilter

    language = "jpn_Jpan"
    return [
        GopherRepetitionFilter(
            language=language,
            dup_para_frac=0,
            dup_line_char_frac=0,
            dup_para_char_frac=0,
            dup_line_frac=0.328,
            top_n_grams=FINEWEB2_TOP,
            dup_n_grams=FINEWEB2_DUPLICATED,
        ),
        FineWebQualityFilter(
            language=language,
            short_line_thr=999,
            char_duplicates_ratio=0.1,
            line_punct_thr=0.096,
            new_line_ratio=0.13,
        ),
        GopherQualityFilter(
            language=language,
            max_avg_word_length=6,
            min_avg_word_length=1,
            stop_words=list("のにをはたてがとで年し・月れさ"),
            max_non_alpha_words_ratio=0.759,
            min_stop_words=2,
        ),
    ]


def c4_filters() -> list[Any]:
    """C4 with Japanese sentences, without its rules on words between spaces and on . ? ! alone."""
    from datatrove.pipeline.filters import C4QualityFilter

    return [
        C4QualityFilter(
            language="jpn_Jpan", filter_no_terminal_punct=False, min_words_per_line=1, max_word_length=-1
        )
    ]


def _gopher_repetition(dup_n_grams: Sequence[tuple[int, float]]) -> Any:
    from datatrove.pipeline.filters import GopherRepetitionFilter

    return GopherRepetitionFilter(
        language=_characters(white_space=True),
        # Of all characters, line feeds included; ours are of those that are not white space.
        dup_line_char_frac=0,
        dup_para_char_frac=0,
        # It joins the n words by spaces and counts these: 2n - 1 characters instead of n.
        top_n_grams=[(n, share * (2 * n - 1) / n) for n, share in GOPHER_TOP],
        dup_n_grams=dup_n_grams,
    )


def _characters(*, white_space: bool) -> Any:
    """A tokenizer for datatrove whose words are characters."""
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Characters(WordTokenizer):  # type: ignore[misc]
        def word_tokenize(self, text: str) -> list[str]:
            return list(text if white_space else "".join(text.split()))

        def sent_tokenize(self, text: str) -> list[str]:
            return SENTENCE.findall(text)

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [match.span() for match in SENTENCE.finditer(text)]

    return Characters()


@dataclass(frozen=True)
class Comparison:
    """Filters and rules, and every how manieth document of benchmark-mix they run on."""

    filters: Callable[[], list[Any]]
    rules: Rules
    every: int
    passing_only: bool
    visible_only: bool
    """Whether white space inside lines is taken out beforehand."""
    goal: float | None = None
    why: str = ""


_WORDS = "words against characters"
COMPARISONS = {
    "characters, passing": Comparison(same_filters, SAME_RULES, 2, True, True, 10.0),
    "characters, mix": Comparison(same_filters, SAME_RULES, 1, False, True),
    "characters, duplicated n-grams, mix": Comparison(
        duplicated_filters, DUPLICATED_RULES, 20, False, True, why="two definitions of a duplicated n-gram"
    ),
    "FineWeb-2, passing": Comparison(fineweb2_filters, FINEWEB2_RULES, 30, True, False, why=_WORDS),
    "FineWeb-2, mix": Comparison(fineweb2_filters, FINEWEB2_RULES, 30, False, False, why=_WORDS),
    "C4, mix": Comparison(c4_filters, C4_RULES, 30, False, False, why=_WORDS),
}
