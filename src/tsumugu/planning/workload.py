"""What is to be planned: a model to train, and one way of training it.

Nothing here knows of a cluster, and nothing in this folder but `reality.py` imports torch, so that
`tsumugu plan` answers at once.
"""

from dataclasses import dataclass, replace
from typing import Literal

from tsumugu.model.config import ModelConfig
from tsumugu.training.layout import Layout

Precision = Literal["float32", "bfloat16", "float8"]
"""Of matrix products, as in `pretrain.precision`; weights, gradients and moments stay in float32."""
Checkpointing = Literal["none", "selective", "full"]
"""As in `pretrain.activation_checkpointing.mode`."""


def number_bytes(precision: Precision) -> int:
    """Of a number that is computed with; what float8 leaves over, and what is sent, is in bfloat16."""
    return 4 if precision == "float32" else 2


@dataclass(frozen=True)
class Workload:
    """What is trained, however many devices share it."""

    model: ModelConfig
    vocab_size: int
    sequence_length: int
    """Tokens."""
    global_batch_size: int
    """Sequences in one optimizer step."""
    steps: int
    precision: Precision = "bfloat16"
    optimizer: Literal["adamw", "muon"] = "adamw"
    muon_ns_steps: int = 5
    """Steps of Newton-Schulz in an update of Muon's."""
    compile: bool = True
    """Whether layers are compiled, which fuses what is not a matrix product."""
    samples: int | None = None
    """Sequences of the whole training, where batches warm up; None: all steps have whole batches."""

    @property
    def tokens_per_step(self) -> int:
        """Of all devices together."""
        return self.global_batch_size * self.sequence_length

    @property
    def tokens(self) -> int:
        """Of the whole training."""
        if self.samples is not None:
            return self.samples * self.sequence_length
        return self.tokens_per_step * self.steps

    @property
    def whole_steps(self) -> float:
        """Steps with whole batches that have as many tokens: what time and price are reckoned by."""
        return self.tokens / self.tokens_per_step

    def of_steps(self, steps: int) -> "Workload":
        """The same for another number of steps, with whole batches."""
        return replace(self, steps=steps, samples=None)


@dataclass(frozen=True)
class Candidate:
    """One way to train a workload."""

    layout: Layout
    micro_batch_size: int
    """Sequences in one forward pass of one device."""
    checkpointing: Checkpointing = "none"
    every: int = 1
    """Only every n-th layer is checkpointed."""
    reshard: bool = True
    """Whether FSDP gives a layer's weights back after the forward pass and gathers them again for the
    backward pass; training does so where there is no pipeline."""

    def micro_batches(self, workload: Workload) -> int:
        """Forward passes of one device in a step."""
        return workload.global_batch_size // (self.layout.data * self.micro_batch_size)


@dataclass(frozen=True)
class Practice:
    """What a trainer does that its layout does not say.

    The defaults are this project's own trainer; the others are there to predict published runs of others.
    """

    gradient_bytes: int = 4
    """Of one number of a gradient that processes add up."""
    sync_every_micro_batch: bool = True
    """Whether weights are gathered and gradients added up in every micro-batch, as FSDP does where there is
    no pipeline, or once per step, as Megatron-LM's distributed optimizer does."""
    fused_attention: bool = True
    """FlashAttention or its like. Without it scores are written to memory and read again."""
    attention_speed: float = 1.0
    """Of the fused attention, against FlashAttention 2."""
    fused_layers: bool | None = None
    """Whether what is not a matrix product is fused; None: if the layers are compiled."""
    recompute_stops: bool = True
    """Whether full checkpointing computes no more than the backward pass needs, as PyTorch's does from 2.1
    on: a layer's last product is not computed again."""
    sequence_parallel: bool = True
    """Whether tensor parallelism shares what stands between the products too (Korthikanti et al. 2022)."""
    virtual_stages: int | None = None
    """Stages per process of an interleaved schedule with more of them than two."""
    tensor_hidden: float = 0.0
    """Share of tensor parallelism's communication that is done beside the products."""


OURS = Practice()
