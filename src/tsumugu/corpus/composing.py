"""A user's own HojiChar `Compose`, run inside the stage as it is.

The recipe names a profile file, as HojiChar's command line does, or an import path. A new Compose
is built for every shard and its random state is set from the shard, so that what a random filter
does depends neither on the number of workers nor on what they did before. Documents that it
rejects are dropped as `hojichar_` and the name of the filter; its statistics go to the manifest.
"""

import importlib
import importlib.util
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xxhash

from tsumugu.corpus.rules import PASSED
from tsumugu.errors import TsumuguError

if TYPE_CHECKING:
    from hojichar import Compose

PREFIX = "hojichar_"


def load_compose(reference: str) -> "Compose":
    """Build the Compose that `reference` names: `profile.py`, `profile.py:NAME` or `module:NAME`.

    Without a name, `FILTER` (a Compose) or `FACTORY` (a function that returns one) is taken, as
    HojiChar's command line does.

    Raises:
        TsumuguError: there is no such file or module, or no Compose in it.
    """
    from hojichar import Compose

    place, _, name = reference.partition(":")
    try:
        module = _load_file(Path(place)) if place.endswith(".py") else importlib.import_module(place)
        found = getattr(module, name) if name else getattr(module, "FILTER", None) or module.FACTORY
        compose = found if isinstance(found, Compose) else found()
    except Exception as error:
        raise TsumuguError(f"corpus.hojichar: {reference!r} cannot be loaded: {error!r}") from error
    if not isinstance(compose, Compose):
        raise TsumuguError(
            f"corpus.hojichar: {reference!r} is {type(compose).__name__}, not a hojichar.Compose; name one "
            f"with FILE.py:NAME, or call it FILTER"
        )
    return compose


def seed_compose(compose: "Compose", shard: str) -> None:
    """Give every filter the random state of `shard`."""
    generator = np.random.default_rng(xxhash.xxh3_64_intdigest(shard.encode()))
    for filter_ in (compose, *compose.filters):
        filter_._rng = generator


def run_compose(compose: "Compose", texts: Sequence[str]) -> tuple[list[str], list[str]]:
    """The texts that `compose` leaves, and the reason for each that it rejects, or `PASSED`.

    A filter that raises rejects the document, as in HojiChar, with the reason `hojichar_error`.
    """
    from hojichar import Document

    changed, reasons = [], []
    documents = list(compose.apply_stream([Document(text) for text in texts]))
    for document, text in zip(documents, texts, strict=True):
        if document.is_rejected:
            changed.append(text)
            reasons.append(_reason(document.reject_reason))
        else:
            changed.append(document.text)
            reasons.append(PASSED)
    return changed, reasons


def _reason(found: dict[str, Any]) -> str:
    # The name is "3-DiscardAds": the filter's place in the Compose, and its class.
    name = re.sub(r"^\d+-", "", str(found.get("name", "error")))
    return PREFIX + re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def add_statistics(total: list[dict[str, Any]], shard: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Sum the statistics of two runs of the same Compose, filter by filter."""
    if not total:
        return [dict(one) for one in shard]
    return [
        {key: value if key == "name" else value + other[key] for key, value in one.items()}
        for one, other in zip(total, shard, strict=True)
    ]


def _load_file(path: Path) -> Any:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist")
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
