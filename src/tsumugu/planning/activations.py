"""What a layer keeps for its backward pass, in bytes.

The lists are those of what autograd saves for our `Block` (`model/decoder.py`), by each way of
checkpointing, with flash attention and no dropout. A compiled layer keeps the same, measured on a CPU, but
for one factor of SwiGLU. Shapes: n tokens of one micro-batch on one process; D
hidden; A all heads' queries; C all heads' keys; F width of the MLP. Tensor parallelism of degree t divides A,
C and F by t, and between attention and MLP the tokens.
"""

from dataclasses import dataclass
from typing import Literal

from tsumugu.model.config import ModelConfig
from tsumugu.model.counts import mlp_matrices
from tsumugu.planning.workload import Checkpointing

Kernels = Literal["cuda", "cpu"]
"""Whose kernels compute. A CPU has no fused RMSNorm, and so keeps more."""


@dataclass(frozen=True)
class LayerActivations:
    """Bytes of one layer for one micro-batch."""

    kept: int
    """From its forward to its backward pass."""
    recomputed: int
    """That its backward pass computes again first."""
    temporary: int
    """At most, while its backward pass goes on."""
    weights_wait: int
    """Where a schedule computes the gradients of weights later: those of its products' results."""


@dataclass(frozen=True)
class Tokens:
    """What of a micro-batch a process has, and in how many bytes per number."""

    count: int
    """n: sequences x tokens, divided by the degree of context parallelism."""
    tensor: int
    """t."""
    context: int
    """Degree of context parallelism."""
    length: int
    """Tokens of a whole sequence."""
    product: int
    """Bytes of a number that a matrix product reads or writes."""
    residual: int
    """Bytes of a number of the residual stream."""


def layer_activations(
    model: ModelConfig,
    tokens: Tokens,
    checkpointing: Checkpointing,
    *,
    compiled: bool,
    kernels: Kernels = "cuda",
) -> LayerActivations:
    """What one layer keeps.

    Args:
        model: the shape.
        tokens: of a micro-batch.
        checkpointing: of this layer.
        compiled: whether the layer is compiled.
        kernels: of which device.
    """
    n, t, s = tokens.count, tokens.tensor, tokens.product
    hidden, wide = s * n * model.hidden_size, s * n * model.mlp_size // t
    qkv = s * n * (model.num_attention_heads + 2 * model.key_value_heads) * model.head_size // t
    # The attention's result and the logarithm of each softmax's denominator.
    out = n * model.num_attention_heads * (s * model.head_size + 4) // t
    whole = _whole(model, tokens, compiled=compiled, kernels=kernels)
    stream = tokens.residual * n * model.hidden_size // t
    # The MLP comes first, when all else is still there: the gradient of the stream, the same as the last
    # product takes it, and the gradients of that product's input, or of both that SwiGLU makes it of.
    taken = hidden if t > 1 or tokens.residual > s else 0
    temporary = stream + taken + wide
    if model.architecture == "llama":
        temporary = max(temporary, stream + 2 * wide)
    wait = qkv + 2 * hidden + (mlp_matrices(model) - 1) * wide
    if checkpointing == "none":
        return LayerActivations(whole, 0, temporary, wait)
    if checkpointing == "full":
        return LayerActivations(stream, whole - stream, temporary, wait)
    kept = stream + qkv + out + hidden
    scattered = hidden // t if t > 1 else 0
    # The projection's partial sums and what becomes of them are let go as soon as they are used again; what
    # becomes of the MLP's is not computed again, and stays.
    return LayerActivations(kept + 2 * scattered, whole - kept - scattered, temporary, wait)


def norm_input(model: ModelConfig, tokens: Tokens, kernels: Kernels) -> int:
    """Bytes that a norm of hidden states keeps."""
    n, numbers = tokens.count // tokens.tensor, tokens.count * model.hidden_size // tokens.tensor
    if model.architecture != "llama":
        return tokens.residual * numbers + 8 * n
    if kernels == "cuda":
        return tokens.residual * numbers + 4 * n
    # Not fused: its input and the normed input, both in float32.
    return 8 * numbers + 4 * n


def _whole(model: ModelConfig, tokens: Tokens, *, compiled: bool, kernels: Kernels) -> int:
    n, t, s = tokens.count, tokens.tensor, tokens.product
    llama, rotary = model.architecture == "llama", model.architecture != "gpt2"
    hidden, wide = s * n * model.hidden_size, s * n * model.mlp_size // t
    queries = s * n * model.num_attention_heads * model.head_size // t
    keys = s * n * model.key_value_heads * model.head_size // t
    lse = 4 * n * model.num_attention_heads // t
    if compiled:
        kernels = "cuda"  # the compiler fuses a norm on a CPU too

    # The inputs of the norms, and their results for the products. Autocast makes the latter for each product.
    norms = (1 if model.parallel_residual else 2) * norm_input(model, tokens, kernels) + 2 * hidden
    if llama and tokens.residual > s and not compiled:
        norms += hidden
    # One matrix, of which the values are a part.
    attention = queries + 2 * keys
    if rotary:
        attention += queries + keys  # turned
    if tokens.context > 1:
        attention = _gathered(model, tokens, queries, keys, kernels)
    if model.qk_norm:
        attention += _head_norms(model, tokens, queries, keys, kernels)
    # What attention gives lies in the order of its queries: turned ones are head by head, and are put back.
    # So are those of the two pieces of a sequence.
    attention += queries * (2 if rotary or tokens.context > 1 else 1) + lse
    # The inputs of the activation function and of the last product; of SwiGLU the product's factors too, of
    # which the compiler computes one again.
    mlp = (3 if compiled else 4) * wide if llama else 2 * wide
    return norms + attention + mlp


def _gathered(model: ModelConfig, tokens: Tokens, queries: int, keys: int, kernels: Kernels) -> int:
    """Queries of some tokens, keys and values of all; and the matrix they came from, if anybody needs it."""
    attention = 2 * tokens.context * keys
    if model.architecture != "gpt2":
        attention += queries
    if model.architecture == "gpt2" or (model.qk_norm and (kernels == "cuda" or tokens.product == 4)):
        attention += queries + 2 * keys
    if kernels == "cpu":
        # The later piece's mask, which a GPU's kernel does without.
        attention += tokens.product * tokens.length**2 // (2 * tokens.context)
    return attention


def _head_norms(model: ModelConfig, tokens: Tokens, queries: int, keys: int, kernels: Kernels) -> int:
    """What norms on queries and keys keep, besides the matrix that both are parts of."""
    s = tokens.product
    grouped = model.key_value_heads != model.num_attention_heads
    statistics = 4 * (queries + keys) // (s * model.head_size)
    copied = queries if grouped else 0  # those that do not lie at equal distances
    in_float32 = 4 * (queries + keys) // s
    if kernels == "cpu":
        return (2 * in_float32 if s < 4 else in_float32 + copied) + statistics
    return (in_float32 if tokens.residual > s else copied) + statistics
