"""Text from strangers, made safe to look at.

A web page may hold terminal escape sequences, characters that turn the direction of the text
around them, and characters that cannot be seen at all. `visible` writes every one of them as its
code point, such as ⟨U+202E⟩. Line breaks and tabs stay. It does not escape HTML: templates do.
"""

import re

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
