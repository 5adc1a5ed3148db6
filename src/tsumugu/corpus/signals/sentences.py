"""Sentences, and the other figures of Swallow's quality check, in one walk over a batch.

Definitions are those of swallow-corpus (quality.py; Okazaki et al. 2024, arXiv 2404.17733): a
sentence is a run of characters up to and including one of 。．！？!? within a line; a paragraph is
a line without leading ends of sentences; Japanese letters are hiragana (U+3041-3096), katakana
(U+30A1-30FA, so without ー), kanji, and 、，。．！？.

- sentences, mean_sentence_length, max_sentence_length: in code points.
- ellipsis_sentence_share: sentences that end with ・ or …, white space aside.
- duplicate_sentences_share, duplicate_sentence_share: sentences that stood in the document before,
  of all sentences, and their characters, of all characters of sentences.
- swallow_duplicate_paragraphs_share, swallow_duplicate_paragraph_share: the same for its paragraphs
  (empty lines are equal paragraphs).
- swallow_letters: Japanese letters; swallow_hiragana_share, swallow_katakana_share: of them;
  swallow_japanese_share: of all code points.
"""

from typing import get_args

import numpy as np
from numba import njit

from tsumugu.corpus.signal_names import SentenceSignal
from tsumugu.corpus.signals.batch import Batch, Column
from tsumugu.corpus.signals.classes import CLASSES, SPACE
from tsumugu.corpus.signals.duplicates import count_duplicates

NAMES: tuple[str, ...] = get_args(SentenceSignal)
_NEWLINE = 0x0A


def measure(batch: Batch) -> dict[str, Column]:
    """One column for every name in `NAMES`."""
    return dict(zip(NAMES, _measure(batch.codes, batch.offsets, CLASSES), strict=True))


@njit(cache=True)
def ends_sentence(code):  # type: ignore[no-untyped-def]
    """Whether a code point is one of 。．！？!?; a kernel that others call."""
    return (
        code == 0x3002 or code == 0xFF0E or code == 0xFF01 or code == 0xFF1F or code == 0x21 or code == 0x3F
    )


@njit(cache=True)
def _measure(codes, offsets, classes):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    columns = np.zeros((12, documents))
    longest = 0
    for document in range(documents):
        longest = max(longest, offsets[document + 1] - offsets[document])
    hashes = np.empty(longest + 1, dtype=np.uint64)
    lengths = np.empty(longest + 1, dtype=np.int64)
    paragraph_hashes = np.empty(longest + 1, dtype=np.uint64)
    paragraph_lengths = np.empty(longest + 1, dtype=np.int64)
    for document in range(documents):
        start, end = offsets[document], offsets[document + 1]
        sentences = paragraphs = ellipses = total = most = 0
        position = start
        while position <= end:
            paragraph_hash, paragraph_length = np.uint64(0xCBF29CE484222325), 0
            while position < end and codes[position] != _NEWLINE:
                # Ends without a sentence before them belong to none.
                if ends_sentence(codes[position]):
                    position += 1
                    continue
                first = position
                hashed = np.uint64(0xCBF29CE484222325)
                last_visible = np.uint32(0)
                while position < end and codes[position] != _NEWLINE:
                    code = codes[position]
                    hashed = (hashed ^ np.uint64(code)) * np.uint64(0x100000001B3)
                    paragraph_hash = (paragraph_hash ^ np.uint64(code)) * np.uint64(0x100000001B3)
                    position += 1
                    if classes[code] != SPACE:
                        last_visible = code
                    if ends_sentence(code):
                        break
                length = position - first
                hashes[sentences] = hashed
                lengths[sentences] = length
                sentences += 1
                total += length
                paragraph_length += length
                most = max(most, length)
                if last_visible == 0x30FB or last_visible == 0x2026:
                    ellipses += 1
            position += 1
            paragraph_hashes[paragraphs] = paragraph_hash
            paragraph_lengths[paragraphs] = paragraph_length
            paragraphs += 1
        hiragana = katakana = others = 0
        for position in range(start, end):
            code = codes[position]
            if 0x3041 <= code <= 0x3096:
                hiragana += 1
            elif 0x30A1 <= code <= 0x30FA:
                katakana += 1
            elif (
                0x3400 <= code <= 0x9FFF
                or 0xF900 <= code <= 0xFAFF
                or code == 0x3005
                or code == 0x3007
                or code == 0x303B
                or code == 0x3001
                or code == 0xFF0C
                or code == 0x3002
                or code == 0xFF0E
                or code == 0xFF01
                or code == 0xFF1F
            ):
                others += 1
        letters = hiragana + katakana + others
        columns[0, document] = sentences
        if sentences > 0:
            columns[1, document] = total / sentences
            columns[2, document] = most
            columns[3, document] = ellipses / sentences
            repeated, characters = count_duplicates(hashes[:sentences], lengths[:sentences])
            columns[4, document] = repeated / sentences
            columns[5, document] = characters / total
            repeated, characters = count_duplicates(
                paragraph_hashes[:paragraphs], paragraph_lengths[:paragraphs]
            )
            columns[6, document] = repeated / paragraphs
            columns[7, document] = characters / total
        columns[8, document] = letters
        if letters > 0:
            columns[9, document] = hiragana / letters
            columns[10, document] = katakana / letters
            columns[11, document] = letters / (end - start)
    return columns
