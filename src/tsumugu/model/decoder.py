"""The decoder: GPT-NeoX style, in plain single-device PyTorch.

Notable features:
- rotary positions on all dimensions of a head (Su et al. 2021; `rotary_pct` 1.0 as in LINE's 3.6B)
- sequential residual: attention, then MLP, each after its own LayerNorm (pre-norm)
- exact GELU, biases everywhere, tied input and output embeddings
- the initialisation that LINE describes: normal with std sqrt(2 / (5 * hidden_size)), and
  projections back into the residual stream divided by sqrt(2 * num_hidden_layers)

Shapes in comments: B batch, T sequence, D hidden, H heads, K = D / H, V vocabulary.
"""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tsumugu.model.config import ModelConfig


class Decoder(nn.Module):
    """Token ids to logits."""

    def __init__(self, config: ModelConfig, vocab_size: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.config = config
        self.vocab_size = vocab_size
        self.embedding = nn.Embedding(vocab_size, config.hidden_size)
        self.dropout = nn.Dropout(dropout)
        # A ModuleDict keeps a layer's name when other layers are taken out.
        self.layers = nn.ModuleDict(
            {str(index): Block(config, dropout=dropout) for index in range(config.num_hidden_layers)}
        )
        self.norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)

    def forward(self, tokens: Tensor) -> Tensor:
        """Logits of the next token.

        Args:
            tokens: `int64 [B, T]` with T at most `max_position_embeddings`.

        Returns:
            `float [B, T, V]`.
        """
        return F.linear(self.hidden(tokens), self.embedding.weight)

    def hidden(self, tokens: Tensor) -> Tensor:
        """The last hidden states `[B, T, D]`, for those who need few of the logits."""
        rotary = rotary_table(
            tokens.shape[1],
            self.config.hidden_size // self.config.num_attention_heads,
            base=self.config.rotary_base,
            device=tokens.device,
        )
        x: Tensor = self.dropout(self.embedding(tokens))  # [B, T, D]
        for layer in self.layers.values():
            x = layer(x, rotary)
        out: Tensor = self.norm(x)
        return out

    @torch.no_grad()
    def initialize(self, seed: int) -> None:
        """Set all weights from `seed`, the same on any device."""
        generator = torch.Generator().manual_seed(seed)
        std = math.sqrt(2 / (5 * self.config.hidden_size))
        residual_std = std / math.sqrt(2 * self.config.num_hidden_layers)
        for name, parameter in self.named_parameters():
            if parameter.dim() == 2:
                into_residual = name.endswith(("attention.output.weight", "mlp.down.weight"))
                drawn = torch.randn(parameter.shape, generator=generator)
                parameter.copy_(drawn * (residual_std if into_residual else std))
            elif name.endswith("norm.weight"):
                parameter.fill_(1.0)
            else:
                parameter.zero_()


class Block(nn.Module):
    """Attention, then MLP, each with a norm in front and a residual around."""

    def __init__(self, config: ModelConfig, *, dropout: float) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.attention = Attention(config)
        self.mlp_norm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        x = x + self.dropout(self.attention(self.attention_norm(x), rotary))
        out: Tensor = x + self.dropout(self.mlp(self.mlp_norm(x)))
        return out


class Attention(nn.Module):
    """Causal multi-head attention with rotary positions."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.heads = config.num_attention_heads
        self.qkv = nn.Linear(config.hidden_size, 3 * config.hidden_size)
        self.output = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(self, x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        batch, length, width = x.shape
        qkv = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads)
        q, k, v = qkv.permute(2, 0, 3, 1, 4)  # each [B, H, T, K]
        q, k = rotate(q, rotary), rotate(k, rotary)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # [B, H, T, K]
        projected: Tensor = self.output(out.transpose(1, 2).reshape(batch, length, width))
        return projected


class MLP(nn.Module):
    """Up, exact GELU, down."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.up = nn.Linear(config.hidden_size, config.mlp_size)
        self.down = nn.Linear(config.mlp_size, config.hidden_size)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, T, D]` to `[B, T, D]`."""
        out: Tensor = self.down(F.gelu(self.up(x)))
        return out


def rotary_table(length: int, size: int, *, base: float, device: torch.device) -> tuple[Tensor, Tensor]:
    """Cosines and sines of the angles `position * base ** (-2 i / size)`, each `float32 [T, K]`."""
    frequencies = 1.0 / base ** (torch.arange(0, size, 2, dtype=torch.float32, device=device) / size)
    angles = torch.outer(torch.arange(length, dtype=torch.float32, device=device), frequencies)
    angles = torch.cat([angles, angles], dim=-1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, rotary: tuple[Tensor, Tensor]) -> Tensor:
    """Turn the pairs `(i, i + K/2)` of `x [B, H, T, K]` by the angles of their positions."""
    cos, sin = rotary
    first, second = x.chunk(2, dim=-1)
    turned = torch.cat([-second, first], dim=-1)
    return x * cos.to(x.dtype) + turned * sin.to(x.dtype)


def count_parameters(model: nn.Module) -> int:
    """Trainable numbers, shared ones counted once."""
    return sum(parameter.numel() for parameter in model.parameters())
