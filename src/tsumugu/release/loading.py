"""A Hugging Face directory, through transformers' own doors."""

import os
from pathlib import Path
from typing import Any


def load_model(folder: Path) -> Any:
    """The model in float32, for training and for measuring."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa")


def load_tokenizer(folder: Path) -> Any:
    """The tokenizer."""
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(folder)
