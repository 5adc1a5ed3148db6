"""Blocks of a page that a script writes, between marks; what is around them is written by hand."""

import re
from collections.abc import Mapping
from pathlib import Path


def filled_in(page: Path, blocks: Mapping[str, str]) -> str:
    """The text of `page` with `blocks` between `<!-- NAME begin -->` and `<!-- NAME end -->`.

    Raises:
        ValueError: there is no such page, or a mark is missing.
    """
    if not page.exists():
        raise ValueError(f"{page} is missing; what a script does not write there is written by hand")
    text = page.read_text(encoding="utf-8")
    for name, block in blocks.items():
        place = re.compile(rf"(?<=<!-- {name} begin -->\n).*?(?=<!-- {name} end -->)", re.S)
        if not place.search(text):
            raise ValueError(f"{page} has no place for {name}: <!-- {name} begin --> and <!-- {name} end -->")
        text = place.sub(lambda _, block=block: block, text)  # type: ignore[misc]
    return text
