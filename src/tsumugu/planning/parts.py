"""What a process of a layout has: its share of the parameters, its layers, and what they and the loss keep.

`memory.py` adds it up at the moments of a step.
"""

from dataclasses import dataclass
from functools import cache

from tsumugu.model.config import ModelConfig
from tsumugu.model.counts import mlp_matrices
from tsumugu.planning.activations import Kernels, LayerActivations, Tokens, layer_activations, norm_input
from tsumugu.planning.workload import Candidate, Workload, number_bytes
from tsumugu.training.layout import SPLIT_BACKWARD, stage_layers

CHUNK_ELEMENTS = {"cuda": 2**26, "cpu": 2**21}
SMALLEST_CHUNK = 512
"""These two as in `model/loss.py`."""


@dataclass(frozen=True)
class Numbers:
    """Of some parameters: how many there are in this process's tensor-parallel part, filled up so that FSDP
    can cut them, and in this process's share of that."""

    whole: int
    share: int
    matrices: int
    """Of `share`, those in matrices of layers."""

    def __add__(self, other: "Numbers") -> "Numbers":
        return Numbers(self.whole + other.whole, self.share + other.share, self.matrices + other.matrices)

    def times(self, count: int) -> "Numbers":
        """Of so many times the parameters."""
        return Numbers(self.whole * count, self.share * count, self.matrices * count)


_NOTHING = Numbers(0, 0, 0)


@cache
def _numbers(model: ModelConfig, vocab_size: int, tensor: int, shards: int) -> dict[str, Numbers]:
    hidden, wide = model.hidden_size, model.mlp_size // tensor
    heads = model.num_attention_heads * model.head_size // tensor
    rows = heads + 2 * model.key_value_heads * model.head_size // tensor
    llama = model.architecture == "llama"
    # Rows and columns of this process's part; FSDP cuts rows.
    matrices = [(rows, hidden), (hidden, heads), (hidden, wide)] + [(wide, hidden)] * (
        mlp_matrices(model) - 1
    )
    vectors = [hidden] * (2 if llama else 4)
    if not llama:
        vectors += [rows, hidden, wide, hidden]  # biases
    if model.qk_norm:
        vectors += [model.head_size] * 2

    def cut(shapes: list[tuple[int, int]]) -> Numbers:
        share = sum(-(-rows // shards) * columns for rows, columns in shapes)
        return Numbers(share * shards, share, 0)

    inner = cut(matrices)
    positions = [(model.max_position_embeddings, hidden)] if model.architecture == "gpt2" else []
    return {
        "block": Numbers(inner.whole, inner.share, inner.share) + cut([(size, 1) for size in vectors]),
        "embedding": cut([(vocab_size // tensor, hidden), *positions]),
        "head": cut([(vocab_size // tensor, hidden)]),
        "norm": cut([(hidden, 1)] * (1 if llama else 2)),
    }


@dataclass(frozen=True)
class Stage:
    """Layers of a process that work together."""

    layers: int
    checkpointed: tuple[bool, ...]
    """Of each layer."""
    first: bool
    last: bool
    kept: int
    """Bytes of activations of one micro-batch."""


@dataclass(frozen=True)
class Part:
    """What a process has."""

    workload: Workload
    candidate: Candidate
    stages: tuple[Stage, ...]
    rank: int
    single: bool
    """Whether there is no other process, and so no FSDP."""
    size: int
    """Bytes of a number in products."""
    block: Numbers
    root: Numbers
    """What is not in layers."""
    all: Numbers
    head: int
    """Numbers in this process's part of the output embedding."""
    plain: LayerActivations
    checkpointed: LayerActivations
    tokens: Tokens
    loss_forward: int
    loss_kept: int
    loss_backward: int
    optimizer: int
    """Bytes of its moments."""

    @property
    def weights(self) -> int:
        """Bytes of its share, float32."""
        return 4 * self.all.share

    @property
    def gradients(self) -> int:
        """Bytes of those of its weights, reduced."""
        return self.weights

    @property
    def micro_batches(self) -> int:
        """Of a step."""
        return self.candidate.micro_batches(self.workload)

    @property
    def down(self) -> int:
        """Bytes of the gradient of the MLP's last matrix, the first that a layer's backward pass makes."""
        model = self.workload.model
        return self.size * model.mlp_size * model.hidden_size // self.tokens.tensor

    def work(self, stage: Stage, done: int) -> int:
        """Bytes of the backward pass of the layer in front of the last `done` ones: what it and the layers in
        front of it keep, what it computes again and with; less what the whole stage keeps."""
        layer = self.kind(stage.checkpointed[stage.layers - 1 - done])
        behind = stage.checkpointed[stage.layers - done :]
        return layer.recomputed + layer.temporary - sum(self.kind(one).kept for one in behind)

    def most_work(self, stage: Stage) -> int:
        """Of the layer that takes most."""
        return max(self.work(stage, done) for done in range(min(stage.layers, self.candidate.every)))

    def kind(self, checkpointed: bool) -> LayerActivations:
        """Of a layer that is checkpointed, or is not."""
        return self.checkpointed if checkpointed else self.plain


def part_of(workload: Workload, candidate: Candidate, rank: int, kernels: Kernels) -> Part:
    """What the devices of process `rank` of the pipeline have."""
    model, layout = workload.model, candidate.layout
    single = layout.processes == 1
    size = number_bytes(workload.precision)
    tokens = Tokens(
        count=candidate.micro_batch_size * workload.sequence_length // layout.context,
        tensor=layout.tensor,
        context=layout.context,
        length=workload.sequence_length,
        product=size,
        # Without FSDP autocast computes, which leaves the residual stream in float32.
        residual=4 if single else size,
    )
    plain, checkpointed = (
        layer_activations(model, tokens, mode, compiled=workload.compile, kernels=kernels)
        for mode in ("none", candidate.checkpointing)
    )
    numbers = _numbers(model, workload.vocab_size, layout.tensor, layout.data_shard * layout.context)
    stream = tokens.residual * tokens.count * model.hidden_size // layout.tensor
    root, stages = _NOTHING, []
    split = layout.pipeline > 1 and layout.pipeline_schedule in SPLIT_BACKWARD
    # What the first part of a split backward pass computes again, stays for the second.
    checkpoints = candidate.checkpointing != "none" and not split
    for stage in layout.stage_ids(rank):
        layers = stage_layers(stage, layout.stages, model.num_hidden_layers)
        of_layers = tuple(checkpoints and n % candidate.every == 0 for n in layers)
        count = sum(of_layers)
        first, last = stage == 0, stage == layout.stages - 1
        kept = (len(layers) - count) * plain.kept + count * checkpointed.kept
        if layout.pipeline > 1:
            # What is sent on is kept too; what was received is in a buffer of its own.
            kept += (0 if last else stream) - (0 if first else stream)
        stages.append(Stage(len(layers), of_layers, first, last, kept))
        if first:
            root += numbers["embedding"]
        if last:
            root += numbers["norm"]
            if not (first or any(one.first for one in stages)) or not model.tie_word_embeddings:
                root += numbers["head"]
    everything = numbers["block"].times(sum(stage.layers for stage in stages)) + root
    moments = 8 * everything.share
    if workload.optimizer == "muon":
        moments -= 4 * everything.matrices
    forward, loss_kept, backward = _loss(workload, tokens, kernels)
    return Part(
        workload=workload,
        candidate=candidate,
        stages=tuple(stages),
        rank=rank,
        single=single,
        size=size,
        block=numbers["block"],
        root=root,
        all=everything,
        head=workload.vocab_size // layout.tensor * model.hidden_size,
        plain=plain,
        checkpointed=checkpointed,
        tokens=tokens,
        loss_forward=forward,
        loss_kept=loss_kept,
        loss_backward=backward,
        optimizer=moments,
    )


def _loss(workload: Workload, tokens: Tokens, kernels: Kernels) -> tuple[int, int, int]:
    """Bytes while the loss is computed, until its backward pass, and in that; see `model/loss.py`."""
    n, s = tokens.count, tokens.product
    hidden, rows = workload.model.hidden_size, workload.vocab_size // tokens.tensor
    chunk = min(n, max(SMALLEST_CHUNK, CHUNK_ELEMENTS[kernels] // rows))
    states, matrix = s * n * hidden, rows * hidden
    # Logits in float32, their gradient in the precision of products; of two chunks for a moment.
    one = chunk * rows * (8 if s == 4 else 4 + s) // (2 if s == 4 else 1)
    two = chunk * rows * (8 if s == 4 else 8 + 2 * s) if chunk < n else 0
    norm = norm_input(workload.model, tokens, kernels)
    normed = 4 * n * hidden if tokens.residual > s else 0
    forward = 2 * states + 4 * matrix + max(s * matrix + one, two) + norm + normed
    kept = states + s * matrix + norm
    backward = 2 * states + s * matrix + (4 if s == 4 else 8) * matrix + norm
    return forward, kept, backward
