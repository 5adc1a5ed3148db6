"""MFU of the published shapes in bfloat16 on one GPU, with each way of checkpointing, eager and compiled.

Needs a GPU, and says so where there is none. Steps are forward, backward and optimizer of the real model
on rows of 2,048 tokens; with document boundaries, attention is PyTorch's `varlen_attn`.
"""

import argparse
import gc
import sys
import time
from statistics import median
from typing import Any

import numpy as np
import torch

from harness import Row, print_table, write_result
from trainees import SHAPES, pretrain_config
from tsumugu.model.config import ModelConfig
from tsumugu.model.counts import flops_per_token
from tsumugu.tokens.loader import Batch
from tsumugu.training.blocks import prepare_blocks
from tsumugu.training.layout import Layout
from tsumugu.training.optimizer import build_optimizer
from tsumugu.training.parallelize import Settings, build_model
from tsumugu.training.step import compute_gradients, micro_batches
from tsumugu.training.throughput import memory_in_use, peak_flops

NAME = "gpu_mfu"
PRESETS = ("japanese-large-lm-1.7b", "japanese-large-lm-3.6b")
MODES = ("none", "selective", "full")
VOCABULARY, LENGTH = 51_200, 2048
_GOAL = 0.45
_STEPS = 8


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--batch", type=int, default=4, help="sequences in a step")
    options = parser.parse_args()
    if not torch.cuda.is_available():
        sys.exit("error: gpu_mfu needs a GPU, and PyTorch sees none here; nothing was measured.")
    peak = peak_flops(torch.cuda.get_device_name())
    if peak is None:
        sys.exit(f"error: the peak of {torch.cuda.get_device_name()} is not in training/throughput.py.")
    rows = []
    for preset in PRESETS:
        for mode in MODES:
            for compiled in (False, True):
                for documents in (False, True):
                    rows.append(_row(preset, mode, compiled, documents, options.batch, peak))
    print_table(rows)
    write_result(NAME, rows, packages=["torch"])


def _row(preset: str, mode: str, compiled: bool, documents: bool, batch: int, peak: float) -> Row:
    name = f"{preset}, checkpointing {mode}, {'compiled' if compiled else 'eager'}"
    name += ", documents" if documents else ""
    model = ModelConfig.model_validate({"preset": preset})
    torch.cuda.reset_peak_memory_stats()
    try:
        took = _steps(model, mode, compiled, documents, batch)
    except torch.cuda.OutOfMemoryError:
        return Row(name, ours=0.0, unit="MFU", why="out of memory")
    finally:
        gc.collect()
        torch.compiler.reset()
        torch.cuda.empty_cache()
    tokens = batch * LENGTH / median(took)
    return Row(
        name,
        ours=round(tokens * flops_per_token(model, VOCABULARY, LENGTH) / peak, 4),
        unit="MFU",
        # What is computed again does not count as useful.
        goal=_GOAL if mode != "full" else None,
        why=f"{tokens:,.0f} tokens/s, {memory_in_use(torch.device('cuda')) / 1e9:.1f} GB",
        details={"seconds": took, "device": torch.cuda.get_device_name()},
    )


def _steps(model: ModelConfig, mode: str, compiled: bool, documents: bool, rows: int) -> list[float]:
    more: dict[str, Any] = {"activation_checkpointing": {"mode": mode}, "compile": compiled}
    config = pretrain_config(SHAPES["demo"], 1, precision="bfloat16", **more)
    device = torch.device("cuda")
    parallel = build_model(
        model,
        VOCABULARY,
        layout=Layout(),
        mesh=None,
        device=device,
        settings=Settings(
            seed=0, dtype=torch.bfloat16, prepare_blocks=lambda part: prepare_blocks(part, config)
        ),
    )
    parallel.train()
    optimizer = build_optimizer(parallel.named_parameters(), config.optimizer, model=model)
    tokens = np.random.default_rng(0).integers(0, VOCABULARY, (rows, LENGTH + 1))
    boundaries = np.arange(0, rows * LENGTH + 1, LENGTH // 4, dtype=np.int32) if documents else None
    batch = Batch(tokens, cu_seqlens=boundaries)
    took = []
    for _ in range(3 + _STEPS):
        torch.cuda.synchronize()
        began = time.perf_counter()
        compute_gradients(parallel, micro_batches(batch, rows, parallel), max_grad_norm=1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        took.append(time.perf_counter() - began)
    return took[3:]


if __name__ == "__main__":
    main()
