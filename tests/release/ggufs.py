"""Model directories of every family, and what llama.cpp makes of a GGUF file, in plain Python.

The computations here are llama.cpp's (`src/models/*.cpp`, `src/llama-vocab.cpp`), written again from a
GGUF file alone, so that the tests need no llama.cpp. `test_gguf_llama_cpp.py` asks the real one.
"""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from gguf import GGUFReader
from gguf.quants import dequantize
from safetensors.torch import save_file
from torch import Tensor

from tsumugu.files import write_json
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.model.initialization import initialize
from tsumugu.release.adapter import hugging_face_config, to_hugging_face
from tsumugu.tokenizer.encoder import load_encoder

TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "spiece.model")
TEXTS = (
    "吾輩は猫である。名前はまだ無い。",
    " 先頭と　全角の 空白  二つ ",
    "改行\n\n二つ\tタブ\r\n",
    "絵文字🐈‍⬛と𠮟る、①ﾊﾝｶｸ、ｶﾞ、é、한국어、العربية",
    "</s><s><unk><0x0A><|end|>",
    "古い地図を見せてくれた。" * 5,
    "ーーーーーーーーーーーーーーー。。。。。。。。。",
    "\ufffd\u200b\u0301",
    "x",
)


def write_directory(
    folder: Path,
    config: ModelConfig,
    tokenizer: Path,
    *,
    dtype: torch.dtype = torch.float32,
    rows: int | None = None,
) -> Path:
    """A released directory of a random model, every weight another number."""
    encoder = load_encoder(tokenizer)
    rows = rows or encoder.vocab_size
    model = Decoder(config, rows)
    initialize(model, 3)
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    folder.mkdir(parents=True)
    weights = {name: value.to(dtype) for name, value in to_hugging_face(model).items()}
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    kind = str(dtype).removeprefix("torch.")
    write_json(
        folder / "config.json", hugging_face_config(config, vocab_size=rows, bos=1, eos=2, pad=3, dtype=kind)
    )
    write_json(
        folder / "generation_config.json",
        {"eos_token_id": 2, "do_sample": True, "temperature": 0.7, "top_p": 0.9, "top_k": 0},
    )
    for name in TOKENIZER:
        shutil.copy(tokenizer / name, folder / name)
    return folder


def fields(path: Path) -> dict[str, Any]:
    """The metadata of a file."""
    reader = GGUFReader(path)
    return {name: field.contents() for name, field in reader.fields.items() if not name.startswith("GGUF.")}


def tensors(path: Path) -> dict[str, Tensor]:
    """The tensors of a file in float32, in PyTorch's order of dimensions."""
    return {
        one.name: torch.from_numpy(np.array(dequantize(one.data, one.tensor_type), dtype=np.float32)).reshape(
            [int(size) for size in reversed(one.shape)]
        )
        for one in GGUFReader(path).tensors
    }


def logits(path: Path, ids: list[int]) -> Tensor:
    """Logits `[T, V]` of the model in a file, with exact GELU where llama.cpp approximates it."""
    found, weights = fields(path), tensors(path)
    arch = found["general.architecture"]
    size = {key.removeprefix(f"{arch}."): value for key, value in found.items()}
    heads, groups = size["attention.head_count"], size["attention.head_count_kv"]
    x = weights["token_embd.weight"][ids]  # [T, D]
    if arch == "gpt2":
        x = x + weights["position_embd.weight"][: len(ids)]

    def norm(y: Tensor, name: str) -> Tensor:
        weight = weights[f"{name}.weight"]
        if arch in ("llama", "qwen3"):
            return F.rms_norm(y, weight.shape, weight, size["attention.layer_norm_rms_epsilon"])
        return F.layer_norm(
            y, weight.shape, weight, weights[f"{name}.bias"], size["attention.layer_norm_epsilon"]
        )

    def linear(y: Tensor, name: str) -> Tensor:
        return F.linear(y, weights[f"{name}.weight"], weights.get(f"{name}.bias"))

    for block in range(size["block_count"]):
        at = f"blk.{block}."
        y = norm(x, at + "attn_norm")
        if arch in ("llama", "qwen3"):
            q, k, v = (linear(y, f"{at}attn_{letter}") for letter in "qkv")
        else:
            q, k, v = linear(y, at + "attn_qkv").chunk(3, dim=-1)
        # [T, H or G, K]
        q, k, v = (
            part.reshape(len(ids), count, -1) for part, count in ((q, heads), (k, groups), (v, groups))
        )
        if arch == "qwen3":
            q, k = norm(q, at + "attn_q_norm"), norm(k, at + "attn_k_norm")
        if arch != "gpt2":
            base, neighbours = size["rope.freq_base"], arch == "llama"
            q, k = (_turned(part, base, neighbours=neighbours) for part in (q, k))
        k, v = (part.repeat_interleave(heads // groups, dim=1) for part in (k, v))
        attended = F.scaled_dot_product_attention(
            q.transpose(0, 1), k.transpose(0, 1), v.transpose(0, 1), is_causal=True
        )
        attention = linear(attended.transpose(0, 1).flatten(1), at + "attn_output")
        parallel = size.get("use_parallel_residual", False)
        y = norm(x if parallel else x + attention, at + "ffn_norm")
        if arch in ("llama", "qwen3"):
            y = F.silu(linear(y, at + "ffn_gate")) * linear(y, at + "ffn_up")
        else:
            y = F.gelu(linear(y, at + "ffn_up"))
        x = x + attention + linear(y, at + "ffn_down")
    x = norm(x, "output_norm")
    output = weights.get("output.weight")
    if output is None:
        assert arch != "gptneox", "llama.cpp wants one"
        output = weights["token_embd.weight"]
    return x @ output.T


def _turned(x: Tensor, base: float, *, neighbours: bool) -> Tensor:
    """Rotary positions on `[T, H, K]`: LLAMA_ROPE_TYPE_NORM (neighbours) or _NEOX (halves)."""
    half = x.shape[-1] // 2
    angles = torch.arange(len(x))[:, None] * base ** (-torch.arange(half) / half)
    cos, sin = angles.cos()[:, None], angles.sin()[:, None]  # [T, 1, K / 2]
    a, b = (x[..., 0::2], x[..., 1::2]) if neighbours else (x[..., :half], x[..., half:])
    turned = a * cos - b * sin, b * cos + a * sin
    return torch.stack(turned, dim=-1).flatten(-2) if neighbours else torch.cat(turned, dim=-1)


class Spelling:
    """llama.cpp's tokenizer `plamo2` on the vocabulary of a file."""

    def __init__(self, path: Path) -> None:
        found = fields(path)
        assert found["tokenizer.ggml.model"] == "plamo2"
        self.tokens: list[str] = found["tokenizer.ggml.tokens"]
        kinds = found["tokenizer.ggml.token_type"]
        self.bytes = {int(self.tokens[id_][3:5], 16): id_ for id_, kind in enumerate(kinds) if kind == 6}
        self.scores: dict[str, int] = {}
        for id_, (token, score) in enumerate(zip(self.tokens, found["tokenizer.ggml.scores"], strict=True)):
            if kinds[id_] != 6 and round(score * 1e4) > -20_000_000:
                self.scores[token] = round(score * 1e4)
        self.ids = {token: id_ for id_, token in enumerate(self.tokens)}
        self.longest = max(map(len, self.scores))

    def encode(self, text: str) -> list[int]:
        """Ids; of equal sums the one whose first piece is longer."""
        text = text.removeprefix("\ufeff")
        best: list[tuple[int, str]] = [(0, "")] * (len(text) + 1)
        for at in range(len(text) - 1, -1, -1):
            best[at] = (best[at + 1][0] - 10_000_000, "")
            for length in range(min(self.longest, len(text) - at), 0, -1):
                piece = text[at : at + length]
                score = self.scores.get(piece)
                if score is not None and best[at + length][0] + score > best[at][0]:
                    best[at] = (best[at + length][0] + score, piece)
        ids, at = [], 0
        while at < len(text):
            piece = best[at][1]
            ids += [self.ids[piece]] if piece else [self.bytes[one] for one in text[at].encode()]
            at += len(piece) or 1
        return ids

    def price(self, ids: list[int]) -> int:
        """The sum of the scores of pieces that text can become."""
        return sum(self.scores.get(self.tokens[id_], 0) for id_ in ids)
