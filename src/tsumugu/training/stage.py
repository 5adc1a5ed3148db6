"""Token shards to a trained model."""

import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, write_json
from tsumugu.model.counts import flops_per_token
from tsumugu.model.decoder import Decoder
from tsumugu.pipeline import Counts, StageContext, run_stages, say_on_stderr, stage_context
from tsumugu.planning.auto import choose_layout, training_of
from tsumugu.recipe import Recipe
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.tokens.loader import Loader
from tsumugu.tokens.opening import PACKING, SourceUse, open_loader, run_length, source_use
from tsumugu.tokens.shards import open_tokens
from tsumugu.tokens.split import VALIDATION
from tsumugu.training.blocks import prepare_blocks
from tsumugu.training.checkpoint import latest_checkpoint, load_weights
from tsumugu.training.device import product_dtype
from tsumugu.training.job import Job
from tsumugu.training.layout import SPLIT_BACKWARD, Layout
from tsumugu.training.metrics import read_metrics
from tsumugu.training.parallelize import ParallelModel, Settings, build_model
from tsumugu.training.processes import (
    Process,
    build_mesh,
    device_memory,
    first_before_others,
    hear,
    process_group,
    tell,
    this_cluster,
    this_process,
)
from tsumugu.training.throughput import peak_flops
from tsumugu.training.tracking import Trackers, open_trackers
from tsumugu.training.trainer import train
from tsumugu.training.validation import held_out
from tsumugu.training.whole import whole_bytes

_WORD, _LAYOUT = "pretrain", "layout"
_CHOSEN = Path("pretrain-logs") / "layout.json"
_SHARE_FOR_WHOLE = 0.4
"""Of a device's memory, for the whole model beside its parts and their optimizer."""
_TRAIN, _DONE, _FAILED = "train", "done", "failed"


def run(context: StageContext) -> Counts:
    """Train; leave `checkpoints/`, `metrics.jsonl` and `events.jsonl`; return the facts of the training."""
    tell(_WORD, _TRAIN)
    return _train(context, this_process())


def pretrain_together(recipe: Recipe, run_folder: Path, *, resources: Resources) -> None:
    """The pretrain stage on all the processes that torchrun started; the first one runs it, all train.

    Raises:
        TsumuguError: an earlier stage is not done, or the layout cannot work.
    """
    process = this_process()
    tokenizer = run_folder / "tokenizer"
    if process.is_first and tokenizer.exists():
        # Before there is a process group.
        _choose(recipe, run_folder, load_encoder(tokenizer).vocab_size, process)
    with process_group(process):
        if process.is_first:
            _run_for_all(recipe, run_folder, resources)
            return
        word = hear(_WORD)
        if word == _FAILED:
            raise TsumuguError("the first process failed, and says why")
        if word == _TRAIN:
            _train(stage_context(recipe, run_folder, "pretrain", resources), process)


def _run_for_all(recipe: Recipe, run_folder: Path, resources: Resources) -> None:
    try:
        run_stages(
            recipe,
            run_folder,
            last="pretrain",
            resources=resources,
            say=say_on_stderr,
            only_last=True,
        )
    except BaseException:
        # Nobody hears this any more who trains already.
        tell(_WORD, _FAILED)
        raise
    tell(_WORD, _DONE)


def load_trained(recipe: Recipe, pretrain_folder: Path, *, vocab_size: int) -> Decoder:
    """The model of a finished pretrain folder, on the CPU, ready to be asked."""
    model = Decoder(recipe.model, vocab_size)
    checkpoint = latest_checkpoint(pretrain_folder / "checkpoints")
    assert checkpoint is not None, "a finished pretrain stage has a checkpoint"
    load_weights(checkpoint, model)
    return model.eval()


def _train(context: StageContext, process: Process) -> Counts:
    recipe, config = context.recipe, context.recipe.pretrain
    _choose_kernels(process.device, deterministic=config.deterministic)
    encoder = load_encoder(context.inputs["tokenizer"])
    layout, micro = _layout(context, encoder.vocab_size, process)
    model = _build(recipe, encoder.vocab_size, layout, micro, process)

    tokens = context.inputs["tokens"]
    length = run_length(config)
    # It may have to pack documents first; the others find the packing done.
    loader = first_before_others("loader", lambda: _open_loader(context))
    uses = source_use(tokens, loader, length)
    side_folder = context.folder.parent / "pretrain-logs"
    trackers = Trackers([])
    if process.is_first:
        for name, use in uses.items():
            say_on_stderr(f"pretrain: {_describe(name, use)}")
        say_on_stderr(f"pretrain: {layout}, {micro} sequences in a forward pass, on {process.device.type}")
        if (
            layout.pipeline > 1
            and layout.pipeline_schedule in SPLIT_BACKWARD
            and config.activation_checkpointing.mode == "full"
        ):
            say_on_stderr(
                f"pretrain: {layout.pipeline_schedule} computes checkpointed layers again for each of their "
                f"matrices; 1f1b and interleaved_1f1b do so once"
            )
        latest = latest_checkpoint(context.folder / "checkpoints")
        done = int(latest.name.rpartition("-")[2]) if latest else 0
        trackers = open_trackers(config.tracking, side_folder, recipe.name, done)
    examine = None
    if config.evaluation:
        # The harness is an optional dependency.
        from tsumugu.evaluation.examining import examiner

        _refuse_too_large(recipe, encoder.vocab_size, process)
        examine = examiner(
            config.evaluation,
            encoder,
            sequence_length=config.sequence_length,
            dtype=product_dtype(config.precision, process.device),
        )
    job = Job(
        model=model,
        config=config,
        loader=loader,
        validation=held_out(
            open_tokens(tokens, VALIDATION),
            sequence_length=config.sequence_length,
            sequences=config.validation_sequences,
            micro_batch_size=micro,
            part=(model.data_rank, layout.data),
            byte_lengths=encoder.byte_lengths(),
        ),
        process=process,
        seed=recipe.training_seed,
        folder=context.folder,
        side_folder=side_folder,
        micro_batch_size=micro,
        flops_per_token=flops_per_token(recipe.model, encoder.vocab_size, config.sequence_length),
        peak_flops=_peak(process),
        trackers=trackers,
        examine=examine,
    )
    progress = train(job)

    if not process.is_first:
        return {}
    rows = read_metrics(context.folder / "metrics.jsonl")
    validation = [row for row in rows if "validation_loss" in row][-1]
    return {
        "parameters": model.parameter_count(),
        "steps": config.steps,
        "skipped_steps": config.steps - progress.updates,
        "tokens": progress.tokens,
        "epochs": progress.tokens / sum(use.tokens for use in uses.values()),
        "sources": {name: asdict(use) for name, use in uses.items()},
        "upsampled": [name for name, use in uses.items() if use.epochs > 1],
        "validation_loss": validation["validation_loss"],
        "validation_bits_per_byte": validation.get("validation_bits_per_byte"),
        "seconds": rows[-1]["seconds"],
        "device": str(process.device.type),
        "device_name": _device_name(process.device),
        "layout": str(layout),
        "processes": process.world_size,
        "threads": torch.get_num_threads(),
    }


def _layout(context: StageContext, vocab_size: int, process: Process) -> tuple[Layout, int]:
    """The layout and the sequences of a forward pass, the same on all processes.

    The first process chooses for all, since devices may differ a little.
    """
    if not process.is_first:
        word = hear(_LAYOUT)
        return Layout(**word["layout"]), word["micro_batch_size"]
    chosen = _choose(context.recipe, context.folder.parent, vocab_size, process)
    write_json(context.folder.parent / _CHOSEN, chosen)
    tell(_LAYOUT, chosen)
    layout = Layout(**chosen["layout"])
    if context.recipe.pretrain.layout.auto:
        say_on_stderr(f"pretrain: layout auto is {layout}, reckoned for {chosen['for']['device']}")
    return layout, chosen["micro_batch_size"]


def _choose(recipe: Recipe, run_folder: Path, vocab_size: int, process: Process) -> dict[str, Any]:
    """The recipe's layout, or with `auto` the one that this training began with, if nothing that it was
    chosen for is other than then: the bits of a training depend on it."""
    config, cluster = recipe.pretrain, this_cluster(process)
    chosen_for = {
        "device": cluster.device,
        "devices": cluster.devices,
        "devices_per_node": cluster.devices_per_node,
        "memory": cluster.memory,
        "micro_batch_size": config.micro_batch_size,
        "activation_checkpointing": config.activation_checkpointing.model_dump(mode="json"),
    }
    if config.layout.auto and latest_checkpoint(run_folder / "pretrain.partial" / "checkpoints"):
        path = run_folder / _CHOSEN
        kept: dict[str, Any] = read_json(path) if path.exists() else {}
        if kept.get("for") == chosen_for:
            return kept
    training = training_of(recipe, vocab_size, cluster)
    layout, micro = choose_layout(config.layout, training, cluster)
    return {"layout": asdict(layout), "micro_batch_size": micro, "for": chosen_for}


def _build(recipe: Recipe, vocab_size: int, layout: Layout, micro: int, process: Process) -> ParallelModel:
    config = recipe.pretrain
    first_weights = None
    if recipe.model.weights is not None:
        # The map between their models and ours imports transformers.
        from tsumugu.release.first_weights import open_first_weights

        first_weights = open_first_weights(Path(recipe.model.weights), recipe.model, vocab_size).fill
    return build_model(
        recipe.model,
        vocab_size,
        layout=layout,
        mesh=build_mesh(layout, process.device) if process.world_size > 1 else None,
        device=process.device,
        settings=Settings(
            seed=recipe.training_seed,
            dropout=config.dropout,
            z_loss=config.z_loss,
            dtype=product_dtype(config.precision, process.device),
            first_weights=first_weights,
            prepare_blocks=partial(prepare_blocks, config=config),
        ),
        micro_batch=(micro, config.sequence_length // layout.context),
    )


def _refuse_too_large(recipe: Recipe, vocab_size: int, process: Process) -> None:
    memory = device_memory(process.device)
    needed = whole_bytes(
        recipe.model, vocab_size, dtype=product_dtype(recipe.pretrain.precision, process.device)
    )
    if memory is not None and needed > _SHARE_FOR_WHOLE * memory:
        raise TsumuguError(
            f"pretrain.evaluation: the whole model takes {needed / 1e9:.1f} GB on each device while it is "
            f"asked, more than {_SHARE_FOR_WHOLE:.0%} of the {memory / 1e9:.1f} GB there. Evaluate "
            f"checkpoints apart from training: tsumugu evaluate model RUN/pretrain.partial/checkpoints/step-N"
        )


def _open_loader(context: StageContext) -> Loader:
    return open_loader(
        context.inputs["tokens"],
        context.recipe.data,
        run_length(context.recipe.pretrain),
        seed=context.recipe.training_seed,
        packing=context.folder / PACKING,
        resources=context.resources,
    )


def _choose_kernels(device: torch.device, *, deterministic: bool) -> None:
    if deterministic:
        # cuBLAS asks for it, before its first use.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    # A GPU has no such kernel for attention with a mask: there PyTorch warns, and goes on.
    torch.use_deterministic_algorithms(deterministic, warn_only=device.type == "cuda")
    # Nothing here reads memory before it is written; filling it costs 3 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]


def _peak(process: Process) -> float | None:
    if process.device.type != "cuda":
        return None
    return peak_flops(torch.cuda.get_device_name(process.device))


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type.upper()


def _describe(name: str, use: SourceUse) -> str:
    if not use.share:
        return f"source {name}: {use.tokens:,} tokens, not read"
    epochs = f"{use.epochs:.3g} epochs{', upsampled' if use.epochs > 1 else ''}"
    return f"source {name}: {use.tokens:,} tokens, {use.share:.2%} of the training, {epochs}"
