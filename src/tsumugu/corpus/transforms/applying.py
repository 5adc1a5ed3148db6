"""Run a list of transforms over a batch of documents.

Every transform is a function from one text to the changed text and a few counts. Each begins
with a check that costs next to nothing (`"@" in text`) and returns the very same text when there
is nothing for it to do, so a chain of ten costs little more than one.
"""

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from tsumugu.corpus.signals.batch import code_points, portions
from tsumugu.corpus.transforms.boilerplate_lines import remove_boilerplate_lines
from tsumugu.corpus.transforms.hojichar_equals import hojichar_mask, nfkc
from tsumugu.corpus.transforms.japanese_lines import (
    have_foreign_lines,
    remove_ascii_runs,
    remove_foreign_paragraphs,
    remove_lines_without_kana,
)
from tsumugu.corpus.transforms.names import COUNTERS, TransformName
from tsumugu.corpus.transforms.personal_information import (
    mask_personal_information,
    may_hold_personal_information,
)
from tsumugu.corpus.transforms.punctuation import unify_punctuation
from tsumugu.corpus.transforms.source_code_blocks import remove_source_code_blocks
from tsumugu.corpus.transforms.unicode_repair import may_need_repair, repair_unicode
from tsumugu.corpus.transforms.whitespace import tidy_whitespace

Transform = Callable[[str], tuple[str, tuple[int, ...]]]

TRANSFORMS: dict[TransformName, Transform] = {
    "unicode_repair": repair_unicode,
    "whitespace": tidy_whitespace,
    "punctuation": unify_punctuation,
    "boilerplate_lines": remove_boilerplate_lines,
    "foreign_paragraphs": remove_foreign_paragraphs,
    "lines_without_kana": remove_lines_without_kana,
    "ascii_runs": remove_ascii_runs,
    "source_code_blocks": remove_source_code_blocks,
    "personal_information": mask_personal_information,
    "nfkc": nfkc,
    "hojichar_mask": hojichar_mask,
}

_MAY_CHANGE: dict[TransformName, Callable[[NDArray[np.uint32], NDArray[np.int64]], NDArray[np.bool_]]] = {
    "unicode_repair": may_need_repair,
    "foreign_paragraphs": have_foreign_lines,
    "personal_information": may_hold_personal_information,
}


def apply(
    texts: Sequence[str], names: Sequence[TransformName]
) -> tuple[list[str], dict[str, NDArray[np.float64]]]:
    """Transform every text by every transform in `names`, in that order.

    Returns:
        The changed texts, and one `float64 [texts]` column for each thing that these transforms
        count (`COUNTERS`). Where two of them count the same thing, the numbers are added.
    """
    changed = list(texts)
    columns: dict[str, NDArray[np.float64]] = {
        counter: np.zeros(len(changed)) for name in names for counter in COUNTERS[name]
    }
    for name in names:
        transform = TRANSFORMS[name]
        own = [columns[counter] for counter in COUNTERS[name]]
        for index in _candidates(changed, name):
            result, counts = transform(changed[index])
            if result is changed[index]:
                continue
            changed[index] = result
            for column, count in zip(own, counts, strict=True):
                column[index] += count
    return changed, columns


def _candidates(texts: Sequence[str], name: TransformName) -> Iterator[int]:
    """The texts that the transform may change."""
    may_change = _MAY_CHANGE.get(name)
    if may_change is None:
        yield from range(len(texts))
        return
    for start, end in portions(texts):
        yield from (np.flatnonzero(may_change(*code_points(texts[start:end]))) + start).tolist()
