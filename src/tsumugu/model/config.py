"""The `model` section of a recipe."""

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from tsumugu.errors import TsumuguError
from tsumugu.model.presets import PRESETS
from tsumugu.section import Section

Architecture = Literal["gpt2", "gpt-neox", "llama"]
"""The families: learned positions (GPT-2), rotary positions and LayerNorm (GPT-NeoX), or rotary
positions, RMSNorm, SwiGLU and no biases (Llama)."""

Initialization = Literal["small", "gpt2"]
"""Standard deviations of the first weights. `small`: sqrt(2 / (5 * hidden_size)), as LINE's blog
describes it (Nguyen & Salazar 2019). `gpt2`: 0.02 (Radford et al. 2019)."""


class ModelConfig(Section):
    """A decoder. The vocabulary is the tokenizer's; it is not repeated here."""

    preset: str | None = None
    """A published shape, by name; keys beside it change it. See `tsumugu/model/presets.py`."""
    weights: str | None = None
    """A Hugging Face directory to go on from: training begins with its weights instead of drawn ones, and
    the shape is that of its config.json; keys beside it may repeat it, not change it. The tokenizer has to
    be the directory's own (`tokenizer.path`). `mup_base_width` scales the rates, which fits weights that were
    trained with it."""
    architecture: Architecture = "gpt-neox"
    """`gpt2`: learned positions, LayerNorm, GELU. `gpt-neox`: rotary positions instead. `llama`: rotary
    positions, RMSNorm, SwiGLU, no biases."""
    num_hidden_layers: Annotated[int, Field(ge=1)]
    """Blocks of attention and MLP."""
    hidden_size: Annotated[int, Field(ge=1)]
    """Width of embeddings and residual stream."""
    num_attention_heads: Annotated[int, Field(ge=1)]
    """Heads of queries; they divide `hidden_size`."""
    num_key_value_heads: Annotated[int, Field(ge=1)] | None = None
    """Heads of keys and values, which groups of query heads share (Ainslie et al. 2023); Llama only.
    As many as `num_attention_heads` unless given."""
    intermediate_size: Annotated[int, Field(ge=1)] | None = None
    """Width of the MLP. Unless given, four times `hidden_size`; for Llama, whose MLP has three
    matrices instead of two, two thirds of that, rounded up to a multiple of 64."""
    max_position_embeddings: Annotated[int, Field(ge=2)] = 2048
    """The longest sequence; for GPT-2 also the number of learned positions."""
    rotary_base: Annotated[float, Field(gt=1)] = 10_000.0
    """Base of the angles of rotary positions (Su et al. 2021)."""
    norm_eps: Annotated[float, Field(gt=0)] = 1e-5
    """What the norms add to the variance."""
    parallel_residual: bool = False
    """Attention and MLP read the same input instead of one after the other; GPT-NeoX only."""
    qk_norm: bool = False
    """RMSNorm on every head's queries and keys (Henry et al. 2020); Llama only."""
    tie_word_embeddings: bool = True
    """One matrix for input and output embeddings."""
    initialization: Initialization = "small"
    """Standard deviation of the first weights. `small`: sqrt(2 / (5 * hidden_size)), as LINE describes it;
    `gpt2`: 0.02. With `mup_base_width` that of a model of this width."""
    depth_scaled_initialization: bool = True
    """Divide the deviation of the projections into the residual stream by sqrt(2 * num_hidden_layers)
    (Radford et al. 2019)."""
    embedding_std: Annotated[float, Field(gt=0)] | None = None
    """Standard deviation of the first embeddings of tokens and positions; not for tied embeddings. That of
    `initialization` unless given; about 1 makes the residual stream large beside what the layers add
    (Takase et al. 2023)."""
    mup_base_width: Annotated[int, Field(ge=1)] | None = None
    """The `hidden_size` that rates, weight decay and first weights are meant for. Those of this model follow
    by maximal update parametrization (Yang et al. 2022; `tsumugu/model/parametrization.py`), so that what was
    found at one width holds at another. The number of heads goes with the width, and their size stays. None:
    they are meant for this `hidden_size`."""

    @model_validator(mode="before")
    @classmethod
    def _filled_in(cls, data: Any) -> Any:
        """With the shape of the preset, or of the directory of the weights."""
        if not isinstance(data, dict):
            return data
        name, weights = data.get("preset"), data.get("weights")
        if isinstance(name, str):
            if name not in PRESETS:
                raise ValueError(f"model.preset = {name!r} is not known; there are {', '.join(PRESETS)}")
            data = {**PRESETS[name], **data}
        return _shaped_like(weights, data) if isinstance(weights, str) else data

    @model_validator(mode="after")
    def _fits(self) -> "ModelConfig":
        if self.hidden_size % self.num_attention_heads:
            raise ValueError(
                f"num_attention_heads = {self.num_attention_heads} does not divide "
                f"hidden_size = {self.hidden_size}"
            )
        if self.architecture != "gpt2" and self.head_size % 2:
            raise ValueError(
                f"rotary positions turn pairs of dimensions, so hidden_size / num_attention_heads "
                f"must be even; it is {self.head_size}"
            )
        if self.num_attention_heads % self.key_value_heads:
            raise ValueError(
                f"num_key_value_heads = {self.num_key_value_heads} does not divide "
                f"num_attention_heads = {self.num_attention_heads}"
            )
        only_llama = self.qk_norm or self.key_value_heads != self.num_attention_heads
        if only_llama and self.architecture != "llama":
            raise ValueError(
                f"num_key_value_heads and qk_norm are for architecture = llama; it is {self.architecture}"
            )
        if self.parallel_residual and self.architecture != "gpt-neox":
            raise ValueError(f"parallel_residual is for architecture = gpt-neox; it is {self.architecture}")
        self._check_first_weights()
        return self

    def _check_first_weights(self) -> None:
        group = self.head_size * self.group_size
        if self.mup_base_width is not None and self.mup_base_width % group:
            raise ValueError(
                f"mup_base_width = {self.mup_base_width} must be a multiple of {group}: the number of heads "
                f"goes with the width, but hidden_size / num_attention_heads = {self.head_size} and "
                f"num_attention_heads / num_key_value_heads = {self.group_size} stay"
            )
        if self.embedding_std is not None and self.tie_word_embeddings:
            # A smaller weight of the last norm would make up for it in the first step only: the rate of
            # the matrix cannot fit both of its uses.
            raise ValueError(
                "embedding_std is of input embeddings, and with tie_word_embeddings = true they are the "
                "output embedding too, and logits would be as large; set tie_word_embeddings = false"
            )
        drawn = self.embedding_std is not None or not self.depth_scaled_initialization
        if self.weights is not None and drawn:
            raise ValueError(
                "embedding_std and depth_scaled_initialization are of weights that are drawn, and training "
                "begins with those of `weights`; leave them out"
            )

    @property
    def head_size(self) -> int:
        """Dimensions of one attention head."""
        return self.hidden_size // self.num_attention_heads

    @property
    def key_value_heads(self) -> int:
        """Heads of keys and values."""
        return self.num_key_value_heads or self.num_attention_heads

    @property
    def group_size(self) -> int:
        """Query heads that share one head of keys and values."""
        return self.num_attention_heads // self.key_value_heads

    @property
    def mlp_size(self) -> int:
        """Width of the MLP."""
        if self.intermediate_size:
            return self.intermediate_size
        if self.architecture == "llama":
            return -(-8 * self.hidden_size // 3 // 64) * 64
        return 4 * self.hidden_size

    def result_settings(self) -> dict[str, object]:
        """What the trained model depends on. A key that nobody has set is no other setting."""
        unsaid = {
            key for key in ("weights", *_LATER) if getattr(self, key) == type(self).model_fields[key].default
        }
        return self.model_dump(mode="json", exclude=unsaid)


_LATER = ("depth_scaled_initialization", "embedding_std", "mup_base_width")
"""Keys that trainings from before they existed know nothing of."""
_NO_SHAPE = {"preset", "weights", "initialization", *_LATER}
"""Keys that config.json knows nothing of."""


def weight_files(folder: Path) -> list[Path]:
    """The files of a Hugging Face directory whose change is another model."""
    return sorted([*folder.glob("*.safetensors"), *folder.glob("*.index.json"), folder / "config.json"])


def _shaped_like(weights: str, data: dict[str, Any]) -> dict[str, Any]:
    """`data` with the shape of the model in the directory `weights`.

    Raises:
        ValueError: there is no such model, our decoder cannot compute it, or `data` says something else.
    """
    if not (Path(weights) / "config.json").is_file():
        if "num_hidden_layers" in data:
            # A recipe as it ran has the whole shape. Whoever needs the weights will miss them.
            return data
        raise ValueError(f"weights = {weights!r} is no Hugging Face directory: it has no config.json")
    # The map between their models and ours is heavy, and needed here alone.
    from tsumugu.release.adapter import shape_of_directory

    try:
        shape = shape_of_directory(Path(weights)).model_dump(exclude=_NO_SHAPE)
    except TsumuguError as error:
        raise ValueError(f"weights = {weights!r}: {error}") from error
    different = [
        f"{key} = {data[key]!r}, which is {value!r} there"
        for key, value in shape.items()
        if data.get(key) is not None and data[key] != value
    ]
    if different:
        raise ValueError(
            f"weights = {weights!r} are of another shape than the recipe says: {'; '.join(different)}. Leave "
            f"these keys out"
        )
    return {**data, **shape}
