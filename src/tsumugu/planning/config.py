"""The `plan` section of a recipe."""

from typing import Annotated

from pydantic import Field, field_validator

from tsumugu.errors import TsumuguError
from tsumugu.section import Section


class PlanConfig(Section):
    """The cluster that a run is planned for, before it is rented."""

    cluster: str
    """As `tsumugu plan --cluster` wants it: a number and a name, such as `64xA100-80GB`, or the path of a
    YAML file."""
    usd_per_hour: Annotated[float, Field(gt=0)] | None = None
    """Of one device, instead of the price of the table."""

    @field_validator("cluster")
    @classmethod
    def _cluster_exists(cls, text: str) -> str:
        # Sections are read by every command; the table of clusters is needed here alone.
        from tsumugu.planning.cluster import find_cluster

        try:
            find_cluster(text)
        except TsumuguError as error:
            raise ValueError(str(error)) from error
        return text
