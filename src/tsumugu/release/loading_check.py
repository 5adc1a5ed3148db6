"""A release through transformers' doors: does it load, does it spell as it should, does it write?"""

import os
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch

from tsumugu.errors import TsumuguError
from tsumugu.model.decoder import Decoder
from tsumugu.model.products import use_pytorch_products
from tsumugu.release.adapter import TheirWeights, shape_of_directory
from tsumugu.release.weight_files import read_weights
from tsumugu.tokenizer.existing import open_existing
from tsumugu.tokenizer.export import SPIECE

_NEW_TOKENS = 8
_SAMPLE = 256
"""Tokens whose logits are looked at."""
_LARGEST_DIFFERENCE = 1e-5
_HOSTILE = ("", " ", "　", "a  b", "</s><s>", "<0x0A>", "𠮟る👨‍👩‍👧", "①ﾊﾝｶｸ", "１２３", "\n\t\n", "▁あ")


def check_loading(folder: Path) -> Iterator[str]:
    """What a user would see first, a line each.

    Raises:
        TsumuguError: something is not as it should be.
    """
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig
    from transformers.utils import logging

    logging.disable_progress_bar()
    try:
        model, loading = AutoModelForCausalLM.from_pretrained(
            folder,
            dtype=torch.float32,
            attn_implementation="sdpa",
            use_safetensors=True,
            output_loading_info=True,
        )
        tokenizer = AutoTokenizer.from_pretrained(folder)
    except Exception as error:
        # Whatever a library finds wrong with files that it did not write.
        raise TsumuguError(f"transformers cannot load it: {' '.join(str(error).split())[:300]}") from error
    if problems := {key: sorted(map(str, value)) for key, value in loading.items() if value}:
        raise TsumuguError(f"transformers loads it with complaints: {problems}")
    yield f"{type(model).__name__}, {model.num_parameters():,} parameters; {type(tokenizer).__name__}"
    yield from _tokenizer(folder, model, tokenizer)
    yield from _computes(folder, model.eval(), tokenizer)
    try:
        GenerationConfig.from_pretrained(folder).validate(strict=True)
    except Exception as error:
        raise TsumuguError(f"generation_config.json: {' '.join(str(error).split())[:300]}") from error
    yield _writes(model, tokenizer)


def _tokenizer(folder: Path, model: Any, tokenizer: Any) -> Iterator[str]:
    largest = max(tokenizer.get_vocab().values())
    if largest >= model.config.vocab_size:
        raise TsumuguError(
            f"the tokenizer has ids up to {largest}, and the model {model.config.vocab_size} tokens"
        )
    for role in ("bos", "eos", "pad"):
        theirs, ours = getattr(model.config, f"{role}_token_id"), getattr(tokenizer, f"{role}_token_id")
        if theirs is not None and ours is not None and theirs != ours:
            raise TsumuguError(f"{role}_token_id is {theirs} in config.json and {ours} in the tokenizer")
    if not (folder / SPIECE).is_file():
        yield "the tokenizer fits the model"
        return
    encoder = open_existing(folder / SPIECE)
    texts = [*files("tsumugu.tokenizer").joinpath("sample_ja.txt").read_text("utf-8").split("\n"), *_HOSTILE]
    for text in texts:
        found = tokenizer(text, add_special_tokens=False, split_special_tokens=True, verbose=False)
        if found["input_ids"] != encoder.encode(text):
            raise TsumuguError(f"tokenizer.json and {SPIECE} spell {text[:30]!r} with different ids")
    yield f"the tokenizer fits the model, and spells {len(texts)} texts as {SPIECE} does"


@torch.no_grad()
def _computes(folder: Path, model: Any, tokenizer: Any) -> Iterator[str]:
    """Against our own decoder, where it knows the family."""
    sample = files("tsumugu.tokenizer").joinpath("sample_ja.txt").read_text("utf-8")
    limit = min(getattr(model.config, "max_position_embeddings", _SAMPLE), _SAMPLE)
    ids = torch.tensor([tokenizer(sample, add_special_tokens=False, verbose=False)["input_ids"][:limit]])
    theirs = model(ids).logits
    if not theirs.isfinite().all():
        raise TsumuguError("its logits are not finite")
    try:
        config = shape_of_directory(folder)
    except TsumuguError:
        yield "its logits are finite"
        return
    weights = TheirWeights(read_weights(folder), config)
    ours = Decoder(config, weights.vocab_size).eval()
    weights.fill(ours)
    use_pytorch_products(ours)
    scale = max(1.0, float(theirs.abs().max()) / 10)
    difference = float((ours(ids) - theirs).abs().max())
    if not difference < _LARGEST_DIFFERENCE * scale:
        raise TsumuguError(f"its logits differ from those of Tsumugu's decoder by {difference:.1e}")
    yield f"its logits are those of Tsumugu's decoder (largest difference {difference:.1e})"


@torch.no_grad()
def _writes(model: Any, tokenizer: Any) -> str:
    torch.manual_seed(0)
    start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    ids = torch.tensor([[start]])
    try:
        found = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=_NEW_TOKENS)[0]
    except Exception as error:
        raise TsumuguError(f"it cannot write: {' '.join(str(error).split())[:300]}") from error
    text = tokenizer.decode(found[1:], skip_special_tokens=True)
    return f"it writes, with its own settings: {text[:40]!r}"
