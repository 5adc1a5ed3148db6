"""What the layers keep for the backward pass, and what a step costs, with each way of checkpointing.

Bytes come from the profiler's memory events, of the layers alone: gradients have their memory before,
and the loss is left out. `kept` is what is there between forward and backward pass, `peak` the most
there is at any time, with what is being computed again. (Hooks on saved tensors would miss what
selective checkpointing keeps, and resident memory says nothing about tensors.) In eager modes
PyTorch's `MemTracker` counts the same; its figure is in the details.

Theory, in numbers per token and layer of GPT-NeoX with hidden size D: nothing checkpointed, 19 D (the
inputs of two norms, of four products and of GELU, queries, keys, values, attention's result in two
orders); selective, 6 D (the layer's input, queries, keys and values, attention's result, its
projection); full, D.

A step is forward, backward and optimizer of the real model with its loss, dropout included. Modes take
turns, and the losses of all eager modes have to be the same to the bit.
"""

import argparse
import time
from statistics import median
from typing import Any

import torch
from torch import Tensor
from torch.distributed._tools.mem_tracker import MemTracker
from torch.profiler import ProfilerActivity, profile, record_function

from harness import Row, print_table, write_result
from trainees import Shape, batches, build, pretrain_config
from tsumugu.model.decoder import Decoder
from tsumugu.training.optimizer import build_optimizer
from tsumugu.training.parallelize import ParallelModel
from tsumugu.training.step import compute_gradients, micro_batches

NAME = "activation_memory"
SHAPE = Shape(layers=12, hidden=512, heads=8, vocabulary=4096, batch=1, length=512)
MODES: dict[str, dict[str, Any]] = {
    "none": {},
    "selective": {"activation_checkpointing": {"mode": "selective"}},
    "full": {"activation_checkpointing": {"mode": "full"}},
    "full, every 2nd layer": {"activation_checkpointing": {"mode": "full", "every": 2}},
    "compiled": {"compile": True},
    "compiled, budget 0.5": {"compile": True, "activation_checkpointing": {"memory_budget": 0.5}},
    "compiled, budget 0.2": {"compile": True, "activation_checkpointing": {"memory_budget": 0.2}},
    "compiled, full": {"compile": True, "activation_checkpointing": {"mode": "full"}},
}
_STEPS = 3
"""Of a run; the first is a warm-up."""
GOALS = {"selective": 0.45, "full": 0.15}
THEORY = {"none": 19, "selective": 6, "full": 1, "full, every 2nd layer": 10}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--length", type=int, default=SHAPE.length)
    options = parser.parse_args()
    shape = Shape(**{**vars(SHAPE), "length": options.length})
    torch.set_num_threads(1)
    results: dict[str, list[dict[str, Any]]] = {}
    for _ in range(options.runs):
        for name in MODES:
            # What was compiled for one mode must not serve another.
            torch.compiler.reset()
            torch._functorch.config.activation_memory_budget = 1.0
            results.setdefault(name, []).append(_observe(shape, name))
            rows = _rows(shape, results)
            write_result(NAME, rows, packages=["torch"])
    print_table(rows)


def _rows(shape: Shape, results: dict[str, list[dict[str, Any]]]) -> list[Row]:
    unit = shape.tokens * shape.hidden * 4 * shape.layers
    none = results["none"][0]
    rows = []
    for name, runs in results.items():
        first = runs[0]
        theory = f"theory: {THEORY[name] * unit / 1e6:.0f} MB kept; " if name in THEORY else ""
        eager = "compile" not in MODES[name]
        equal = all(run["losses"] == none["losses"] for run in runs) if eager else None
        cost = median(_steps(runs)) / median(_steps(results["none"])) - 1
        for figure in ("kept", "peak"):
            again = figure == "peak" and name in GOALS
            whole = "one layer is whole while it is computed again; " if again else ""
            rows.append(
                Row(
                    f"{name}: {figure}, of what none takes",
                    ours=round(first[figure] / none[figure], 3),
                    unit="share",
                    goal=GOALS.get(name),
                    better="lower",
                    equal_results=equal,
                    why=f"{first[figure] / 1e6:.0f} MB; {theory}{whole}a step takes {cost:+.1%} CPU time",
                    details={
                        "bytes": first[figure],
                        "memtracker_bytes_at_peak": first["tracked"],
                        "cpu_seconds_of_steps": [round(took, 3) for took in _steps(runs)],
                        "losses": first["losses"],
                    },
                )
            )
    return rows


def _steps(runs: list[dict[str, Any]]) -> list[float]:
    return [took for run in runs for took in run["cpu"]]


def _observe(shape: Shape, mode: str) -> dict[str, Any]:
    """Memory of the layers, then some steps."""
    config = pretrain_config(shape, _STEPS, dropout=0.1, **MODES[mode])
    model = build(shape, config)
    model.train()
    kept, peak = kept_and_peak(model.parts[0], _tokens(shape))
    losses, cpu = [], []
    optimizer = build_optimizer(model.named_parameters(), config.optimizer, model=shape.model)
    for number, batch in enumerate(batches(shape, _STEPS)):
        optimizer.zero_grad(set_to_none=True)
        began = time.process_time()
        torch.manual_seed(number)
        result = compute_gradients(model, micro_batches(batch, shape.batch, model), max_grad_norm=1.0)
        optimizer.step()
        cpu.append(time.process_time() - began)
        losses.append(result.loss)
    tracked = None if config.compile else _tracked(model, shape)
    return {"kept": kept, "peak": peak, "losses": losses, "cpu": cpu[1:], "tracked": tracked}


def _tokens(shape: Shape) -> Tensor:
    return torch.from_numpy(batches(shape, 1)[0].tokens)[:, :-1].contiguous()


def _through_layers(part: Decoder, tokens: Tensor) -> None:
    with record_function("forward"):
        out = part.hidden(tokens)
    out.backward(torch.ones_like(out))  # type: ignore[no-untyped-call]


def kept_and_peak(part: Decoder, tokens: Tensor) -> tuple[int, int]:
    """Bytes that are there when the forward pass has ended, and the most that are there at any time."""
    # Compiles, and gives gradients their memory.
    _through_layers(part, tokens)
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as found:
        _through_layers(part, tokens)
    events = sorted(found.profiler.kineto_results.events(), key=lambda event: event.start_ns())
    (forward_end,) = (event.end_ns() for event in events if event.name() == "forward")
    now = kept = peak = 0
    for event in events:
        if event.name() == "[memory]":
            now += event.nbytes()
            peak = max(peak, now)
            if event.start_ns() <= forward_end:
                kept = now
    return kept, peak


def _tracked(model: ParallelModel, shape: Shape) -> int:
    tracker = MemTracker()
    tracker.track_external(model.parts[0])
    with tracker:
        _through_layers(model.parts[0], _tokens(shape))
    (snapshot,) = tracker.get_tracker_snapshot("peak").values()
    sizes = {str(kind).rpartition(".")[2]: size for kind, size in snapshot.items()}
    return int(sizes["ACT"] + sizes["TEMP"])


if __name__ == "__main__":
    main()
