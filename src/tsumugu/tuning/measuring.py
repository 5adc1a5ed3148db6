"""What a model makes of held-out conversations: the loss of the answers, and answers of its own."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from tsumugu.tuning.packing import IGNORED, Row, collate

_AT_ONCE = 8
"""Rows in one forward pass."""


@dataclass(frozen=True)
class AnswerLoss:
    """Of the learned tokens of all conversations together."""

    nats_per_token: float
    tokens: int


@torch.no_grad()
def answer_loss(model: Any, rows: Sequence[Row]) -> AnswerLoss:
    """The mean over the tokens that are learned of minus the log of the probability that they were given."""
    total, tokens = 0.0, 0
    device = next(model.parameters()).device
    model.eval()
    for start in range(0, len(rows), _AT_ONCE):
        part = [
            {"input_ids": row.input_ids, "labels": row.labels, "lengths": row.lengths}
            for row in rows[start : start + _AT_ONCE]
        ]
        batch = {name: each.to(device) for name, each in collate(part, pad_id=0).items()}
        labels = batch.pop("labels")[:, 1:]
        logits = model(**batch, use_cache=False).logits[:, :-1].float()
        total += float(
            torch.nn.functional.cross_entropy(
                logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="sum"
            )
        )
        tokens += int((labels != IGNORED).sum())
    return AnswerLoss(total / max(tokens, 1), tokens)


@torch.no_grad()
def answers(
    model: Any, tokenizer: Any, prompts: Sequence[Sequence[int]], *, stops: Sequence[int], longest: int
) -> list[str]:
    """The likeliest answer to each prompt, token by token, up to a stop or `longest` tokens."""
    found = []
    model.eval()
    positions = model.config.max_position_embeddings
    device = next(model.parameters()).device
    for prompt in prompts:
        ids = torch.tensor([list(prompt)], device=device)
        output = model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            # The settings of the directory are for sampling.
            temperature=None,
            top_p=None,
            top_k=None,
            repetition_penalty=1.0,
            max_new_tokens=min(longest, positions - len(prompt)),
            eos_token_id=list(stops),
        )[0, len(prompt) :]
        found.append(str(tokenizer.decode(output, skip_special_tokens=True)).strip())
    return found
