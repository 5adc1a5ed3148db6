"""What the trainer adds around forward and backward pass and optimizer.

The trainer's steps (loader, packing of rows, spike guard, learning rate, bar, `metrics.jsonl`,
TensorBoard) beside a bare loop over the same functions, whose batches lie in memory. Validation and
checkpoints are left out; `checkpoint_stall` measures the latter.
"""

import argparse
import tempfile
from functools import partial
from pathlib import Path
from statistics import median, quantiles

from harness import Row, Timing, alternate, print_table, write_result
from trainees import SHAPES, Shape, Watched, batches, build, pretrain_config, train_watched
from tsumugu.training.optimizer import build_optimizer
from tsumugu.training.step import compute_gradients, micro_batches
from tsumugu.training.tracking import open_trackers

NAME = "training_overhead"
STEPS = {"demo": 30, "10M": 6}
WARM_UP = 2
_GOAL = 0.97


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
        ours, bare = alternate(
            partial(_trainer, shape, steps), partial(_bare, shape, steps), runs=options.runs
        )
        rows.append(
            Row(
                f"{name}: a step of the trainer beside a bare loop's",
                ours=round(1e3 * median(_steps(ours)), 3),
                peer=round(1e3 * median(_steps(bare)), 3),
                unit="CPU ms",
                goal=_GOAL,
                better="lower",
                equal_results=ours.result["losses"] == bare.result["losses"],
                why=f"the trainer adds {median(_steps(ours)) / median(_steps(bare)) - 1:.1%}",
                details={
                    "quartiles_ms": [
                        [round(1e3 * edge, 2) for edge in quantiles(_steps(one))] for one in (ours, bare)
                    ],
                    "medians_of_runs_ms": [
                        [round(1e3 * median(run["cpu"]), 2) for run in one.results] for one in (ours, bare)
                    ],
                    "shape": vars(shape),
                },
            )
        )
    print_table(rows)
    write_result(NAME, rows, packages=["torch", "tensorboard"])


def _steps(timing: Timing) -> list[float]:
    return [took for run in timing.results for took in run["cpu"]]


def _trainer(shape: Shape, steps: int) -> dict[str, list[float]]:
    with tempfile.TemporaryDirectory() as folder:
        sinks = open_trackers(["tensorboard"], Path(folder), "overhead", 0)
        return train_watched(shape, WARM_UP + steps, sinks=sinks).steps(WARM_UP)


def _bare(shape: Shape, steps: int) -> dict[str, list[float]]:
    config = pretrain_config(shape, WARM_UP + steps)
    model = build(shape, config)
    model.train()
    optimizer = build_optimizer(model.named_parameters(), config.optimizer, model=shape.model)
    watched = Watched()
    for batch in batches(shape, WARM_UP + steps):
        result = compute_gradients(model, micro_batches(batch, shape.batch, model), max_grad_norm=1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        watched.step(result.loss)
    return watched.steps(WARM_UP)


if __name__ == "__main__":
    main()
