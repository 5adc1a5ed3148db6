"""What the planner says a way of training takes of a device's memory, beside PyTorch's own tracker.

The tracker (`torch.distributed._tools.mem_tracker.MemTracker`) follows a step of our trainer, as one process
of many: with a fake process group and fake tensors (`tsumugu/planning/reality.py`). The presets are at full
size. Both count tensors alone, with a CPU's kernels, which do not fuse RMSNorm; what a GPU's allocator and
its libraries take besides is a stated constant of the planner, and is not in these figures.

Then what a layer keeps for its backward pass, measured by the profiler's memory events in layers that
compute real numbers on this machine: eager, and compiled, where the tracker does not see.
"""

import argparse
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from statistics import median
from typing import Any

import torch

from activation_memory import kept_and_peak
from harness import Row, print_table, read_result, write_result
from tsumugu.model.config import ModelConfig
from tsumugu.model.decoder import Decoder
from tsumugu.planning.activations import Tokens, layer_activations
from tsumugu.planning.memory import memory_of_rank
from tsumugu.planning.reality import tracked_memory
from tsumugu.planning.workload import Candidate, Workload
from tsumugu.training.blocks import prepare_blocks
from tsumugu.training.config import PretrainConfig
from tsumugu.training.layout import Layout

NAME = "plan_memory"
MEDIAN_GOAL, WORST_GOAL = 0.05, 0.15
_VOCABULARY, _LENGTH = 51_200, 2048
_LARGE = ("japanese-large-lm-1.7b", "japanese-large-lm-3.6b", "tsumugu-1.7b", "tsumugu-3.6b")
_TINY = ("tiny-gpt2", "tiny-gpt-neox", "tiny-llama")
Case = tuple[str, Workload, Candidate, int]
"""A name, what is tracked, and the process of the pipeline."""


def main() -> None:
    """Compare, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--presets", nargs="+", default=[*_TINY, *_LARGE], help="the rows of others stay as they are"
    )
    parser.add_argument("--processes", type=int, default=1, help="that track at a time")
    options = parser.parse_args()
    groups = [group for preset in options.presets for group in _groups(preset)]
    rows: list[Row] = []
    # DTensor remembers the groups of meshes that are gone: tensor parallelism has a process of its own.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(options.processes, context, max_tasks_per_child=1) as executor:
        for found in executor.map(_track, groups):
            rows += found
            for row in found:
                print(f"{row.name}: {row.ours:.2f} GiB, tracked {row.peer:.2f}, {row.why}", flush=True)
        layers = list(executor.map(_layer, _kept_cases()))
    rows = [*_kept_rows(options.presets), *rows]
    rows = [*_summary("a step", rows), *_summary("a layer", layers), *rows, *layers]
    print_table(rows)
    write_result(NAME, rows, packages=["torch"])


def _kept_rows(presets: list[str]) -> list[Row]:
    """What was tracked before, of other presets."""
    fields = Row.__dataclass_fields__
    before = [Row(**{key: value for key, value in row.items() if key in fields}) for row in read_result(NAME)]
    others = tuple(f"{preset}, " for preset in (*_TINY, *_LARGE) if preset not in presets)
    return [row for row in before if row.name.startswith(others)]


def _groups(preset: str) -> list[list[Case]]:
    tiny = preset in _TINY
    model = ModelConfig.model_validate({"preset": preset})
    length = model.max_position_embeddings if tiny else _LENGTH
    workload = Workload(
        model,
        vocab_size=4096 if tiny else _VOCABULARY,
        sequence_length=length,
        global_batch_size=0,
        steps=1,
        compile=False,
    )

    def case(
        layout: Layout, size: int, mode: Any = "none", *, rank: int = 0, batches: int = 1, **more: Any
    ) -> Case:
        every = more.pop("every", 1)
        whole = replace(workload, global_batch_size=layout.data * size * batches, **more)
        parts = [preset, str(layout), mode if every == 1 else f"{mode}, every {every}"]
        parts += [f"{batches} x {size} sequences"] + [f"{value}" for value in more.values()]
        if layout.pipeline > 1:
            parts.append(f"process {rank}")
        return ", ".join(parts), whole, Candidate(layout, size, mode, every), rank

    shard, tensor = Layout(data_shard=8), Layout(data_shard=4, tensor=4 if not tiny else 2)
    modes = ("none", "selective", "full")
    found = [
        [case(shard, 1, mode) for mode in modes]
        + [
            case(shard, 4),
            case(shard, 4, "full"),
            case(shard, 1, "full", batches=2),
            case(shard, 1, "selective", every=2),
        ],
        [case(tensor, 1, mode) for mode in modes] + [case(tensor, 2, "full")],
        [case(Layout(data_replicate=4, data_shard=64), 2, "selective", batches=2)],
        [case(Layout(data_shard=2, context=2), 1, mode) for mode in modes],
    ]
    pipeline = Layout(data_shard=2, pipeline=4)
    found += [
        [case(pipeline, 1, mode, rank=rank, batches=8)] for mode in ("none", "full") for rank in (0, 1, 3)
    ]
    if tiny:
        found.append(
            [case(Layout(), 2, mode, precision=kind) for mode in modes for kind in ("float32", "bfloat16")]
        )
        found.append([case(shard, 2, mode, precision="float32") for mode in modes])
        found.append([case(shard, 2, optimizer="muon")])
        for schedule in ("gpipe", "interleaved_1f1b", "interleaved_zero_bubble", "zbv_zero_bubble"):
            layout = Layout(data_shard=2, pipeline=2, pipeline_schedule=schedule)
            found += [[case(layout, 1, rank=rank, batches=8)] for rank in (0, 1)]
    cases = [one for group in found for one in group]
    sharing = [one for one in cases if one[2].layout.tensor > 1]
    return [[one for one in cases if one not in sharing], sharing]


def _track(group: list[Case]) -> list[Row]:
    torch.set_num_threads(1)
    rows = []
    for name, workload, candidate, rank in group:
        began = time.perf_counter()
        tracked = tracked_memory(workload, candidate, rank=rank)
        took = time.perf_counter() - began
        said = memory_of_rank(workload, candidate, rank, kernels="cpu")
        details = {"error": round(said.tensors / tracked - 1, 4), "seconds_to_track": round(took, 1)}
        why = f"{said.tensors / tracked - 1:+.1%}; the fullest moment: {said.moment}"
        gib = (round(said.tensors / 2**30, 4), round(tracked / 2**30, 4))
        rows.append(Row(name, ours=gib[0], unit="GiB", peer=gib[1], better="lower", why=why, details=details))
    return rows


def _kept_cases() -> list[tuple[str, str]]:
    return [(kind, mode) for kind in _TINY for mode in ("none", "selective", "full", "compiled")]


def _layer(case: tuple[str, str]) -> Row:
    """Two models that differ in two layers: what these keep."""
    preset, mode = case
    torch.set_num_threads(1)
    compiled = mode == "compiled"
    checkpointing: Any = "none" if compiled else mode
    config = PretrainConfig.model_validate(
        {
            "steps": 1,
            "global_batch_size": 2,
            "sequence_length": 256,
            "compile": compiled,
            "optimizer": {"learning_rate": 1e-3},
            "activation_checkpointing": {"mode": checkpointing},
        }
    )
    bytes_kept = []
    for layers in (2, 4):
        model = ModelConfig.model_validate(
            {"preset": preset, "num_hidden_layers": layers, "hidden_size": 256}
        )
        part = Decoder(model, 512)
        prepare_blocks(part, config)
        tokens = torch.zeros(2, 256, dtype=torch.int64)
        bytes_kept.append(kept_and_peak(part, tokens)[0])
    measured = (bytes_kept[1] - bytes_kept[0]) / 2
    tokens_here = Tokens(count=2 * 256, tensor=1, context=1, length=256, product=4, residual=4)
    said = layer_activations(model, tokens_here, checkpointing, compiled=compiled, kernels="cpu").kept
    error = said / measured - 1
    return Row(
        f"a layer of {preset}, 256 wide, {mode}: kept",
        ours=round(said / 2**20, 4),
        unit="MiB",
        peer=round(measured / 2**20, 4),
        better="lower",
        why=f"{error:+.1%}",
        details={"error": round(error, 4)},
    )


def _summary(what: str, rows: list[Row]) -> list[Row]:
    errors = [abs(row.details["error"]) for row in rows if row.details]
    return [
        Row(
            f"{what}, {len(rows)} ways: median error",
            round(median(errors), 4),
            "share",
            goal=MEDIAN_GOAL,
            better="lower",
        ),
        Row(
            f"{what}, {len(rows)} ways: worst error",
            round(max(errors), 4),
            "share",
            goal=WORST_GOAL,
            better="lower",
        ),
    ]


if __name__ == "__main__":
    main()
