"""Whether a page can be Japanese, before anything slow looks at it.

The share of kana in what a reader would see, entities included (many pages carry all of their
Japanese as `&#x3042;`). Japanese without kana hardly exists; other languages have none. A page that
fails is not lost, it only stays in the fast tier.
"""

import re

import numpy as np

from tsumugu.corpus.markup import visible_text

_SPACE = re.compile(r"\s+")


def kana_share(html: str) -> float:
    """The share of hiragana and katakana among the visible characters of a page, without spaces."""
    text = _SPACE.sub("", visible_text(html))
    points = np.frombuffer(text.encode("utf-32-le", "replace"), dtype="<u4")
    hiragana = (points >= 0x3041) & (points <= 0x3096)
    katakana = (points >= 0x30A1) & (points <= 0x30FA)
    return float(np.count_nonzero(hiragana | katakana)) / max(1, len(points))
