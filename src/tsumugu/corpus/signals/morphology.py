"""Signals on Japanese words: MeCab with UniDic, through fugashi (the extra `morphology`).

Words are the morphemes of UniDic, without its supplementary symbols (補助記号: punctuation, brackets,
emoji) and without white space; no value where there are none.

- words: how many; mean_word_length: their characters.
- noun_share: 名詞 (HojiChar's DiscardTooManyNouns drops from 0.80 on).
- content_word_share: 名詞, 動詞, 形容詞, 形状詞. function_word_share: 助詞, 助動詞. Lists and tables of
  names have few of the latter.
- unknown_word_share: words that the dictionary does not have; Latin ones are among them.
- repeated_word_7gram_share: of the seven morphemes in a row, symbols included, how many stand in the
  document more than once (HojiChar's WordRepetitionRatioFilter drops from 0.40 on). Zero, not
  without a value, for documents of fewer than seven.

A document goes to MeCab in pieces of at most 10,000 characters, which end with a line where they can:
a million at once end the process, and a run of one unknown character takes time that grows with
its square. Shorter documents have HojiChar's values.
"""

import re
from collections import Counter
from functools import cache
from typing import Any, get_args

import numpy as np

from tsumugu.corpus.signal_names import MorphologySignal
from tsumugu.corpus.signals.batch import Batch, Column
from tsumugu.errors import TsumuguError

NAMES: tuple[str, ...] = get_args(MorphologySignal)

_PIECE = re.compile(r"(?s).{1,10000}\Z|.{1,9999}\n|.{1,10000}")
_NGRAM = 7
_SYMBOL = "補助記号"
_CONTENT = ("名詞", "動詞", "形容詞", "形状詞")
_FUNCTION = ("助詞", "助動詞")
# One line for every morpheme: part of speech, surface, 1 if the dictionary does not have it. The surface
# is not last, because fugashi strips what it returns, and an ideographic space is a surface.
_FORMAT = r"%f[0]\t%m\t%s\n"


def measure(batch: Batch) -> dict[str, Column]:
    """The columns of `NAMES`."""
    rows = [_document(text) for text in batch.texts]
    columns = np.array(rows, dtype=np.float64).reshape(len(rows), len(NAMES)).T
    return dict(zip(NAMES, columns, strict=True))


@cache
def load_tagger() -> Any:
    """MeCab with UniDic 2.1.2, whatever other dictionaries are installed; once in a process.

    Raises:
        TsumuguError: the extra is not installed.
    """
    try:
        import fugashi
        import unidic_lite
    except ImportError as error:
        raise TsumuguError(
            f"corpus.rules: signals on words ({', '.join(NAMES)}) need fugashi and unidic-lite ({error}): "
            f"pip install 'tsumugu[morphology]', or leave out the rules that ask for them"
        ) from error
    dictionary = unidic_lite.DICDIR
    return fugashi.GenericTagger(
        f'-r "{dictionary}/mecabrc" -d "{dictionary}" -O "" -F "{_FORMAT}" -U "{_FORMAT}" -E ""'
    )


def _document(text: str) -> tuple[float, ...]:
    """The values of `NAMES` for one text."""
    kinds, surfaces = _analyse(text)
    repeated = _repeated_share(surfaces)
    characters = sum(
        len(surface) for kind, surface in zip(kinds, surfaces, strict=True) if kind[0] != _SYMBOL
    )
    words: Counter[str] = Counter()
    unknown = 0
    for (part, status), count in Counter(kinds).items():
        if part != _SYMBOL:
            words[part] += count
            unknown += count * (status == "1")
    total = words.total()
    if total == 0:
        return (0.0, *[float("nan")] * (len(NAMES) - 2), repeated)
    return (
        total,
        characters / total,
        words["名詞"] / total,
        sum(words[part] for part in _CONTENT) / total,
        sum(words[part] for part in _FUNCTION) / total,
        unknown / total,
        repeated,
    )


def _analyse(text: str) -> tuple[list[tuple[str, str]], list[str]]:
    """(part of speech, status) and surface of every morpheme."""
    kinds, surfaces = [], []
    # To MeCab a text ends at NUL.
    for piece in _PIECE.findall(text.replace("\0", " ")):
        for line in filter(None, load_tagger().parse(piece).split("\n")):
            part, surface, status = line.split("\t")
            kinds.append((part, status))
            surfaces.append(surface)
    return kinds, surfaces


def _repeated_share(surfaces: list[str]) -> float:
    ngrams = Counter(zip(*(surfaces[start:] for start in range(_NGRAM)), strict=False))
    if not ngrams:
        return 0.0
    return sum(count for count in ngrams.values() if count > 1) / ngrams.total()
