"""The `release` section of a recipe."""

from typing import Annotated

from pydantic import Field

from tsumugu.section import Section


class ReleaseConfig(Section):
    """What stands in the released model's directory beside the weights."""

    license: Annotated[str, Field(min_length=1)] = "apache-2.0"
    """The license of the model, as Hugging Face spells it."""
    prompt: str = "おはようございます、今日の天気は"
    """The example in the model card; this one is from LINE's own card."""
    temperature: Annotated[float, Field(gt=0)] = 0.7
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.1
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
