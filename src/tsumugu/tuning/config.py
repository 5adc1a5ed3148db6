"""The `tune` section of a recipe: conversations, their form, and how the released model learns them.

Defaults are those with which LLM-jp tuned its models (llm-jp-sft, README and train.py): all weights for
2 epochs at a learning rate of 1e-5, or LoRA of rank 8 for 5 epochs at 1e-4; cosine, a tenth of the steps
as warm-up, conversations of up to 2048 tokens.
"""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from tsumugu.corpus.config import DecontaminationConfig
from tsumugu.section import Section

Count = Annotated[int, Field(ge=1)]
Format = Literal["messages", "alpaca", "line"]
TemplateName = Literal["line", "modern"]
Method = Literal["full", "lora"]

LONGEST = 2048
"""Tokens of a conversation in llm-jp-sft."""
_EPOCHS: dict[Method, int] = {"full": 2, "lora": 5}
_LEARNING_RATES: dict[Method, float] = {"full": 1e-5, "lora": 1e-4}


class TuneFiles(Section):
    """Files of one origin: a folder, a file, a glob, any of these elsewhere (`s3://bucket/folder`), or a
    dataset of the Hugging Face Hub (`hf://datasets/OWNER/NAME`, best with `@COMMIT` behind it). JSON Lines
    (also compressed) or Parquet.
    """

    path: Annotated[str, Field(min_length=1)]
    source: Annotated[str, Field(min_length=1)]
    """A name for where these records come from."""
    license: Annotated[str, Field(min_length=1)]
    """Their license, best as an SPDX expression; the model card names it."""
    subset: str | None = None
    """Hugging Face datasets only: the configuration to read."""
    split: Annotated[str, Field(min_length=1)] = "train"
    """Hugging Face datasets only."""
    options: dict[str, str | int | bool] = Field(default_factory=dict)
    """Remote paths only: arguments for fsspec. They are written into the run's folder: leave secrets to the
    environment."""


class TuneInput(TuneFiles):
    """Conversations of one origin."""

    format: Format = "messages"
    """`messages`: a list of objects with `role` (system, user, assistant) and `content`. `alpaca`:
    `instruction`, `input` (may be empty or absent) and `output`. `line`: LINE's single turn, either as
    `input` and `output`, or written out as `text` ("ユーザー: ...\\nシステム: ...")."""


class LoraConfig(Section):
    """Low-rank matrices beside the model's own (Hu et al. 2021), merged into them in the end."""

    rank: Count = 8
    """8, alpha 32 and dropout 0.05 are llm-jp-sft's."""
    alpha: Annotated[float, Field(gt=0)] = 32.0
    """What the matrices add is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.05
    target_modules: tuple[Annotated[str, Field(min_length=1)], ...] | None = None
    """Modules as transformers names them; unless given, all matrices of the layers."""


class PreferenceConfig(Section):
    """Direct preference optimisation (Rafailov et al. 2023) of the tuned model, as a second step."""

    data: Annotated[tuple[TuneFiles, ...], Field(min_length=1)]
    """Records with `prompt` (a text, or messages, the last of them the user's), and `chosen` and `rejected`,
    which are texts."""
    beta: Annotated[float, Field(gt=0)] = 0.1
    """How dearly the model pays for leaving the one it was; 0.1 as in the paper."""
    learning_rate: Annotated[float, Field(gt=0)] = 1e-6
    """TRL's, for full tuning; take some ten times more for LoRA."""
    epochs: Count = 1


class TuneConfig(Section):
    """Instruction tuning of the released model."""

    data: Annotated[tuple[TuneInput, ...], Field(min_length=1)]
    """Where the conversations come from."""
    template: TemplateName = "modern"
    """How a conversation is written. `line`: as line-corporation's instruction-sft models were tuned
    ("ユーザー: ...\\nシステム: ..."). `modern`: a mark before each turn, such as `<|user|>`, which is a token
    where the vocabulary has it (tokenizer.preset = modern) and plain text elsewhere."""
    method: Method = "full"
    """All weights, or LoRA."""
    lora: LoraConfig = LoraConfig()
    epochs: Count | None = None
    """Unless given, 2 for `full` and 5 for `lora`, as in llm-jp-sft."""
    learning_rate: Annotated[float, Field(gt=0)] | None = None
    """The peak. Unless given, 1e-5 for `full` and 1e-4 for `lora`, as in llm-jp-sft; they are for models of
    billions of parameters, and small ones want more."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """After the warm-up: along a cosine or a line to 0, or no decay."""
    warmup_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    """Share of the steps in which the rate rises from 0 to the peak; llm-jp-sft's."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    global_batch_size: Count = 64
    """Rows in one optimizer step: conversations, or packed rows of them. One process of llm-jp-sft has 64
    (8 times 8 of accumulation), and eight work together."""
    micro_batch_size: Count = 8
    """Rows in one forward pass; divides `global_batch_size`."""
    processes: Count = 1
    """Devices of this machine that train together: GPUs, or processes on CPUs. Each has the whole model and a
    part of the rows of every step; `global_batch_size` stays what it is."""
    max_length: Annotated[int, Field(ge=8)] | None = None
    """Tokens of a conversation; longer ones are dropped, not cut, since a cut answer teaches to break off.
    Unless given, pretrain.sequence_length, but 2048 at most."""
    packing: bool = False
    """Several conversations in one row of `max_length` tokens, best fit. None of them sees another, so this
    saves padding and changes nothing else but which conversations share a step."""
    validation_fraction: Annotated[float, Field(gt=0, lt=1)] = 0.1
    """Share of the conversations that are held out, to measure the loss of their answers."""
    near_duplicate_jaccard: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Of two conversations whose character 5-grams are at least so similar, the first stays."""
    decontamination: DecontaminationConfig | None = None
    """Evaluation sets that conversations must not give away; unless given, as `corpus.decontamination`."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Of the order of the rows and of LoRA's matrices and dropout; the recipe's unless given. Another one
    here holds the same conversations out."""
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    """Of matrix products. `auto`: bfloat16 on a GPU that has it, float32 elsewhere."""
    gradient_checkpointing: bool = False
    """Less memory for more computation."""
    checkpoint_every: Count = 100
    """Optimizer steps between two checkpoints."""
    samples: Annotated[int, Field(ge=0, le=50)] = 6
    """Held-out questions that the model answers before and after."""
    sample_tokens: Count = 80
    """Tokens of such an answer at most."""
    preference: PreferenceConfig | None = None
    """Direct preference optimisation afterwards; null for none."""

    @model_validator(mode="after")
    def _fits(self) -> "TuneConfig":
        if self.global_batch_size % (self.micro_batch_size * self.processes):
            several = f" times processes = {self.processes}" if self.processes > 1 else ""
            raise ValueError(
                f"micro_batch_size = {self.micro_batch_size}{several} does not divide "
                f"global_batch_size = {self.global_batch_size}"
            )
        inputs = [*self.data, *(self.preference.data if self.preference else ())]
        sources = [entry.source for entry in inputs]
        if len(set(sources)) < len(sources):
            raise ValueError("two inputs of tune have the same source; their records could not be told apart")
        return self

    @property
    def effective_epochs(self) -> int:
        """How often every conversation is read."""
        return self.epochs or _EPOCHS[self.method]

    @property
    def effective_learning_rate(self) -> float:
        """The peak of the learning rate."""
        return self.learning_rate or _LEARNING_RATES[self.method]

    def result_settings(self) -> dict[str, object]:
        """What the tuned model depends on: not how often it is saved on the way.

        Several processes add in another order than one.
        """
        unsaid = {"processes"} if self.processes == 1 else set()
        # Of the recipe's seed the stage depends by itself.
        unsaid |= {"seed"} if self.seed is None else set()
        return self.model_dump(mode="json", exclude={"checkpoint_every", *unsaid})
