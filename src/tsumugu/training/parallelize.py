"""From a plain decoder to one that works on many processes.

The order is the one that composes: cut into stages, tensor and context parallelism, activation
checkpointing, compilation block by block, FSDP; then memory, then weights. Until then everything
is on the meta device: no process ever holds more than its part.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard

from tsumugu.model.attention import Documents
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder, count_parameters
from tsumugu.model.initialization import initialize
from tsumugu.training.context_parallel import apply_context_parallel
from tsumugu.training.layout import Layout
from tsumugu.training.pipeline_parallel import Pipeline, cut_stage
from tsumugu.training.tensor_parallel import apply_tensor_parallel


class MicroBatch(NamedTuple):
    """What one forward pass reads: this process's share of some sequences."""

    tokens: Tensor
    """`int64 [B, T]`."""
    targets: Tensor
    """`int64 [B, T]`; `IGNORED` where nothing is to be predicted."""
    positions: Tensor
    """`int64 [B or 1, T]`."""
    documents: Documents | None
    """Of the whole sequences, however many processes share them."""


@dataclass
class ParallelModel:
    """The parts of a model that are on this process."""

    layout: Layout
    device: torch.device
    seed: int
    parts: list[Decoder]
    mesh: DeviceMesh | None = None
    """None: this is the only process."""
    autocast: torch.dtype | None = None
    """What matrices are multiplied in, where FSDP does not see to it."""
    pipeline: Pipeline | None = field(default=None, repr=False)
    first_weights: Callable[[Decoder], None] | None = field(default=None, repr=False)
    """See `Settings`."""

    def named_parameters(self) -> Iterator[tuple[str, nn.Parameter]]:
        """All parameters that are here, by their names in the whole model."""
        for part in self.parts:
            yield from part.named_parameters()

    @property
    def data_rank(self) -> int:
        """Which part of every batch this process reads, of `layout.data`."""
        if self.mesh is None:
            return 0
        replica = self.mesh.get_local_rank("data_replicate")
        return replica * self.layout.data_shard + self.mesh.get_local_rank("data_shard")

    def initialize(self) -> None:
        """Give all parameters their first values, the same in every layout."""
        for part in self.parts:
            if self.first_weights is None:
                initialize(part, self.seed)
            else:
                self.first_weights(part)

    def parameter_count(self) -> int:
        """Numbers in the whole model, shared ones once."""
        with torch.device("meta"):
            whole = Decoder(self.parts[0].config, self.parts[0].vocab_size)
        return count_parameters(whole)

    def is_copy(self, name: str) -> bool:
        """Whether parameter `name` is the last stage's copy of the first stage's embedding."""
        # Where both are in one part they are one parameter, whose name is the embedding's.
        return name == "head.weight" and self.parts[0].config.tie_word_embeddings

    def train(self) -> None:
        """With dropout."""
        for part in self.parts:
            part.train()

    def eval(self) -> None:
        """Without dropout."""
        for part in self.parts:
            part.eval()

    def forward_backward(self, batches: list[MicroBatch]) -> Tensor:
        """Add the gradients of the sum of all losses; return the part of it that is here, `float32 []`.

        Under data and context parallelism the gradients are summed over the processes.
        """
        if self.pipeline is not None:
            loss = self.pipeline.step(batches)
            self.pipeline.add_tied_gradients(self.parts)
            return loss
        (part,) = self.parts
        total = torch.zeros((), device=self.device)
        for number, batch in enumerate(batches, start=1):
            if isinstance(part, FSDPModule):
                # Groups of replicas meet once per step, not once per micro-batch.
                part.set_requires_all_reduce(number == len(batches))
            loss = self._loss(part, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        return total

    @torch.no_grad()
    def loss(self, batches: list[MicroBatch]) -> Tensor:
        """The sum of all losses, the part of it that is here, `float32 []`."""
        if self.pipeline is not None:
            total = self.pipeline.evaluate(batches)
        else:
            (part,) = self.parts
            total = torch.zeros((), device=self.device)
            for batch in batches:
                total += self._loss(part, batch)
        self._reshard()
        return total

    def _reshard(self) -> None:
        """Give back what FSDP gathered and a backward pass would have given back: until then a module's
        parameters are whole, in the precision of products, and none of those that the optimizer knows."""
        for part in self.parts:
            for module in part.modules():
                if isinstance(module, FSDPModule):
                    module.reshard()

    def _loss(self, part: Decoder, batch: MicroBatch) -> Tensor:
        with torch.autocast(self.device.type, dtype=self.autocast, enabled=self.autocast is not None):
            loss: Tensor = part(
                batch.tokens, batch.targets, positions=batch.positions, documents=batch.documents
            )
        return loss


@dataclass(frozen=True)
class Settings:
    """What is done to a model besides its layout."""

    seed: int
    dropout: float = 0.0
    z_loss: float = 0.0
    dtype: torch.dtype = torch.float32
    """Of matrix products and of what is gathered; weights, gradients and their sums stay float32."""
    first_weights: Callable[[Decoder], None] | None = None
    """Sets the weights of a part of the model, or of a shard of one, that training begins with; None: they
    are drawn from the seed."""
    prepare_blocks: Callable[[Decoder], None] = lambda part: None
    """Activation checkpointing and compilation, in place."""


def build_model(
    config: ModelConfig,
    vocab_size: int,
    *,
    layout: Layout,
    mesh: DeviceMesh | None,
    device: torch.device,
    settings: Settings,
    micro_batch: tuple[int, int] = (1, 1),
) -> ParallelModel:
    """The parts of the model that belong on this process, with their first weights.

    Args:
        config: the model.
        vocab_size: V.
        layout: the degrees of parallelism.
        mesh: of `build_mesh`; None for a single process.
        device: where.
        settings: seed, precision, and so on.
        micro_batch: sequences and tokens of a forward pass, for the buffers of a pipeline.
    """
    rank = mesh.get_local_rank("pipeline") if mesh is not None else 0
    stages = layout.stage_ids(rank)
    parts = []
    for stage in stages:
        with torch.device("meta"):
            part = Decoder(config, vocab_size, dropout=settings.dropout)
        cut_stage(part, stage, layout.stages)
        if part.head is not None:
            part.head.z_loss = settings.z_loss
        if mesh is not None and layout.tensor > 1:
            apply_tensor_parallel(part, mesh["tensor"])
        if mesh is not None and layout.context > 1:
            apply_context_parallel(part, mesh["context"])
        settings.prepare_blocks(part)
        if mesh is not None:
            _shard(part, layout, mesh, dtype=settings.dtype)
        part.to_empty(device=device)
        parts.append(part)
    pipeline = None
    if layout.pipeline > 1:
        assert mesh is not None
        pipeline = Pipeline(parts, stages, layout, mesh, device, micro_batch, settings.dtype)
    autocast = settings.dtype if mesh is None and settings.dtype != torch.float32 else None
    model = ParallelModel(
        layout, device, settings.seed, parts, mesh, autocast, pipeline, settings.first_weights
    )
    model.initialize()
    return model


def _shard(part: Decoder, layout: Layout, mesh: DeviceMesh, *, dtype: torch.dtype) -> None:
    """FSDP over the processes that share weights, copies over those that repeat them."""
    shard = mesh["data_shard"]
    if layout.context > 1:
        shard = mesh["data_shard", "context"]._flatten("data_shard_context")
    if layout.data_replicate > 1:
        shard = DeviceMesh._concatenate([mesh["data_replicate"], shard])
    # Inputs are not cast: blocks get hidden states that are in `dtype`, and angles that must not be.
    policy = MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=torch.float32, output_dtype=None, cast_forward_inputs=False
    )
    # A pipeline comes back to the same weights with every micro-batch.
    reshard = layout.pipeline == 1
    for block in part.layers.values():
        fully_shard(block, mesh=shard, mp_policy=policy, reshard_after_forward=reshard)
    fully_shard(part, mesh=shard, mp_policy=policy, reshard_after_forward=False)
    for module in part.modules():
        if isinstance(module, FSDPModule):
            # Losses are sums; whoever steps divides by the number of targets.
            module.set_gradient_divide_factor(1.0)
            module.set_force_sum_reduction_for_comms(True)
