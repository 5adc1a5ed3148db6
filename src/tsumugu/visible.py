"""Text from strangers, made safe to look at.

A web page may hold terminal escape sequences, characters that turn the direction of the text
around them, and characters that cannot be seen at all. `visible` writes every one of them as its
code point, such as ⟨U+202E⟩. Line breaks and tabs stay. It does not escape HTML: templates do.
"""

import re
import unicodedata

_HIDDEN = re.compile(
    "["
    "\x00-\x08\x0b-\x1f\x7f-\x9f"  # control characters: \x1b begins what a terminal obeys
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # direction marks, embeddings, overrides, isolates
    "\u200b\u2028\u2029\u2060-\u2065\ufeff"  # no width, or a line break that is not one
    "\U000e0000-\U000e007f"  # tags: a second, invisible text
    "]"
)


def visible(text: str) -> str:
    """`text` with its hidden and its commanding characters written out."""
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found.group()):04X}⟩", text)


_MARKS = {" ": "␣", "\n": "↵", "\t": "⇥", "\u3000": "□"}
_BLANK = "\u115f\u1160\u2800\u3164\uffa0"
"""Letters and symbols that look like nothing: Hangul fillers, the empty Braille pattern."""


def visible_piece(text: str) -> str:
    """A token's text so that all of it can be seen: white space as signs, what has no shape as code points.

    A mark that would combine with what stands before it sits on a dotted circle.
    """
    shown = "".join(map(_shown, text))
    return f"◌{shown}" if text and unicodedata.category(text[0]).startswith("M") else shown


def _shown(character: str) -> str:
    if character in _MARKS:
        return _MARKS[character]
    # Separators (Z) and control, format, private and unassigned characters (C).
    if unicodedata.category(character)[0] in "ZC" or character in _BLANK:
        return f"⟨U+{ord(character):04X}⟩"
    return character
