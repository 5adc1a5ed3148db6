"""Changes to the text of a document, before anything is measured on it.

By default the stored text stays as its author wrote it, except for what no reader would miss:
invisible characters, mojibake, trailing spaces, menus, untranslated paragraphs, and personal
data. Each transform has a name, a module, and numbers that it counts; `apply` runs any list of
them over a batch. Nothing here is random, and nothing takes more than linear time.

Running a transform twice changes nothing that running it once did not. The one exception is
`hojichar_mask`: what HojiChar writes for an address can join a second one that stood against it.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from tsumugu.corpus.transforms.names import COUNTERS, DEFAULT_TRANSFORMS, CounterName, TransformName

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["COUNTERS", "DEFAULT_TRANSFORMS", "CounterName", "TransformName", "apply"]


def apply(
    texts: Sequence[str], names: Sequence[TransformName] = DEFAULT_TRANSFORMS
) -> "tuple[list[str], dict[str, NDArray[np.float64]]]":
    """Transform every text by every transform in `names`, in that order; see `applying.apply`."""
    # Late: whoever reads a recipe needs the names, not the machinery.
    from tsumugu.corpus.transforms import applying

    return applying.apply(texts, names)
