"""The `release` section of a recipe."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tsumugu.section import Section

LICENSE_TEXTS = {"apache-2.0": "apache-2.0.txt"}
"""Files of this folder by the name of the license."""

WeightType = Literal["float32", "bfloat16", "float16"]
ShardSize = Annotated[str, Field(pattern=r"^[0-9]+(\.[0-9]+)?(KB|MB|GB|TB)$")]


class ReleaseConfig(Section):
    """The released model's directory."""

    dtype: WeightType = "float32"
    """Of the stored weights. `float32`: as they were trained, and as the scores of the card are. Half of
    that is usual for large models: `bfloat16` reaches as far as float32, `float16` is finer and ends at
    65,504, where a release is refused. The logits are compared in float32 in any case."""
    max_shard_size: ShardSize = "5GB"
    """Of a file of weights; 1 GB is 10^9 bytes. What is larger becomes several files and an index."""
    license: Annotated[str, Field(min_length=1)] = "apache-2.0"
    """The license of the model, as Hugging Face spells it."""
    license_file: str | None = None
    """Its text, which becomes `LICENSE`. That of apache-2.0 is at hand; any other has to be given."""
    license_name: str | None = None
    """What a license that is `other` to Hugging Face is called."""
    base_model: str | None = None
    """The model on the hub (OWNER/NAME) that `model.weights` are from, for the card."""
    prompt: str = "おはようございます、今日の天気は"
    """The example in the model card; this one is from LINE's own card."""
    temperature: Annotated[float, Field(gt=0)] = 0.7
    """Of sampling, as in LINE's cards, like `top_p` and `repetition_penalty`."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 0.9
    """Share of the probability that is sampled from."""
    repetition_penalty: Annotated[float, Field(gt=0)] = 1.1
    """What the logits of tokens are divided by that stand in the text already."""
    max_new_tokens: Annotated[int, Field(ge=1)] = 64
    """How long a continuation is unless the caller says otherwise."""

    @model_validator(mode="after")
    def _license_is_known(self) -> "ReleaseConfig":
        if self.license_file is None and self.license not in LICENSE_TEXTS:
            raise ValueError(
                f"license = {self.license!r}: a release contains the text of its license, and only that of "
                f"{', '.join(LICENSE_TEXTS)} is at hand. Name a file with the text: license_file"
            )
        if (self.license == "other") != (self.license_name is not None):
            raise ValueError("license_name goes with license = other, and only with it")
        return self
