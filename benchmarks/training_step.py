"""Tokens per CPU second of training, beside Hugging Face's Trainer and nanoGPT.

The same weights, batches, optimizer (AdamW, no decay, gradients clipped to 1), precision (float32) and
threads (one) on all sides, eager and with `torch.compile`; the losses of all steps are compared first.
Ours is the whole trainer, with its loader, checks, bar and `metrics.jsonl`. The Trainer gets its rows
from memory, writes nothing, and has PyTorch's fused AdamW and attention (`adamw_torch_fused`, `sdpa`).

nanoGPT is not on PyPI: the environment variable NANOGPT names a checkout of
https://github.com/karpathy/nanoGPT; without it, its rows are left out. Its loop is that of its
`train.py`, which has no fused AdamW on a CPU.

The first rows are ours with the matrix products of MKL, which the peers use, instead of oneDNN's
(`tsumugu/model/products.py`): what is left of the ratio there is everything else.
"""

import argparse
import importlib.util
import os
import tempfile
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from harness import Contestant, Row, Timing, alternate, print_table, write_result
from trainees import SHAPES, Shape, Watched, batches, build, pretrain_config, train_watched
from tsumugu.model import products
from tsumugu.release.adapter import hugging_face_config, to_hugging_face

NAME = "training_step"
GOAL = 1.2
WARM_UP = 1
STEPS = {"10M": 3, "50M": 1}
"""Measured in one run, after the warm-up."""
_TOLERANCE = 1e-4
_KINDS = {
    "products": ("aten::mm", "aten::addmm", "aten::bmm", "mkldnn::_linear_pointwise"),
    "attention": (
        "aten::_scaled_dot_product_flash_attention_for_cpu",
        "aten::_scaled_dot_product_flash_attention_for_cpu_backward",
    ),
    "optimizer": ("aten::_fused_adamw_", "Optimizer.step#AdamW.step"),
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--shapes", nargs="+", default=list(STEPS), choices=SHAPES)
    options = parser.parse_args()
    rows = []
    for label, shape, ours, peer, goal in _comparisons(options.shapes):
        rows.append(_row(label, shape, ours, peer, options.runs, goal=goal))
        # What is measured is not lost when the rest, which takes long, is given up.
        write_result(NAME, rows, packages=["torch", "transformers", "accelerate"])
    print_table(rows)


def _comparisons(names: list[str]) -> Iterator[tuple[str, Shape, Contestant, Contestant, float | None]]:
    for name in names:
        shape, steps = SHAPES[name], WARM_UP + STEPS.get(name, 8)
        ours = partial(_ours, shape, steps, False, onednn=False)
        peer = partial(_hugging_face, shape, steps, False)
        yield f"{name}, eager, with MKL's products, against the Trainer", shape, ours, peer, None
        for compiled in (False, True):
            kind = "compiled" if compiled else "eager"
            ours = partial(_ours, shape, steps, compiled)
            peer = partial(_hugging_face, shape, steps, compiled)
            yield f"{name}, {kind}, against the Trainer", shape, ours, peer, GOAL
            if os.environ.get("NANOGPT"):
                gpt2 = shape.of("gpt2")
                ours = partial(_ours, gpt2, steps, compiled)
                peer = partial(_nanogpt, gpt2, steps, compiled)
                yield f"{name}, {kind}, against nanoGPT", gpt2, ours, peer, GOAL


def _row(
    name: str, shape: Shape, ours: Contestant, peer: Contestant, runs: int, *, goal: float | None
) -> Row:
    timings = alternate(ours, peer, runs=runs)
    seconds = [median(_all(timing, "cpu")) for timing in timings]
    losses = [timing.result["losses"] for timing in timings]
    kinds = [timing.result["kinds"] for timing in timings]
    for took, known in zip(seconds, kinds, strict=True):
        known["rest"] = round(took - sum(known.values()), 3)
    parts = ", ".join(f"{kind} {kinds[0][kind]:.2f} / {kinds[1][kind]:.2f}" for kind in kinds[0])
    why = f"seconds of a step, ours / theirs: {parts}"
    if any(known["rest"] < 0 for known in kinds):
        # It counts wall seconds.
        why = "others' work disturbed the profile, which counts wall seconds"
    return Row(
        name,
        ours=round(shape.tokens / seconds[0], 1),
        peer=round(shape.tokens / seconds[1], 1),
        unit="tokens/CPU s",
        goal=goal,
        equal_results=all(
            abs(first - second) <= _TOLERANCE * abs(second)
            for first, second in zip(losses[0], losses[1], strict=True)
        ),
        why=why,
        details={
            "cpu_seconds_of_steps": [[round(took, 3) for took in _all(one, "cpu")] for one in timings],
            "wall_seconds_of_steps": [[round(took, 3) for took in _all(one, "wall")] for one in timings],
            "losses": losses,
            "shape": vars(shape),
        },
    )


def _all(timing: Timing, clock: str) -> list[float]:
    return [seconds for result in timing.results for seconds in result[clock]]


def _measured(run: Callable[[int], Watched], steps: int) -> dict[str, Any]:
    """Step times of a run, and in what kind of operation a step spends them, from another run."""
    watched = run(steps)
    if not _known_kinds:
        with profile(activities=[ProfilerActivity.CPU]) as found:
            run(1)
        averages = {event.key: event.self_cpu_time_total / 1e6 for event in found.key_averages()}
        for kind, keys in _KINDS.items():
            _known_kinds[kind] = round(sum(averages.get(key, 0.0) for key in keys), 3)
    return {**watched.steps(WARM_UP), "kinds": dict(_known_kinds)}


_known_kinds: dict[str, float] = {}
"""Of this process's contestant; seen once, in the warm-up."""


def _ours(shape: Shape, steps: int, compiled: bool, *, onednn: bool = True) -> dict[str, Any]:
    if not onednn:
        products._ONEDNN_IS_FASTER = False
    return _measured(lambda count: train_watched(shape, count, compile=compiled), steps)


def _hugging_face(shape: Shape, steps: int, compiled: bool) -> dict[str, Any]:
    return _measured(lambda count: _trainer(shape, count, compiled), steps)


def _trainer(shape: Shape, steps: int, compiled: bool) -> Watched:
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM, Trainer, TrainingArguments

    warnings.filterwarnings("ignore")
    config = hugging_face_config(shape.model, vocab_size=shape.vocabulary, bos=1, eos=2, pad=None)
    model = AutoModelForCausalLM.from_config(
        CONFIG_MAPPING[config["model_type"]].from_dict({**config, "use_cache": False}),
        attn_implementation="sdpa",
    )
    _copy_weights(shape, model)
    rows = [
        {"input_ids": row[:-1], "labels": row[1:], "shift_labels": row[1:]}
        for batch in batches(shape, steps)
        for row in torch.from_numpy(batch.tokens)
    ]
    watched = Watched()

    class WatchedTrainer(Trainer):  # type: ignore[misc]
        def training_step(self, *arguments: Any, **keywords: Any) -> torch.Tensor:
            loss: torch.Tensor = super().training_step(*arguments, **keywords)
            self.last_loss = loss
            return loss

        def get_last_loss(self) -> float:
            return float(self.last_loss)

    with tempfile.TemporaryDirectory() as folder:
        trainer = WatchedTrainer(
            model=model,
            args=TrainingArguments(
                output_dir=folder,
                max_steps=steps,
                per_device_train_batch_size=shape.batch,
                optim="adamw_torch_fused",
                learning_rate=1e-3,
                lr_scheduler_type="constant",
                adam_beta1=0.9,
                adam_beta2=0.95,
                weight_decay=0.0,
                max_grad_norm=1.0,
                train_sampling_strategy="sequential",
                remove_unused_columns=False,
                torch_compile=compiled,
                use_cpu=True,
                logging_strategy="no",
                save_strategy="no",
                report_to="none",
                disable_tqdm=True,
            ),
            train_dataset=rows,
        )
        trainer.add_callback(_watcher(trainer, watched))
        trainer.train()
    return watched


def _watcher(trainer: Any, watched: Watched) -> Any:
    from transformers import TrainerCallback

    class Watcher(TrainerCallback):  # type: ignore[misc]
        def on_step_end(self, *arguments: Any, **keywords: Any) -> None:
            watched.step(trainer.get_last_loss())

    return Watcher()


def _nanogpt(shape: Shape, steps: int, compiled: bool) -> dict[str, Any]:
    return _measured(lambda count: _nanogpt_loop(shape, count, compiled), steps)


def _nanogpt_loop(shape: Shape, steps: int, compiled: bool) -> Watched:
    theirs = _nanogpt_module()
    config = theirs.GPTConfig(
        block_size=shape.length,
        vocab_size=shape.vocabulary,
        n_layer=shape.layers,
        n_head=shape.heads,
        n_embd=shape.hidden,
    )
    model = theirs.GPT(config)
    # It has the names of transformers' GPT-2, but matrices as `[out, in]`.
    _copy_weights(shape, model, transposed=True)
    optimizer = model.configure_optimizers(0.0, 1e-3, (0.9, 0.95), "cpu")
    forward = torch.compile(model) if compiled else model
    watched = Watched()
    for batch in batches(shape, steps):
        tokens = torch.from_numpy(batch.tokens)
        _, loss = forward(tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        watched.step(loss.item())
    return watched


def _nanogpt_module() -> ModuleType:
    path = Path(os.environ["NANOGPT"]) / "model.py"
    spec = importlib.util.spec_from_file_location("nanogpt_model", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@torch.no_grad()
def _copy_weights(shape: Shape, model: torch.nn.Module, *, transposed: bool = False) -> None:
    """Ours into theirs, by transformers' names."""
    (part,) = build(shape, pretrain_config(shape, 1)).parts
    theirs = model.state_dict()
    for name, value in to_hugging_face(part).items():
        theirs[name].copy_(value.t() if transposed and value.dim() == 2 and ".c_" in name else value)


if __name__ == "__main__":
    main()
