"""The `report` section of a recipe."""

from typing import Annotated

from pydantic import Field

from tsumugu.section import Section


class ReportConfig(Section):
    """The page that shows a run."""

    prompts: Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)] = (
        "この章では",
        "ファイルを開くには、",
    )
    """The model continues each of these on the page."""
    examples_per_reason: Annotated[int, Field(ge=1, le=20)] = 2
    """Dropped documents that are shown for every reason."""
    tokenizers: tuple[Annotated[str, Field(min_length=1)], ...] = ()
    """Existing tokenizers to show beside the run's: Hugging Face directories or `.model` files of this
    machine."""
