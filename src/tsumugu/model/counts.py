"""How large a model is and how much it computes, from its shape alone: nothing is built.

`tests/model/test_counts.py` holds these against the model itself.
"""

from tsumugu.model.config import ModelConfig


def block_matrices(model: ModelConfig) -> int:
    """Numbers in the matrices of one layer."""
    heads = model.num_attention_heads * model.head_size
    key_values = 2 * model.key_value_heads * model.head_size
    return model.hidden_size * (2 * heads + key_values + mlp_matrices(model) * model.mlp_size)


def mlp_matrices(model: ModelConfig) -> int:
    """Of one layer: up and down, and for SwiGLU a gate."""
    return 3 if model.architecture == "llama" else 2


def block_vectors(model: ModelConfig) -> int:
    """Numbers in the norms and biases of one layer."""
    hidden = model.hidden_size
    if model.architecture == "llama":
        return 2 * hidden + (2 * model.head_size if model.qk_norm else 0)
    # Two norms with gain and bias, and a bias for every output of a matrix: queries, keys and values;
    # attention's output; up; down.
    return 4 * hidden + 3 * hidden + hidden + model.mlp_size + hidden


def root_numbers(model: ModelConfig, vocab_size: int) -> int:
    """Numbers outside of the layers: embeddings, positions, the last norm; a tied embedding once."""
    embedding = vocab_size * model.hidden_size
    total = embedding if model.tie_word_embeddings else 2 * embedding
    total += model.hidden_size if model.architecture == "llama" else 2 * model.hidden_size
    if model.architecture == "gpt2":
        total += model.max_position_embeddings * model.hidden_size
    return total


def parameter_count(model: ModelConfig, vocab_size: int) -> int:
    """Numbers in the whole model; a tied embedding once."""
    layers = model.num_hidden_layers * (block_matrices(model) + block_vectors(model))
    return layers + root_numbers(model, vocab_size)


def flops_per_token(model: ModelConfig, vocab_size: int, sequence_length: int) -> int:
    """Floating-point operations of forward and backward pass for one token of training.

    6 N + 12 L H K T (PaLM: Chowdhery et al. 2022, appendix B; the same in nanoGPT's `estimate_mfu`): N
    numbers in the matrices that the token is multiplied with, which are those of the layers and of the
    output embedding, each with two operations forward and four backward; L layers with H heads of size K,
    whose scores and sums reach over T tokens. By convention the half of the attention that causality rules
    out counts, and what activation checkpointing computes again does not.

    Args:
        model: the shape.
        vocab_size: rows of the output embedding.
        sequence_length: T.
    """
    heads = model.num_attention_heads * model.head_size
    matrices = model.num_hidden_layers * block_matrices(model) + vocab_size * model.hidden_size
    return 6 * matrices + 12 * model.num_hidden_layers * heads * sequence_length


def muon_flops(model: ModelConfig, ns_steps: int) -> int:
    """Floating-point operations of making the updates of all layers' matrices orthogonal, in one step.

    A matrix of r rows and c columns, r the smaller, takes 4 r^2 c + 2 r^3 in each step of Newton-Schulz:
    three products (Jordan 2024). Queries, keys and values are matrices of their own, as in
    `tsumugu/training/muon.py`. It does not grow with the tokens of a step, so it is nothing beside batches of
    millions of tokens, and much beside those of a few thousand.

    Args:
        model: the shape.
        ns_steps: steps of Newton-Schulz, `optimizer.muon_ns_steps`.
    """
    hidden = model.hidden_size
    heads = model.num_attention_heads * model.head_size
    key_values = model.key_value_heads * model.head_size
    shapes = [(heads, hidden), (key_values, hidden), (key_values, hidden), (hidden, heads)]
    shapes += [(hidden, model.mlp_size)] * mlp_matrices(model)
    sides = [(min(shape), max(shape)) for shape in shapes]
    one_layer = sum(4 * short * short * long + 2 * short**3 for short, long in sides)
    return model.num_hidden_layers * ns_steps * one_layer
