"""Text from a model directory, through transformers, with the directory's generation settings."""

from collections.abc import Sequence
from pathlib import Path

import torch

from tsumugu.errors import TsumuguError
from tsumugu.release.stage import load_released


@torch.no_grad()
def generate(
    folder: Path, prompts: Sequence[str], *, seed: int, max_new_tokens: int | None = None
) -> list[str]:
    """The continuation of each prompt (without the prompt); the same seed gives the same text.

    It ends at the model's last position at the latest.

    Raises:
        TsumuguError: `folder` is not a model directory, or a prompt leaves no position free.
    """
    if not (folder / "config.json").is_file():
        raise TsumuguError(
            f"{folder} is not a model directory: it has no config.json. A run's model lies in RUN/release."
        )
    model, tokenizer = load_released(folder)
    wanted = max_new_tokens or model.generation_config.max_new_tokens
    positions = model.config.max_position_embeddings
    texts = []
    for prompt in prompts:
        torch.manual_seed(seed)
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        # A document begins with <s>, or after another's </s>; so does what the model is asked to write.
        start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        inputs = torch.tensor([[start, *ids]])
        room = positions - inputs.shape[1]
        if room < 1:
            raise TsumuguError(
                f"the prompt {prompt[:20]!r}... has {len(ids):,} tokens, "
                f"and the model only {positions:,} positions"
            )
        options = {} if wanted is None else {"max_new_tokens": min(wanted, room)}
        output = model.generate(inputs, attention_mask=torch.ones_like(inputs), **options)[0]
        texts.append(tokenizer.decode(output[inputs.shape[1] :], skip_special_tokens=True))
    return texts
