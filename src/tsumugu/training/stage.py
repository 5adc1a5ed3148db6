"""Token shards to a trained model."""

from dataclasses import asdict
from pathlib import Path

import torch

from tsumugu.model.decoder import Decoder, count_parameters
from tsumugu.model.initialization import initialize
from tsumugu.pipeline import Counts, StageContext, say_on_stderr
from tsumugu.recipe import Recipe
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.tokens.opening import PACKING, SourceUse, open_loader, run_length, source_use
from tsumugu.tokens.shards import open_tokens
from tsumugu.tokens.split import VALIDATION
from tsumugu.training.checkpoint import latest_checkpoint, load_weights
from tsumugu.training.device import pick_device
from tsumugu.training.metrics import read_metrics
from tsumugu.training.trainer import Data, train


def run(context: StageContext) -> Counts:
    """Train; leave `checkpoints/` and `metrics.jsonl`; return the facts of the training."""
    recipe = context.recipe
    # The same inputs must give the same bits, run after run.
    torch.use_deterministic_algorithms(True)
    # Nothing here reads memory before it is written; filling it costs 3 % of a step.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    device = pick_device()
    vocab_size = load_encoder(context.inputs["tokenizer"]).vocab_size
    model = Decoder(recipe.model, vocab_size, dropout=recipe.pretrain.dropout)
    initialize(model, recipe.seed)
    model.to(device)
    tokens = context.inputs["tokens"]
    run = run_length(recipe.pretrain)
    loader = open_loader(
        tokens,
        recipe.data,
        run,
        seed=recipe.seed,
        packing=context.folder / PACKING,
        resources=context.resources,
    )
    uses = source_use(tokens, loader, run)
    for name, use in uses.items():
        say_on_stderr(f"pretrain: {_describe(name, use)}")
    data = Data(train=loader, validation=open_tokens(tokens, VALIDATION))
    train(model, data, recipe.pretrain, folder=context.folder, seed=recipe.seed)

    rows = read_metrics(context.folder / "metrics.jsonl")
    validation = [row["validation_loss"] for row in rows if "validation_loss" in row]
    return {
        "parameters": count_parameters(model),
        "steps": recipe.pretrain.steps,
        "tokens": max(row["tokens"] for row in rows),
        "epochs": max(row["tokens"] for row in rows) / sum(use.tokens for use in uses.values()),
        "sources": {name: asdict(use) for name, use in uses.items()},
        "upsampled": [name for name, use in uses.items() if use.epochs > 1],
        "validation_loss": validation[-1],
        "seconds": rows[-1]["seconds"],
        "device": str(device),
        "threads": torch.get_num_threads(),
    }


def _describe(name: str, use: SourceUse) -> str:
    if not use.share:
        return f"source {name}: {use.tokens:,} tokens, not read"
    epochs = f"{use.epochs:.3g} epochs{', upsampled' if use.epochs > 1 else ''}"
    return f"source {name}: {use.tokens:,} tokens, {use.share:.2%} of the training, {epochs}"


def load_trained(recipe: Recipe, pretrain_folder: Path, *, vocab_size: int) -> Decoder:
    """The model of a finished pretrain folder, on the CPU, ready to be asked."""
    model = Decoder(recipe.model, vocab_size)
    checkpoint = latest_checkpoint(pretrain_folder / "checkpoints")
    assert checkpoint is not None, "a finished pretrain stage has a checkpoint"
    load_weights(checkpoint, model)
    return model.eval()
