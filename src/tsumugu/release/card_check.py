"""A model card as the Hugging Face hub reads it: through huggingface_hub's own parser."""

import math
from collections.abc import Iterator
from pathlib import Path

from tsumugu.errors import TsumuguError

_CARD, _LICENSE = "README.md", "LICENSE"


def check_card(folder: Path) -> Iterator[str]:
    """What the card says that programs read, a line each.

    Raises:
        TsumuguError: there is no card, the hub could not read it, or something is missing in it.
    """
    from huggingface_hub import ModelCard

    path = folder / _CARD
    if not path.is_file():
        raise TsumuguError(f"there is no {_CARD}")
    try:
        card = ModelCard(path.read_text(encoding="utf-8"), ignore_metadata_errors=False)
        data = card.data
        again = ModelCard(f"---\n{data.to_yaml()}\n---\n").data.to_dict()
    except Exception as error:
        # YAML's errors, ValueError, TypeError: whatever the parser meets in a text of others.
        raise TsumuguError(f"{_CARD}: the metadata cannot be read: {' '.join(str(error).split())}") from error
    if again != data.to_dict():
        raise TsumuguError(f"{_CARD}: huggingface_hub reads the metadata differently when it writes them")
    wanted = ("license", "language", "library_name", "pipeline_tag", "tags")
    if missing := [key for key in wanted if not getattr(data, key)]:
        raise TsumuguError(f"{_CARD}: the metadata have no {', '.join(missing)}")
    if data.license == "other" and not (data.get("license_name") and data.get("license_link")):
        raise TsumuguError(f"{_CARD}: license = other needs license_name and license_link")
    if not (folder / _LICENSE).is_file() or not (folder / _LICENSE).stat().st_size:
        raise TsumuguError(f"there is no {_LICENSE}")
    yield f"license {data.get('license_name') or data.license} ({_LICENSE} is here), language {data.language}"
    if data.base_model:
        yield f"base_model {data.base_model}"
    if data.datasets:
        yield f"datasets {', '.join([data.datasets] if isinstance(data.datasets, str) else data.datasets)}"
    results = data.eval_results or []
    for result in results:
        value = result.metric_value
        if not isinstance(value, int | float) or not math.isfinite(value):
            raise TsumuguError(
                f"{_CARD}: {result.metric_type} of {result.dataset_name} is no number: {value!r}"
            )
    if not card.text.strip():
        raise TsumuguError(f"{_CARD}: there is nothing for people to read after the metadata")
    yield f"model-index with {len(results)} scores" if results else "no scores (model-index)"
