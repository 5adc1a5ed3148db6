"""How long the training loop stands still for a checkpoint of a model of 100 million parameters.

Ours copies weights and moments and writes them behind the training's back. The peers write them while
the loop waits: PyTorch's DCP into the same files, and `torch.save` into one. Wall seconds; the time until
our files are on the disk, and what a step costs meanwhile, stand beside them.
"""

import argparse
import shutil
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageWriter
from torch.distributed.checkpoint.state_dict_saver import save as save_state

from harness import Row, print_table, write_result
from trainees import SHAPES, Shape, batches, build, pretrain_config
from tsumugu.training.checkpoint import Checkpoints, Progress, _tensors
from tsumugu.training.optimizer import build_optimizer
from tsumugu.training.step import compute_gradients, micro_batches

NAME = "checkpoint_stall"
_GOAL = 5.0


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--shape", default="100M", choices=SHAPES)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        found, size = _measure(SHAPES[options.shape], Path(folder), options.runs)
    ours = median(found["stall"])
    why = (
        f"{size / 1e9:.2f} GB; ours are on the disk after {median(found['written']):.1f} s, and a step takes "
        f"{median(found['step while writing']):.2f} s meanwhile, {median(found['step']):.2f} s otherwise"
    )
    rows = [
        Row(
            f"standing still, against {peer}",
            ours=round(ours, 3),
            peer=round(median(found[peer]), 3),
            unit="s",
            goal=_GOAL,
            better="lower",
            why=why,
            details={key: [round(took, 3) for took in values] for key, values in found.items()},
        )
        for peer in ("DCP", "torch.save")
    ]
    print_table(rows)
    write_result(NAME, rows, packages=["torch"])


def _measure(shape: Shape, folder: Path, runs: int) -> tuple[dict[str, list[float]], int]:
    config = pretrain_config(shape, 1)
    model = build(shape, config)
    model.train()
    optimizer = build_optimizer(model.named_parameters(), config.optimizer, model=shape.model)
    checkpoints = Checkpoints(folder / "ours", keep=1)
    (batch,) = batches(shape, 1)
    found: dict[str, list[float]] = {
        key: [] for key in ("stall", "written", "DCP", "torch.save", "step", "step while writing")
    }

    def step() -> float:
        began = time.perf_counter()
        compute_gradients(model, micro_batches(batch, shape.batch, model), max_grad_norm=1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return time.perf_counter() - began

    step()
    tensors = _tensors(model, optimizer, trained=True)
    # The first save of each is a warm-up.
    for run in range(runs + 1):
        seen: dict[str, list[float]] = {key: [] for key in found}
        seen["step"] += [step() for _ in range(3)]
        began = time.perf_counter()
        checkpoints.save(model, optimizer, Progress(step=run + 1, updates=run + 1))
        seen["stall"].append(time.perf_counter() - began)
        seen["step while writing"] += [step() for _ in range(3)]
        checkpoints.wait()
        seen["written"].append(time.perf_counter() - began)
        seen["DCP"].append(_timed(_save_dcp, tensors, folder / "dcp"))
        seen["torch.save"].append(_timed(torch.save, tensors, folder / "all.pt"))
        shutil.rmtree(folder / "dcp")
        if run:
            for key, values in seen.items():
                found[key] += values
    return found, sum(tensor.nbytes for tensor in tensors.values())


def _save_dcp(tensors: dict[str, Any], folder: Path) -> None:
    save_state(
        tensors, storage_writer=HuggingFaceStorageWriter(str(folder), save_distributed=True), no_dist=True
    )


def _timed(write: Any, tensors: dict[str, Any], path: Path) -> float:
    began = time.perf_counter()
    write(tensors, path)
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
