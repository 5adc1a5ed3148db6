"""What the lines and paragraphs of a document look like, in one walk over a batch.

Lines end at a line feed; paragraphs are lines without an empty one between them. Lengths are in
characters that are not white space, except where HojiChar's definition is meant.

- lines: those that are not empty.
- short_line_share: lines of at most ten characters, of all lines that are not empty.
- short_line_share_with_empty: the same of all lines, empty ones included, counting white space
  (HojiChar's DiscardTooShortLines).
- ending_ellipsis_share: line feeds after "..." or "…", of all line feeds
  (HojiChar's DiscardTooManyEndingEllipsis, after RedPajama-v2).
- source_code_share: characters in lines that look like source code.
- duplicate_lines_share, duplicate_line_share: lines that stood in the document before, of all
  lines, and their characters, of all characters (Gopher's two measures; Rae et al. 2021).
- duplicate_paragraphs_share, duplicate_paragraph_share: the same for paragraphs.
- punctuated_line_share: lines whose last character ends a sentence (。．！？｡.!?), of all lines that
  are not empty (FineWeb's line_punct_ratio; Penedo et al. 2024). 」 after 。 does not count.
- newlines_per_character: line feeds, of all characters (FineWeb's list_ratio, which is per word).
"""

from typing import get_args

import numpy as np
from numba import njit

from tsumugu.corpus.signal_names import LineSignal
from tsumugu.corpus.signals.batch import Batch, Column
from tsumugu.corpus.signals.classes import (
    CLASSES,
    CODE_MARK,
    HIRAGANA,
    JAPANESE_MARK,
    KANJI,
    KATAKANA,
    KUTEN,
    SENTENCE_END,
    SPACE,
)
from tsumugu.corpus.signals.duplicates import count_duplicates
from tsumugu.corpus.signals.sentences import ends_sentence

NAMES: tuple[str, ...] = get_args(LineSignal)
SHORT_LINE = 10
"""Characters; the number is HojiChar's."""
CODE_LINE_MARKS = 0.08
"""Share of programming marks from which a line without Japanese looks like source code."""
CODE_LINE_JAPANESE = 0.25
"""Share of Japanese (a comment, a string) up to which a line may still be source code."""
_NEWLINE = 0x0A
_JAPANESE = np.zeros(256, dtype=np.bool_)
_JAPANESE[[HIRAGANA, KATAKANA, KANJI, JAPANESE_MARK, KUTEN, SENTENCE_END]] = True


def measure(batch: Batch) -> dict[str, Column]:
    """One column for every name in `NAMES`."""
    return dict(zip(NAMES, _measure(batch.codes, batch.offsets, CLASSES, _JAPANESE), strict=True))


@njit(cache=True)
def _measure(codes, offsets, classes, is_japanese):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    columns = np.zeros((11, documents))
    longest = 0
    for document in range(documents):
        longest = max(longest, offsets[document + 1] - offsets[document])
    line_hashes = np.empty(longest + 1, dtype=np.uint64)
    line_lengths = np.empty(longest + 1, dtype=np.int64)
    paragraph_hashes = np.empty(longest + 1, dtype=np.uint64)
    paragraph_lengths = np.empty(longest + 1, dtype=np.int64)
    for document in range(documents):
        start, end = offsets[document], offsets[document + 1]
        lines = paragraphs = short_lines = all_lines = all_short = ellipses = 0
        characters = code_characters = punctuated = 0
        paragraph_hash, paragraph_length = np.uint64(0), 0
        position = start
        # One more line than line feeds, as str.split counts them.
        while position <= end:
            line_start = position
            visible = japanese = marks = 0
            last_visible = np.uint32(0)
            hashed = np.uint64(0xCBF29CE484222325)
            while position < end and codes[position] != _NEWLINE:
                code = codes[position]
                kind = classes[code]
                position += 1
                if kind == SPACE:
                    continue
                visible += 1
                last_visible = code
                if kind == CODE_MARK:
                    marks += 1
                elif is_japanese[kind]:
                    japanese += 1
                hashed = (hashed ^ np.uint64(code)) * np.uint64(0x100000001B3)
            all_lines += 1
            if position - line_start <= SHORT_LINE:
                all_short += 1
            if position < end and position > start and _is_ellipsis(codes, line_start, position):
                ellipses += 1
            position += 1
            if visible > 0:
                characters += visible
                if visible <= SHORT_LINE:
                    short_lines += 1
                if japanese <= CODE_LINE_JAPANESE * visible and marks >= CODE_LINE_MARKS * visible:
                    code_characters += visible
                # Swallow, whose sentences these are, leaves out the full stop and ｡.
                if ends_sentence(last_visible) or last_visible == 0x2E or last_visible == 0xFF61:
                    punctuated += 1
                line_hashes[lines] = hashed
                line_lengths[lines] = visible
                lines += 1
                paragraph_hash = (paragraph_hash ^ hashed) * np.uint64(0x9E3779B97F4A7C15) + np.uint64(1)
                paragraph_length += visible
            if paragraph_length > 0 and (visible == 0 or position > end):
                paragraph_hashes[paragraphs] = paragraph_hash
                paragraph_lengths[paragraphs] = paragraph_length
                paragraphs += 1
                paragraph_hash, paragraph_length = np.uint64(0), 0
        columns[2, document] = all_short / all_lines
        columns[3, document] = ellipses / max(1, all_lines - 1)
        if lines == 0:
            continue
        columns[0, document] = lines
        columns[1, document] = short_lines / lines
        columns[4, document] = code_characters / characters
        repeated, repeated_characters = count_duplicates(line_hashes[:lines], line_lengths[:lines])
        columns[5, document] = repeated / lines
        columns[6, document] = repeated_characters / characters
        repeated, repeated_characters = count_duplicates(
            paragraph_hashes[:paragraphs], paragraph_lengths[:paragraphs]
        )
        columns[7, document] = repeated / paragraphs
        columns[8, document] = repeated_characters / characters
        columns[9, document] = punctuated / lines
        columns[10, document] = (all_lines - 1) / characters
    return columns


@njit(cache=True)
def _is_ellipsis(codes, start, end):  # type: ignore[no-untyped-def]
    if end - start >= 1 and codes[end - 1] == 0x2026:
        return True
    return end - start >= 3 and codes[end - 1] == 0x2E and codes[end - 2] == 0x2E and codes[end - 3] == 0x2E
