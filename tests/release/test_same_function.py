"""A released model computes what ours does: with padding, at other positions, with a cache, writing."""

from typing import Any

import pytest
import torch
from torch import Tensor
from transformers import AutoConfig, AutoModelForCausalLM

from decoders import KINDS, VOCABULARY, decoder, some_tokens
from tsumugu.model.cache import Cache
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.release.adapter import hugging_face_config, to_hugging_face

every_kind = pytest.mark.parametrize("config", KINDS.values(), ids=KINDS.keys())
CLOSE = 1e-5


def both(config: ModelConfig) -> tuple[Decoder, Any]:
    """Ours, and the same in transformers."""
    ours = decoder(config)
    found = hugging_face_config(config, vocab_size=VOCABULARY, bos=1, eos=2, pad=3)
    theirs = AutoModelForCausalLM.from_config(AutoConfig.for_model(**found))
    # In memory they call the output embedding of GPT-NeoX by another name than in files.
    weights = {name.replace("embed_out", "lm_head"): value for name, value in to_hugging_face(ours).items()}
    missing, unexpected = theirs.load_state_dict(weights, strict=False)
    assert not unexpected
    assert set(missing) <= {"lm_head.weight"}
    return ours, theirs.eval()


def logits(model: Decoder, tokens: Tensor, **keys: Any) -> Tensor:
    hidden = model.hidden(tokens, **keys)
    assert model.head is not None
    found: Tensor = model.head(hidden, None)
    return found


@every_kind
@torch.no_grad()
def test_rows_that_are_padded_on_either_side(config: ModelConfig) -> None:
    ours, theirs = both(config)
    tokens, length = some_tokens(2, 24), 17
    padded = tokens.clone()
    padded[1, length:] = 3
    mask = torch.ones_like(tokens)
    mask[1, length:] = 0
    right = theirs(padded, attention_mask=mask).logits
    left = theirs(
        padded.roll((24 - length), dims=1)[1:],
        attention_mask=mask.roll(24 - length, dims=1)[1:],
        position_ids=(mask.roll(24 - length, dims=1)[1:].cumsum(1) - 1).clamp(min=0),
    ).logits
    alone = ours(tokens[1:, :length])
    assert (ours(tokens[:1]) - right[:1]).abs().max() < CLOSE
    assert (alone - right[1:, :length]).abs().max() < CLOSE
    assert (alone - left[:, 24 - length :]).abs().max() < CLOSE


@every_kind
@torch.no_grad()
def test_texts_that_begin_at_a_later_position(config: ModelConfig) -> None:
    ours, theirs = both(config)
    tokens = some_tokens(2, 20)
    places = torch.stack([torch.arange(44, 64), torch.arange(5, 25)])
    found = theirs(tokens, position_ids=places).logits
    assert (ours(tokens, positions=places) - found).abs().max() < CLOSE


@every_kind
@torch.no_grad()
def test_token_by_token_with_a_cache_on_both_sides(config: ModelConfig) -> None:
    ours, theirs = both(config)
    tokens = some_tokens(2, 12)
    cache = Cache(config, 2, 12, dtype=torch.float32, device=torch.device("cpu"))
    start = cache.begin(torch.tensor([0, 1]), torch.tensor([8, 8]), 8)
    mine = [logits(ours, tokens[:, :8], past=start)]
    found = theirs(tokens[:, :8], use_cache=True)
    yours = [found.logits]
    for place in range(8, 12):
        step = tokens[:, place : place + 1]
        mine.append(logits(ours, step, past=cache.go_on()))
        found = theirs(step, past_key_values=found.past_key_values, use_cache=True)
        yours.append(found.logits)
    assert (torch.cat(mine, dim=1) - torch.cat(yours, dim=1)).abs().max() < CLOSE
    assert (torch.cat(mine, dim=1) - ours(tokens)).abs().max() < CLOSE


@every_kind
@torch.no_grad()
def test_both_write_the_same_greedy_text(config: ModelConfig) -> None:
    ours, theirs = both(config)
    prompt, count = some_tokens(1, 9), 24
    written = theirs.generate(
        prompt,
        attention_mask=torch.ones_like(prompt),
        do_sample=False,
        min_new_tokens=count,
        max_new_tokens=count,
        suppress_tokens=[1, 2, 3],
    )
    cache = Cache(config, 1, 9 + count, dtype=torch.float32, device=torch.device("cpu"))
    last = logits(ours, prompt, past=cache.begin(torch.tensor([0]), torch.tensor([9]), 9))[:, -1:]
    mine = [prompt]
    for _ in range(count):
        last[..., [1, 2, 3]] = -torch.inf
        mine.append(last.argmax(dim=-1))
        last = logits(ours, mine[-1], past=cache.go_on()) if len(mine) <= count else last
    assert torch.equal(torch.cat(mine, dim=1), written)
