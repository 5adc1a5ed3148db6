"""Models and questions for the benchmarks of evaluation.

A random model of transformers (GPT-NeoX, the family of japanese-large-lm-3.6b) with a SentencePiece
tokenizer that is trained for it: what a forward pass costs does not depend on what the weights are.
"""

import functools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from harness import data_folder
from tsumugu.tokenizer.config import TokenizerConfig
from tsumugu.tokenizer.existing import write_settings
from tsumugu.tokenizer.export import write_sentencepiece
from tsumugu.tokenizer.presets import PRESETS
from tsumugu.tokenizer.sampling import Document
from tsumugu.tokenizer.training import train_sentencepiece

VOCABULARY = 32_000
LAYERS, HIDDEN, POSITIONS = 8, 512, 2048
_TRAINING_CHARACTERS = 1_500_000
TOLERANCE = 1e-4
"""Nats, between the sums of log-probabilities of both sides."""


def read_texts(name: str) -> Iterator[str]:
    """The documents of a file of TSUMUGU_DATA/corpus."""
    with pa.CompressedInputStream(pa.OSFile(str(data_folder() / "corpus" / name)), "zstd") as stream:
        for line in stream.read().split(b"\n"):
            if line:
                yield json.loads(line)["text"]


def write_examinee(folder: Path) -> int:
    """A Hugging Face directory; returns the number of parameters."""
    import torch
    from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

    sample, characters = [], 0
    for text in read_texts("kyoto-wikipedia.jsonl.zst"):
        if characters < _TRAINING_CHARACTERS:
            sample.append(Document("text", text))
            characters += len(text)
    print(f"training a tokenizer of {VOCABULARY} pieces on {characters} characters ...", flush=True)
    config = TokenizerConfig(vocab_size=VOCABULARY, character_coverage=1.0)
    model, _ = train_sentencepiece(sample, config)
    write_sentencepiece(folder, model)
    write_settings(folder, PRESETS[config.preset].special_tokens, model_max_length=POSITIONS)
    torch.manual_seed(0)
    network = GPTNeoXForCausalLM(
        GPTNeoXConfig(
            vocab_size=VOCABULARY,
            hidden_size=HIDDEN,
            num_hidden_layers=LAYERS,
            num_attention_heads=8,
            intermediate_size=4 * HIDDEN,
            max_position_embeddings=POSITIONS,
            rope_parameters={
                "rope_type": "default",
                "rope_theta": 10000.0,
                "partial_rotary_factor": 1.0,
            },
            use_parallel_residual=False,
            tie_word_embeddings=True,
            bos_token_id=1,
            eos_token_id=2,
            initializer_range=0.05,
        )
    )
    network.save_pretrained(folder)
    return int(network.num_parameters())


@functools.cache
def peer(folder: Path, batch_size: int) -> Any:
    """The harness's own model; loaded once in a process."""
    from lm_eval.models.huggingface import HFLM

    return HFLM(str(folder), device="cpu", dtype="float32", batch_size=batch_size)


@functools.cache
def ours(folder: Path, batch_size: int, native: bool) -> Any:
    """Our adapter; loaded once in a process."""
    from tsumugu.evaluation.answering import TsumuguLM
    from tsumugu.evaluation.subject import open_subject

    return TsumuguLM(open_subject(str(folder), native=native), batch_size=batch_size, quiet=True)


@functools.cache
def requests(task: str, limit: int, shots: int | None = None) -> list[Any]:
    """What the harness asks for the first `limit` questions of a task."""
    from tsumugu.evaluation.tasks.groups import TaskChoice
    from tsumugu.evaluation.tasks.task_loading import open_tasks

    ((opened,), _) = open_tasks([TaskChoice(task, shots)], data_folder())
    opened.dynamic_length = False
    opened.set_fewshot_seed(seed=1234)
    opened.build_all_requests(limit=limit, rank=0, world_size=1)
    return [SimpleNamespace(args=one.args, task_name=task) for one in opened.instances]


def best_batch_size(time_of: Any, sizes: tuple[int, ...]) -> int:
    """The batch size that takes the least time."""
    found = {size: time_of(size) for size in sizes}
    print(
        "peer: " + ", ".join(f"batch {size}: {seconds:.1f} s" for size, seconds in found.items()), flush=True
    )
    return min(found, key=lambda size: found[size])


if __name__ == "__main__":
    sys.exit("this is a module of the benchmarks; run benchmarks/evaluation_choice.py")
