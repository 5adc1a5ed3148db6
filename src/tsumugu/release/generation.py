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

    Raises:
        TsumuguError: `folder` is not a model directory.
    """
    if not (folder / "config.json").is_file():
        raise TsumuguError(
            f"{folder} is not a model directory: it has no config.json. A run's model lies in RUN/release."
        )
    model, tokenizer = load_released(folder)
    texts = []
    for prompt in prompts:
        torch.manual_seed(seed)
        ids = tokenizer(prompt, add_special_tokens=False)["input_ids"]
        # A document begins with <s>, or after another's </s>; so does what the model is asked to write.
        start = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
        inputs = torch.tensor([[start, *ids]])
        options = {} if max_new_tokens is None else {"max_new_tokens": max_new_tokens}
        output = model.generate(inputs, attention_mask=torch.ones_like(inputs), **options)[0]
        texts.append(tokenizer.decode(output[inputs.shape[1] :], skip_special_tokens=True))
    return texts
