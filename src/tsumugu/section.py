"""The base of every section of a recipe.

Strict on purpose: an unknown key, a string where a number belongs, or a NaN is an error, since
a recipe with a typo that runs for a week costs a week.
"""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen part of the recipe that refuses unknown keys and silent conversions."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        strict=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
    )
