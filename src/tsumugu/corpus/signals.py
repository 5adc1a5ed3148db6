"""Numbers measured on documents, a batch at a time.

The texts of a batch are joined and viewed as one array of code points; numba kernels walk over
it and fill one column per signal. Nothing here decides anything: rules do.

Shares are of characters that are not white space, unless said otherwise:

- characters: white space not counted.
- japanese_share: kana, kanji, and Japanese punctuation.
- hiragana_share, katakana_share: of kana and kanji. Chinese has none; lists of names little.
- source_code_share: characters in lines that look like source code.
- sentence_end_share: 。！？ and ｡.
- short_line_share: non-empty lines of at most ten characters, of all non-empty lines.
- duplicate_line_share: characters in lines that stood in the document before.
- repeated_5gram_share: occurrences of the sqrt(distinct) most frequent character 5-grams among
  those that repeat, of all occurrences (Laurençon et al. 2022, the ROOTS corpus; HojiChar's
  CharRepetitionRatioFilter), on NFKC text without white space.
"""

import unicodedata
from collections.abc import Sequence

import numpy as np
from numba import njit
from numpy.typing import NDArray

OTHER, SPACE, HIRAGANA, KATAKANA, KANJI, JAPANESE_MARK, CODE_MARK, SENTENCE_END = range(8)
NEWLINE = 0x0A
SHORT_LINE = 10
"""Characters; as in HojiChar's DiscardTooManyShortLines."""
CODE_LINE_MARKS = 0.08
"""Share of programming marks from which a line without Japanese looks like source code."""
CODE_LINE_JAPANESE = 0.25
"""Share of Japanese (a comment, a string) up to which a line may still be source code."""


def _class_table() -> NDArray[np.uint8]:
    """The class of every code point, as `uint8 [0x110000]`."""
    table = np.full(0x110000, OTHER, dtype=np.uint8)
    ranges = [
        (HIRAGANA, 0x3041, 0x309F),
        (KATAKANA, 0x30A1, 0x30FF),
        (KATAKANA, 0x31F0, 0x31FF),
        (KATAKANA, 0xFF66, 0xFF9F),
        (KANJI, 0x3400, 0x4DBF),
        (KANJI, 0x4E00, 0x9FFF),
        (KANJI, 0xF900, 0xFAFF),
        (KANJI, 0x20000, 0x323AF),
        (KANJI, 0x3005, 0x3007),
        (JAPANESE_MARK, 0x3001, 0x3001),
        (JAPANESE_MARK, 0x3008, 0x301F),
        (JAPANESE_MARK, 0x30FB, 0x30FB),
        (JAPANESE_MARK, 0xFF03, 0xFF0F),
    ]
    for kind, first, last in ranges:
        table[first : last + 1] = kind
    for mark in '{}[]<>=;_\\|#$%&*+@^~/"`':
        table[ord(mark)] = CODE_MARK
    for mark in "。！？｡":
        table[ord(mark)] = SENTENCE_END
    for code in range(0x3001):
        if chr(code).isspace():
            table[code] = SPACE
    return table


_CLASSES = _class_table()


def code_points(texts: Sequence[str]) -> tuple[NDArray[np.uint32], NDArray[np.int64]]:
    """All texts as one array of code points, and the offsets at which each begins and ends.

    Returns:
        `uint32 [characters]` and `int64 [texts + 1]`.
    """
    offsets = np.zeros(len(texts) + 1, dtype=np.int64)
    np.cumsum([len(text) for text in texts], out=offsets[1:])
    joined = "".join(texts).encode("utf-32-le")
    return np.frombuffer(joined, dtype=np.uint32), offsets


def measure(texts: Sequence[str]) -> dict[str, NDArray[np.float64]]:
    """Every signal of every text, as `float64 [texts]` columns."""
    codes, offsets = code_points(texts)
    columns = _measure_characters(codes, offsets, _CLASSES)
    names = (
        "characters",
        "japanese_share",
        "hiragana_share",
        "katakana_share",
        "source_code_share",
        "sentence_end_share",
        "short_line_share",
        "duplicate_line_share",
    )
    signals = dict(zip(names, columns, strict=True))
    normal = ["".join(unicodedata.normalize("NFKC", text).split()) for text in texts]
    signals["repeated_5gram_share"] = _repeated_ngram_share(*code_points(normal), 5)
    return signals


def column(values: Sequence[float]) -> NDArray[np.float64]:
    """Numbers counted elsewhere, as a column of signals."""
    return np.array(values, dtype=np.float64)


@njit(cache=True)
def _measure_characters(codes, offsets, classes):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    columns = np.zeros((8, documents))
    for document in range(documents):
        start, end = offsets[document], offsets[document + 1]
        counts = np.zeros(8, dtype=np.int64)
        lines = short_lines = code_characters = 0
        line_hashes = np.zeros(end - start + 1, dtype=np.uint64)
        line_lengths = np.zeros(end - start + 1, dtype=np.int64)
        position = start
        while position < end:
            # One line: count its characters by class, and hash it.
            visible = japanese = marks = 0
            hashed = np.uint64(0xCBF29CE484222325)
            while position < end and codes[position] != NEWLINE:
                code = codes[position]
                kind = classes[code]
                position += 1
                if kind == SPACE:
                    continue
                counts[kind] += 1
                visible += 1
                if kind == CODE_MARK:
                    marks += 1
                elif kind != OTHER:
                    japanese += 1
                hashed = (hashed ^ np.uint64(code)) * np.uint64(0x100000001B3)
            position += 1
            if visible == 0:
                continue
            if visible <= SHORT_LINE:
                short_lines += 1
            if japanese <= CODE_LINE_JAPANESE * visible and marks >= CODE_LINE_MARKS * visible:
                code_characters += visible
            line_hashes[lines] = hashed
            line_lengths[lines] = visible
            lines += 1
        characters = counts.sum()
        if characters == 0:
            continue
        letters = counts[HIRAGANA] + counts[KATAKANA] + counts[KANJI]
        columns[0, document] = characters
        columns[1, document] = (letters + counts[JAPANESE_MARK] + counts[SENTENCE_END]) / characters
        if letters > 0:
            columns[2, document] = counts[HIRAGANA] / letters
            columns[3, document] = counts[KATAKANA] / letters
        columns[4, document] = code_characters / characters
        columns[5, document] = counts[SENTENCE_END] / characters
        columns[6, document] = short_lines / lines
        order = np.argsort(line_hashes[:lines])
        repeated = 0
        for rank in range(1, lines):
            if line_hashes[order[rank]] == line_hashes[order[rank - 1]]:
                repeated += line_lengths[order[rank]]
        columns[7, document] = repeated / characters
    return columns


@njit(cache=True)
def _repeated_ngram_share(codes, offsets, size):  # type: ignore[no-untyped-def]
    documents = len(offsets) - 1
    column = np.zeros(documents)
    for document in range(documents):
        start, total = offsets[document], offsets[document + 1] - offsets[document] - size + 1
        if total <= 0:
            continue
        hashes = np.empty(total, dtype=np.uint64)
        for index in range(total):
            hashed = np.uint64(0xCBF29CE484222325)
            for step in range(size):
                hashed = (hashed ^ np.uint64(codes[start + index + step])) * np.uint64(0x100000001B3)
            hashes[index] = hashed
        hashes.sort()
        frequencies = np.zeros(total, dtype=np.int64)
        distinct = 0
        for index in range(total):
            if index > 0 and hashes[index] != hashes[index - 1]:
                distinct += 1
            frequencies[distinct] += 1
        distinct += 1
        frequencies = np.sort(frequencies[:distinct])[::-1]
        repeating = 0
        while repeating < distinct and frequencies[repeating] > 1:
            repeating += 1
        top = min(int(np.sqrt(distinct)), repeating)
        column[document] = frequencies[:top].sum() / total
    return column
