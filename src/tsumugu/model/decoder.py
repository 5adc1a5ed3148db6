"""The decoder, in plain single-device PyTorch: one model for three families.

Notable features:
- GPT-2: learned positions. GPT-NeoX: rotary positions on all dimensions of a head (Su et al. 2021),
  residuals one after the other as in LINE's 3.6B, or side by side. Llama: rotary positions, RMSNorm,
  SwiGLU, grouped-query attention, no biases; norms on queries and keys if wanted
- pre-norm everywhere; exact GELU; tied input and output embeddings unless told otherwise
- one matrix for queries, keys and values, its rows grouped by key-value head, so that any share of
  the groups is a smaller attention of its own
- attention within documents when their boundaries are given
- the loss is computed inside, chunk by chunk: the logits of all tokens never exist

Any part may be missing (None, or a layer taken out): a stage of a pipeline runs what it has.

Shapes in comments: B batch, T sequence, D hidden, H heads, G key-value heads, K head size,
V vocabulary.
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from tsumugu.model.attention import Documents, Scope, attend, causal_scope, takes_boundaries
from tsumugu.model.cache import LayerPast, Past
from tsumugu.model.config import ModelConfig
from tsumugu.model.loss import linear_cross_entropy
from tsumugu.model.products import Linear


class Positions(NamedTuple):
    """What every layer must know about where its inputs stand."""

    rotary: tuple[Tensor, Tensor] | None
    scopes: tuple[Scope, ...] = (Scope(),)
    """Of attention; one for every piece of `Decoder.pieces`."""
    past: LayerPast | None = None
    """What the layer knows of earlier tokens."""


class Decoder(nn.Module):
    """Token ids to logits, or to the loss on targets."""

    def __init__(self, config: ModelConfig, vocab_size: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.embedding: nn.Embedding | None = nn.Embedding(vocab_size, config.hidden_size)
        self.position_embedding: nn.Embedding | None = None
        if config.architecture == "gpt2":
            self.position_embedding = nn.Embedding(config.max_position_embeddings, config.hidden_size)
        self.dropout = nn.Dropout(dropout)
        # A ModuleDict keeps a layer's name when other layers are taken out.
        self.layers = nn.ModuleDict(
            {str(index): Block(config, dropout=dropout) for index in range(config.num_hidden_layers)}
        )
        self.norm: nn.Module | None = _norm(config)
        self.head: Head | None = Head(config, vocab_size)
        self._tie()

    def _tie(self) -> None:
        if self.config.tie_word_embeddings and self.embedding is not None and self.head is not None:
            self.head.weight = self.embedding.weight

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> "Decoder":
        super()._apply(fn, recurse)  # type: ignore[no-untyped-call]
        # A parameter that gets memory for the first time (`to_empty`) becomes another in every module.
        self._tie()
        return self

    def forward(
        self,
        x: Tensor,
        targets: Tensor | None = None,
        *,
        positions: Tensor | None = None,
        documents: Documents | None = None,
    ) -> Tensor:
        """The whole model, or the part of it that is here.

        Args:
            x: `int64 [B, T]` token ids with T at most `max_position_embeddings`; in a part without
                embeddings the hidden states `[B, T, D]` of the part before it.
            targets: `int64 [B, T]`, the next tokens; `IGNORED` ones do not count.
            positions: `int64 [B or 1, T]`; 0, 1, 2, ... unless given.
            documents: where documents begin; attention stays inside of them.

        Returns:
            The sum of the losses in nats, `float32 []`, if there are targets; else the logits
            `[B, T, V]`; without a head, the hidden states `[B, T, D]`.
        """
        x = self.hidden(x, positions=positions, documents=documents)
        if self.head is None:
            return x
        out: Tensor = self.head(x, targets)
        return out

    def hidden(
        self,
        x: Tensor,
        *,
        positions: Tensor | None = None,
        documents: Documents | None = None,
        scope: Scope | None = None,
        past: Past | None = None,
    ) -> Tensor:
        """The last hidden states `[B, T, D]`, for those who need few of the logits.

        Args:
            x: as in `forward`.
            positions: as in `forward`.
            documents: as in `forward`.
            scope: which keys the queries see, for those who know better than `documents` can say.
            past: of tokens that were read before, or where to keep these; it knows positions and scope.
        """
        if past is not None:
            positions, scope = past.positions, past.scope
        if positions is None:
            positions = torch.arange(x.shape[1], device=x.device)[None]
        if self.embedding is not None:
            x = self.embedding(x)  # [B, T, D]
            if self.position_embedding is not None:
                x = x + self.position_embedding(positions)
            x = self.dropout(x)
        where = self._positions(positions, documents, x, scope)
        for name, layer in self.layers.items():
            if past is not None:
                where = where._replace(past=past.layer(name))
            x = layer(x, where)
        if self.norm is not None:
            x = self.norm(x)
        return x

    def pieces(self, length: int) -> list[range]:
        """Which places of a sequence the `length` tokens stand at that are here, piece by piece."""
        return [range(length)]

    def _positions(
        self, positions: Tensor, documents: Documents | None, x: Tensor, scope: Scope | None
    ) -> Positions:
        config = self.config
        rotary = None
        if config.architecture != "gpt2":
            rotary = rotary_table(positions, config.head_size, base=config.rotary_base)
        if scope is not None:
            return Positions(rotary, (scope,))
        by_boundaries = takes_boundaries(x.device, x.dtype, config.head_size)
        scopes = [
            causal_scope(places, len(x), documents, by_boundaries=by_boundaries, device=x.device)
            for places in self.pieces(positions.shape[1])
        ]
        return Positions(rotary, tuple(scopes))


class Block(nn.Module):
    """Attention and MLP, each with a norm in front and a residual around."""

    def __init__(self, config: ModelConfig, *, dropout: float) -> None:
        super().__init__()
        self.parallel_residual = config.parallel_residual
        self.attention_norm = _norm(config)
        self.attention = Attention(config)
        self.mlp_norm = _norm(config)
        self.mlp: nn.Module = SwiGLU(config) if config.architecture == "llama" else MLP(config)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, where: Positions) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        attended: Tensor = self.dropout(self.attention(self.attention_norm(x), where))
        if self.parallel_residual:
            return x + (attended + self._mlp(x))
        x = x + attended
        return x + self._mlp(x)

    def _mlp(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.mlp(self.mlp_norm(x)))
        return out


class Attention(nn.Module):
    """Causal attention with H heads, or with those of their groups that are here."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.head_size = config.head_size
        self.group_size = config.group_size
        """Query heads that share one head of keys and values."""
        bias = config.architecture != "llama"
        # Rows: for every key-value head, its query heads, its keys, its values.
        rows = config.key_value_heads * (self.group_size + 2) * self.head_size
        self.qkv = Linear(config.hidden_size, rows, bias=bias)
        self.output = Linear(config.hidden_size, config.hidden_size, bias=bias)
        self.q_norm = nn.RMSNorm(self.head_size, eps=config.norm_eps) if config.qk_norm else None
        self.k_norm = nn.RMSNorm(self.head_size, eps=config.norm_eps) if config.qk_norm else None

    def forward(self, x: Tensor, where: Positions) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        batch, length, _ = x.shape
        qkv = self.qkv(x).view(batch, length, -1, self.group_size + 2, self.head_size)
        q, k, v = qkv.split([self.group_size, 1, 1], dim=3)
        q, k, v = (part.flatten(2, 3).transpose(1, 2) for part in (q, k, v))  # [B, H or G, T, K]
        if self.q_norm is not None and self.k_norm is not None:
            # In the precision of the norms' weights, which is float32 under autocast.
            dtype = self.q_norm.weight.dtype
            q, k = self.q_norm(q.to(dtype)), self.k_norm(k.to(dtype))
        if where.rotary is not None:
            q, k = rotate(q, where.rotary), rotate(k, where.rotary)
        q, k = q.to(v.dtype), k.to(v.dtype)
        if where.past is not None:
            k, v = where.past.extend(k, v)
        out = self.attend(q, k, v, where)  # [B, H, T, K]
        projected: Tensor = self.output(out.transpose(1, 2).flatten(2))
        return projected

    def attend(self, q: Tensor, k: Tensor, v: Tensor, where: Positions) -> Tensor:
        """`[B, H, T, K]`, `[B, G, T, K]`, `[B, G, T, K]` to `[B, H, T, K]`."""
        (scope,) = where.scopes
        return attend(q, k, v, scope)


class MLP(nn.Module):
    """Up, exact GELU, down."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = Linear(config.hidden_size, config.mlp_size)
        self.down = Linear(config.mlp_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        out: Tensor = self.down(F.gelu(self.up(x)))
        return out


class SwiGLU(nn.Module):
    """Up, times the SiLU of a gate, down (Shazeer 2020)."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.gate = Linear(config.hidden_size, config.mlp_size, bias=False)
        self.up = Linear(config.hidden_size, config.mlp_size, bias=False)
        self.down = Linear(config.mlp_size, config.hidden_size, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        out: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return out


class Head(nn.Module):
    """Hidden states to logits, or to the sum of the losses on targets."""

    def __init__(self, config: ModelConfig, vocab_size: int) -> None:
        super().__init__()
        self.weight: Tensor = nn.Parameter(torch.empty(vocab_size, config.hidden_size))
        self.z_loss = 0.0
        """Weight of the squared log of the softmax's denominator (Chowdhery et al. 2022), in training."""

    def forward(self, hidden: Tensor, targets: Tensor | None) -> Tensor:
        """`[B, T, D]` to `[B, T, V]`, or to `float32 []` with `targets` `int64 [B, T]`."""
        if targets is None:
            return F.linear(hidden, self.weight)
        return self.loss(hidden, self.weight, targets)

    def loss(
        self, hidden: Tensor, weight: Tensor, targets: Tensor, *, group: dist.ProcessGroup | None = None
    ) -> Tensor:
        """The loss, with the rows of the matrix that are here; see `linear_cross_entropy`."""
        z_loss = self.z_loss if self.training else 0.0
        return linear_cross_entropy(
            hidden.flatten(0, 1), weight, targets.flatten(), z_loss=z_loss, group=group
        )


def _norm(config: ModelConfig) -> nn.Module:
    kind: Callable[..., nn.Module] = nn.RMSNorm if config.architecture == "llama" else nn.LayerNorm
    return kind(config.hidden_size, eps=config.norm_eps)


def rotary_table(positions: Tensor, size: int, *, base: float) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles `position * base ** (-2 i / size)`, each `float32 [B or 1, 1, T, K/2]`.

    Args:
        positions: `int64 [B or 1, T]`.
        size: K.
    """
    exponents = torch.arange(0, size, 2, dtype=torch.float32, device=positions.device) / size
    # The inverse first, as transformers does: far from 0 another rounding is another angle.
    angles = positions[:, None, :, None].float() * (1.0 / base**exponents)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the pairs `(i, i + K/2)` of `x [B, H, T, K]` by the angles of their positions."""
    cos, sin = rotary
    first, second = x.chunk(2, dim=-1)
    # In float32 even where x is not; then back.
    return torch.cat([first * cos - second * sin, second * cos + first * sin], dim=-1).to(x.dtype)


def count_parameters(model: nn.Module) -> int:
    """Trainable numbers, shared ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
