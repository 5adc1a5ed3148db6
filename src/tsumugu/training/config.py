"""The `pretrain` section of a recipe."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tsumugu.evaluation.config import known_tasks
from tsumugu.section import Section
from tsumugu.training.layout import LayoutConfig

Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]

Tracker = Literal["tensorboard", "wandb", "trackio"]

_DECAY_SHARE = 0.2
_FLOAT8_TOKENS = 16
"""`torch._scaled_mm` wants dimensions that are multiples of it."""


class OptimizerConfig(Section):
    """AdamW (Loshchilov & Hutter 2019), or Muon (Jordan 2024) on the layers' matrices and AdamW elsewhere."""

    name: Literal["adamw", "muon"] = "adamw"
    """`muon` keeps one moment of a matrix instead of two, and sends matrices that processes share to one of
    them in every step."""
    learning_rate: Annotated[float, Field(gt=0)]
    """The peak, which the schedule scales."""
    beta1: Annotated[float, Field(ge=0, lt=1)] = 0.9
    """Of AdamW, like `beta2` and `eps`."""
    beta2: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """0.95 as in GPT-3; LINE reports that 0.999 made its training unstable."""
    eps: Annotated[float, Field(gt=0)] = 1e-8
    """1e-8 is the usual one. LLM-jp found this number to blame for the weakness of its first 172B models."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.1
    """On the layers' matrices only; norms, biases and embeddings, the output embedding too, do not decay."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """The gradient of all parameters together is scaled down to this length where it is longer."""
    muon_learning_rate: Annotated[float, Field(gt=0)] | None = None
    """The peak for the matrices of Muon. `learning_rate` unless given, which fits, since Muon's updates are
    scaled to the size of AdamW's: by 0.2 * sqrt(max(rows, columns)) (Liu et al. 2025)."""
    muon_momentum: Annotated[float, Field(ge=0, lt=1)] = 0.95
    """Nesterov's."""
    muon_ns_steps: Literal[3, 5] = 5
    """Steps of Newton-Schulz that make an update about orthogonal. What they take is much where batches are
    of a few thousand tokens, and nothing at millions."""

    @model_validator(mode="after")
    def _muon_is_wanted(self) -> "OptimizerConfig":
        if self.muon_learning_rate is not None and self.name != "muon":
            raise ValueError(f"muon_learning_rate is for optimizer.name = muon; it is {self.name}")
        if self.muon_ns_steps != 5 and self.name != "muon":
            raise ValueError(f"muon_ns_steps is for optimizer.name = muon; it is {self.name}")
        return self


class ScheduleConfig(Section):
    """Linear warm-up, then one of five ways on. See `schedule.py` for the formulas."""

    name: Literal["cosine", "linear", "inverse_sqrt", "constant", "wsd"] = "cosine"
    """LINE reports that cosine ends better than inverse_sqrt where it does not diverge."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps in which the rate rises along a line from 0 to the peak."""
    final_share: Share = 0.1
    """Share of the peak that is left at the last step; for `inverse_sqrt` the least there is at any
    step; `constant` stays at the peak."""
    decay_share: Annotated[float, Field(gt=0, le=1)] | None = None
    """For `wsd` (warm-up, stable, decay; Hu et al. 2024): the last share of the steps, in which the rate
    falls along a line; 0.2 unless given."""

    @model_validator(mode="after")
    def _fits_its_name(self) -> "ScheduleConfig":
        if self.decay_share is not None and self.name != "wsd":
            raise ValueError(f"decay_share is for schedule.name = wsd; it is {self.name}")
        if self.name == "inverse_sqrt" and not self.warmup_steps:
            raise ValueError(
                "schedule.name = inverse_sqrt falls as sqrt(warmup_steps / step), so warmup_steps must be "
                "at least 1"
            )
        return self

    def decay_steps(self, steps: int) -> int:
        """The last steps of `wsd`, in which the rate falls."""
        return max(1, round((self.decay_share or _DECAY_SHARE) * steps))


class BatchSizeWarmupConfig(Section):
    """A batch that begins small and grows to `global_batch_size` along a line, in multiples of `start`."""

    start: Count
    """Sequences in the first step."""
    steps: Count
    """After so many steps the batch is whole."""


class StabilityConfig(Section):
    """What happens when the loss or the gradient jumps. See `stability.py`."""

    spike_sigmas: Annotated[float, Field(gt=0)] | None = 6.0
    """A step is not applied if its loss or gradient norm is more than so many standard deviations above the
    mean of the last steps. None: only steps whose numbers are not finite are left out."""
    window: Annotated[int, Field(ge=4)] = 128
    """The last steps that count, of those that were applied."""
    skips_before_rewind: Count = 3
    """After so many steps in a row that were not applied, training goes back to its last checkpoint and
    leaves out what they read."""
    rewinds_before_stop: Annotated[int, Field(ge=0)] = 3
    """After so many rewinds that brought it no further, training stops."""


class ActivationCheckpointingConfig(Section):
    """Activations that are computed again in the backward pass instead of being kept (Chen et al. 2016)."""

    mode: Literal["none", "selective", "full"] = "none"
    """`full`: a layer keeps its input alone. `selective`: it keeps the results of attention and of the
    matrix products beside it too, and computes the MLP's first products and the cheap rest again (after
    Korthikanti et al. 2022)."""
    every: Count = 1
    """Only every n-th layer does so."""
    memory_budget: Share | None = None
    """Instead of a mode, with `compile`: the compiler keeps this share of the activations, those that are
    dearest to compute."""

    @model_validator(mode="after")
    def _one_way(self) -> "ActivationCheckpointingConfig":
        if self.mode == "none" and self.every > 1:
            raise ValueError(
                f"activation_checkpointing.every = {self.every} says nothing with mode = none; "
                f"choose mode = selective or full"
            )
        if self.mode != "none" and self.memory_budget is not None:
            raise ValueError(
                f"activation_checkpointing.memory_budget takes the place of a mode; mode is {self.mode}"
            )
        return self


class ProfileConfig(Section):
    """A trace of some steps, for Perfetto or chrome://tracing."""

    first_step: Count
    """Counted from where the process begins, which after a stop is later than step 1. Not the very first
    ones, which are slower than the others."""
    steps: Count
    """How many steps, one after the other. Traces are large: a few are enough."""


class TaskEvaluationConfig(Section):
    """Tasks that the model answers while it is trained."""

    every: Count
    """Steps between two evaluations."""
    tasks: Annotated[tuple[str, ...], Field(min_length=1)] = ("kotowari",)
    """Tasks or groups of them, as in `evaluate.tasks`."""
    limit: Count | None = None
    """Questions of each task, the first ones; default: all."""
    batch_size: Count = 16
    """Rows in one forward pass of one process."""

    @field_validator("tasks")
    @classmethod
    def _tasks_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return known_tasks(names)


class PretrainConfig(Section):
    """Token shards to a trained model."""

    steps: Count
    """Optimizer steps, those that are left out because of a spike included."""
    global_batch_size: Count
    """Sequences in one optimizer step, of all processes together."""
    batch_size_warmup: BatchSizeWarmupConfig | None = None
    """Smaller batches at the beginning."""
    micro_batch_size: Count | None = None
    """Sequences in one forward pass of one process. Unless given, all that a process has of a batch; in a
    pipeline the most that leave it enough micro-batches."""
    sequence_length: Annotated[int, Field(ge=2)]
    """Tokens in one sequence."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] | None = None
    """Of the first weights, the order of the data and dropout; the recipe's unless given. Another one here
    leaves text, tokenizer and held-out documents as they are."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout on embeddings and on what every block adds; for many epochs on little text."""
    z_loss: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the squared log of the softmax's denominator (Chowdhery et al. 2022), which keeps logits from
    drifting; PaLM takes 1e-4, OLMo 1e-5."""
    optimizer: OptimizerConfig
    """What makes an update of a gradient."""
    schedule: ScheduleConfig = ScheduleConfig()
    """The learning rate from step to step."""
    stability: StabilityConfig = StabilityConfig()
    """What happens at spikes of the loss."""
    precision: Literal["auto", "float32", "bfloat16", "float8"] = "auto"
    """Of matrix products; weights and optimizer stay in float32. `auto`: bfloat16 on a GPU that has it,
    float32 elsewhere. `float8` (extra `float8`): those of the layers in float8, the rest in bfloat16."""
    compile: bool = False
    """Compile every layer with `torch.compile`."""
    activation_checkpointing: ActivationCheckpointingConfig = ActivationCheckpointingConfig()
    """Less memory for more computation."""
    layout: LayoutConfig = LayoutConfig(auto=True)
    """How the processes that torchrun starts share the work: `auto`, or degrees of parallelism."""
    deterministic: bool = True
    """Only kernels that compute the same bits every time, so that a run that goes on after a stop is the run
    that was never stopped. On a GPU they are slower."""
    profile: ProfileConfig | None = None
    """A trace of some steps."""
    tracking: tuple[Tracker, ...] = ("tensorboard",)
    """Where the metrics go besides `metrics.jsonl`: TensorBoard, Weights & Biases (extra `wandb`), Trackio
    (extra `trackio`)."""
    validation_every: Count = 100
    """Steps between two measurements of the validation loss."""
    validation_sequences: Count = 64
    """Sequences of the validation split that these measurements read, always the same ones."""
    evaluation: TaskEvaluationConfig | None = None
    """Tasks that the model answers along the way, all processes together. Each of them holds the weights of
    the whole model as long as that takes."""
    checkpoint_every: Count = 100
    """Steps between two checkpoints."""
    keep_checkpoints: Count = 2
    """Checkpoints that stay on disk, the newest ones. More than one, so that a damaged one can be passed
    over."""

    @model_validator(mode="after")
    def _numbers_fit(self) -> "PretrainConfig":
        if self.schedule.warmup_steps > self.steps:
            raise ValueError(
                f"schedule.warmup_steps = {self.schedule.warmup_steps} is more than steps = {self.steps}"
            )
        if self.schedule.name == "wsd":
            decay = self.schedule.decay_steps(self.steps)
            if self.schedule.warmup_steps + decay > self.steps:
                raise ValueError(
                    f"schedule.warmup_steps = {self.schedule.warmup_steps} and the {decay} steps of "
                    f"decay are more than steps = {self.steps}; lower schedule.decay_share"
                )
        if self.precision == "float8" and self.sequence_length % _FLOAT8_TOKENS:
            raise ValueError(
                f"precision = float8 multiplies tokens in groups of {_FLOAT8_TOKENS}, which do not divide "
                f"sequence_length = {self.sequence_length}"
            )
        if self.micro_batch_size and self.global_batch_size % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size = {self.micro_batch_size} does not divide "
                f"global_batch_size = {self.global_batch_size}"
            )
        self._check_batch_size_warmup()
        if self.activation_checkpointing.memory_budget is not None and not self.compile:
            raise ValueError(
                "activation_checkpointing.memory_budget is the compiler's; set compile = true, or choose "
                "activation_checkpointing.mode"
            )
        if self.profile and self.profile.first_step + self.profile.steps - 1 > self.steps:
            raise ValueError(
                f"profile: {self.profile.steps} steps from step {self.profile.first_step} on are more than "
                f"steps = {self.steps}"
            )
        if len(set(self.tracking)) < len(self.tracking):
            raise ValueError(f"tracking names one twice: {', '.join(self.tracking)}")
        return self

    def result_settings(self) -> dict[str, object]:
        """What the trained model depends on, up to rounding: not who computes it, nor who watches."""
        computing = {"layout", "micro_batch_size", "compile", "activation_checkpointing", "deterministic"}
        watching = {"profile", "tracking", "evaluation", "keep_checkpoints"}
        excluded: dict[str, Any] = dict.fromkeys(computing | watching, True)
        # A key that nobody has set is no other setting: trainings from before it existed stay.
        if self.optimizer.muon_ns_steps == 5:
            excluded["optimizer"] = {"muon_ns_steps"}
        return self.model_dump(mode="json", exclude=excluded)

    def _check_batch_size_warmup(self) -> None:
        warmup = self.batch_size_warmup
        if warmup is None:
            return
        if self.global_batch_size % warmup.start:
            raise ValueError(
                f"batch_size_warmup.start = {warmup.start} does not divide "
                f"global_batch_size = {self.global_batch_size}"
            )
        if self.micro_batch_size and warmup.start % self.micro_batch_size:
            raise ValueError(
                f"micro_batch_size = {self.micro_batch_size} does not divide "
                f"batch_size_warmup.start = {warmup.start}"
            )
        if warmup.steps > self.steps:
            raise ValueError(f"batch_size_warmup.steps = {warmup.steps} is more than steps = {self.steps}")
