"""The `model` section of a recipe."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tsumugu.section import Section


class ModelConfig(Section):
    """A GPT-NeoX-style decoder: rotary positions, sequential residual, tied embeddings.

    The vocabulary is the tokenizer's; it is not repeated here.
    """

    architecture: Literal["gpt-neox"] = "gpt-neox"
    num_hidden_layers: Annotated[int, Field(ge=1)]
    hidden_size: Annotated[int, Field(ge=1)]
    num_attention_heads: Annotated[int, Field(ge=1)]
    intermediate_size: Annotated[int, Field(ge=1)] | None = None
    """Width of the MLP; four times `hidden_size` unless given."""
    max_position_embeddings: Annotated[int, Field(ge=2)] = 2048
    rotary_base: Annotated[float, Field(gt=1)] = 10_000.0
    layer_norm_eps: Annotated[float, Field(gt=0)] = 1e-5

    @model_validator(mode="after")
    def _heads_fit(self) -> "ModelConfig":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads = {self.num_attention_heads} does not divide "
                f"hidden_size = {self.hidden_size}"
            )
        if self.hidden_size // self.num_attention_heads % 2:
            raise ValueError(
                f"rotary positions turn pairs of dimensions, so hidden_size / num_attention_heads "
                f"must be even; it is {self.hidden_size // self.num_attention_heads}"
            )
        return self

    @property
    def mlp_size(self) -> int:
        """Width of the MLP."""
        return self.intermediate_size or 4 * self.hidden_size
