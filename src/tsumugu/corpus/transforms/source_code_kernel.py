"""The inner loop of `source_code_blocks`, compiled by numba."""

import numpy as np
from numba import njit

NEWLINE = 0x0A
SPACE, JAPANESE, MARK = 1, 2, 3
LARGEST_JAPANESE_SHARE = 0.25
SMALLEST_MARK_SHARE = 0.08


@njit(cache=True)
def code_blocks(codes, classes, fewest_lines, bridged, japanese_remainder):  # type: ignore[no-untyped-def]
    """Begin and end of every block of source code in one text.

    Args:
        codes: `uint32 [characters]`, the code points of the text.
        classes: `uint8 [0x110000]`, the class of every code point.
        fewest_lines: code lines from which a block counts.
        bridged: other lines in a row that do not end a block.
        japanese_remainder: least share of Japanese, of the visible characters outside the blocks.

    Returns:
        `int64 [blocks, 2]`, spans of code points that end after a line's end, and the number of
        code lines in them; both are empty when the remainder is not Japanese.
    """
    blocks = []
    code_lines = 0
    outside_visible = outside_japanese = 0
    # The block under way: its span, code lines, and characters; then those since its last code line.
    start = stop = -1
    lines = visible_inside = japanese_inside = 0
    gap = visible_gap = japanese_gap = 0
    position = 0
    while position <= len(codes):
        line_start = position
        visible = japanese = marks = 0
        while position < len(codes) and codes[position] != NEWLINE:
            kind = classes[codes[position]]
            position += 1
            if kind == SPACE:
                continue
            visible += 1
            if kind == JAPANESE:
                japanese += 1
            elif kind == MARK:
                marks += 1
        at_end = position == len(codes)
        position += 1
        is_japanese = japanese > LARGEST_JAPANESE_SHARE * visible
        is_code = visible > 0 and not is_japanese and marks >= SMALLEST_MARK_SHARE * visible
        if is_code:
            if start < 0:
                start = line_start
            else:
                visible_inside += visible_gap
                japanese_inside += japanese_gap
            stop = min(position, len(codes))
            lines += 1
            visible_inside += visible
            japanese_inside += japanese
            gap = visible_gap = japanese_gap = 0
        elif start < 0:
            outside_visible += visible
            outside_japanese += japanese
        elif visible > 0:
            gap += 1
            visible_gap += visible
            japanese_gap += japanese
        if start >= 0 and (at_end or is_japanese or gap > bridged):
            if lines >= fewest_lines:
                blocks.append((start, stop))
                code_lines += lines
            else:
                outside_visible += visible_inside
                outside_japanese += japanese_inside
            outside_visible += visible_gap
            outside_japanese += japanese_gap
            start = stop = -1
            lines = visible_inside = japanese_inside = 0
            gap = visible_gap = japanese_gap = 0
    if outside_japanese == 0 or outside_japanese < japanese_remainder * outside_visible:
        return np.empty((0, 2), dtype=np.int64), 0
    spans = np.empty((len(blocks), 2), dtype=np.int64)
    for index in range(len(blocks)):
        spans[index, 0], spans[index, 1] = blocks[index]
    return spans, code_lines
