"""Blocks of source code in a Japanese page.

A line looks like source code when at most a quarter of it is Japanese (a comment, a string) and
at least 8 % are marks that programs are full of. A block begins and ends with such a line; up to
`BRIDGED` other lines in a row that are no more Japanese (`end`, `return x`), and empty lines, are
bridged.
Blocks of at least `FEWEST_LINES` such lines go, if what remains is a Japanese text: a page of
nothing but code stays whole, for the rules to judge.
"""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from tsumugu.corpus.transforms.whitespace import collapse_empty_lines

FEWEST_LINES = 5
BRIDGED = 2
JAPANESE_REMAINDER = 0.3
"""Share of Japanese, of the visible characters outside the blocks."""
_MARKS = '{}[]<>=;_\\|#$%&*+@^~/"`()'
_JAPANESE = ((0x3001, 0x30FF), (0x3400, 0x9FFF), (0xF900, 0xFAFF), (0xFF01, 0xFF9F), (0x20000, 0x323AF))


def remove_source_code_blocks(text: str) -> tuple[str, tuple[int, ...]]:
    r"""Cut blocks of source code out of a Japanese page; counted: the code lines that go.

    >>> code = "#include <stdio.h>\nint main(void)\n{\n    puts(\"hi\");\n    return 0;\n}\n"
    >>> remove_source_code_blocks("次のように書きます。\n" + code + "これで動くはずです。")
    ('次のように書きます。\nこれで動くはずです。', (6,))
    """
    if text.count("\n") < FEWEST_LINES - 1:
        return text, (0,)
    # Late: numba takes most of a second to import, and this transform is off by default.
    from tsumugu.corpus.transforms.source_code_kernel import code_blocks

    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    blocks, lines = code_blocks(codes, _classes(), FEWEST_LINES, BRIDGED, JAPANESE_REMAINDER)
    if lines == 0:
        return text, (0,)
    pieces = []
    end = 0
    for start, stop in blocks.tolist():
        pieces.append(text[end:start])
        end = stop
    pieces.append(text[end:])
    return collapse_empty_lines("".join(pieces)), (int(lines),)


@cache
def _classes() -> NDArray[np.uint8]:
    """`uint8 [0x110000]`: 0 visible, 1 white space, 2 Japanese, 3 a mark of programs."""
    table = np.zeros(0x110000, dtype=np.uint8)
    table[[code for code in range(0x3001) if chr(code).isspace()]] = 1
    for first, last in _JAPANESE:
        table[first : last + 1] = 2
    table[[ord(mark) for mark in _MARKS]] = 3
    return table
