"""Floating-point operations per second of training, as a share of what plain matrix products reach here.

The operations of a step are counted as on a GPU (`tsumugu/training/throughput.py`); the share is the
"MFU" of this CPU. Two peaks stand beside it: a float32 product of 2,048 x 2,048 matrices by MKL, which
is PyTorch's `a @ b`, and by oneDNN. One thread, eager, the real trainer.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from statistics import median

import torch

from harness import Row, alternate, print_table, write_result
from trainees import SHAPES, Shape, train_watched

NAME = "cpu_flops"
STEPS = {"10M": 4, "50M": 2}
_SIZE = 2048


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    rows = []
    for name, steps in STEPS.items():
        shape = SHAPES[name]
        training, peaks = alternate(partial(_training, shape, steps), _peaks, runs=options.runs)
        reached = shape.flops / median(took for run in training.results for took in run) / 1e9
        for library in ("MKL", "oneDNN"):
            peak = median(run[library] for run in peaks.results)
            rows.append(
                Row(
                    f"{name}: training beside {library}'s product",
                    ours=round(reached, 1),
                    peer=round(peak, 1),
                    unit="GFLOP/CPU s",
                    why=f"{reached / peak:.0%} of the product",
                    details={
                        "cpu_seconds_of_steps": [round(took, 3) for run in training.results for took in run],
                        "peaks": [round(run[library], 1) for run in peaks.results],
                    },
                )
            )
    print_table(rows)
    write_result(NAME, rows, packages=["torch"])


def _training(shape: Shape, steps: int) -> list[float]:
    return train_watched(shape, steps + 1).steps(1)["cpu"]


def _peaks() -> dict[str, float]:
    a, b = torch.randn(_SIZE, _SIZE), torch.randn(_SIZE, _SIZE)
    products: dict[str, Callable[[], torch.Tensor]] = {
        "MKL": lambda: a @ b.t(),
        "oneDNN": lambda: torch.ops.mkldnn._linear_pointwise(a, b, None, "none", [], ""),
    }
    found = {}
    for name, product in products.items():
        product()
        began = time.process_time()
        for _ in range(5):
            product()
        found[name] = 5 * 2 * _SIZE**3 / (time.process_time() - began) / 1e9
    return found


if __name__ == "__main__":
    main()
