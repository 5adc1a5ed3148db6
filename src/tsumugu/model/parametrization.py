"""How first weights, rates and decay go with the width of a model: maximal update parametrization.

`TABLE` says by which power of m = hidden_size / mup_base_width the numbers of a recipe are multiplied, for
every kind of parameter, so that a rate found at a small width is right at a large one: activations, and
what a step changes of them, keep their size however wide the model is (muP: Yang et al. 2022, "Tensor
Programs V", https://arxiv.org/abs/2203.03466). Without `model.mup_base_width` m is 1: the standard
parametrization.

The model computes what it always does, so nothing of this is in a released one. Two things make that
possible:
- Heads keep their size and grow in number, so that the paper's attention scores, q.k / head size instead of
  q.k / sqrt(head size), are the usual ones up to a constant.
- With tied embeddings the paper multiplies the logits by 1/m (Table 8). Here the last norm's weight begins
  at 1/m instead, and the rates of its weight and bias are multiplied by 1/m. Logits are linear in both, and
  the size of gradients is nothing to Adam, so weight and bias are 1/m times what they would be before a
  multiplier, in every step, up to `eps`. (With weight decay that would not hold; norms have none.) Their
  gradients are m times those; where the length of the gradient is measured, they count 1/m.

All widths grow by m: the MLP's too, but for its rounding. Depth, batch size and the length of training are
no part of it.
"""

from dataclasses import dataclass

from tsumugu.model.config import ModelConfig

_INTO_RESIDUAL = ("attention.output.weight", "mlp.down.weight")
_HIDDEN = ("attention.qkv.weight", "mlp.up.weight", "mlp.gate.weight")


@dataclass(frozen=True)
class Row:
    """One kind of parameter. Numbers are powers of m; None: not Muon's, or without decay."""

    kind: str
    first: float
    """Of the deviation of the first weights; of a norm's weight, of its first value."""
    adamw: float
    """Of AdamW's learning rate."""
    adamw_decay: float | None
    """Of AdamW's weight decay, which torch multiplies with the rate."""
    muon: float | None
    """Of Muon's learning rate."""
    muon_decay: float | None
    """Of Muon's weight decay, which is multiplied with the rate too."""
    source: str
    """In Yang et al. 2022, of the first two columns."""


# fmt: off
#               kind                                 first  adamw decay muon  decay source
EMBEDDING = Row("embeddings of tokens and positions", 0.0,  0.0, None, None, None, "Table 3: input weights")
HIDDEN = Row(   "matrices into heads and MLP",       -0.5, -1.0, 1.0, -0.5,  0.5,  "Table 3: hidden weights")
INTO_RESIDUAL = Row(
                "matrices into the residual stream", -0.5, -1.0, 1.0, -0.5,  0.5,  "Table 3: hidden weights")
VECTOR = Row(   "biases and norms",                   0.0,  0.0, None, None, None, "Table 3: all biases")
LAST_NORM = Row("last norm, embeddings tied",        -1.0, -1.0, None, None, None, "Table 8: the multiplier")
OUTPUT = Row(   "output embedding, not tied",        -1.0, -1.0, None, None, None, "Table 3: output weights")
# fmt: on

TABLE = (EMBEDDING, HIDDEN, INTO_RESIDUAL, VECTOR, LAST_NORM, OUTPUT)
"""Decay: 1 / (rate * decay) is the number of steps that weights are an average of, which is to stay (Wang &
Aitchison 2024, https://arxiv.org/abs/2405.13698).

Muon: a step is to change a matrix by a spectral norm of about sqrt(outputs / inputs) (Yang, Simon & Bernstein
2023, https://arxiv.org/abs/2310.17813), which stays when both sides grow by m. The updates of
`training/muon.py`, orthogonal times 0.2 * sqrt(max(rows, columns)), grow by sqrt(m): the rate takes it
back."""


def row_of(name: str, config: ModelConfig) -> Row:
    """The row of parameter `name`, as `named_parameters()` names it, whatever the layers are wrapped in."""
    parts = [part for part in name.split(".") if not part.startswith("_")]
    if "layers" in parts:
        plain = ".".join(parts)
        if plain.endswith(_INTO_RESIDUAL):
            return INTO_RESIDUAL
        return HIDDEN if plain.endswith(_HIDDEN) else VECTOR
    if parts[0] == "norm":
        return LAST_NORM if config.tie_word_embeddings else VECTOR
    # A pipeline's last stage has a copy of tied embeddings as its head.
    return OUTPUT if parts[0] == "head" and not config.tie_word_embeddings else EMBEDDING


def multiple(power: float, config: ModelConfig) -> float:
    """m ** power; exactly 1 for a model as wide as its base."""
    if config.mup_base_width is None:
        return 1.0
    return float((config.hidden_size / config.mup_base_width) ** power)


def carried(name: str, config: ModelConfig) -> float:
    """The multiplier of the model's output that parameter `name` carries; 1 for most."""
    row = row_of(name, config)
    return multiple(row.first, config) if row is LAST_NORM else 1.0
