"""The training loop.

Everything random in step n is a function of (seed, n), and the state of a run is its weights, its
optimizer and n. So a run that was stopped and goes on computes the same numbers, to the bit, as
one that was not (on the same device with the same number of threads).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from tsumugu.errors import TsumuguError
from tsumugu.model.decoder import Decoder
from tsumugu.model.loss import IGNORED
from tsumugu.tokens.loader import Batch, Loader
from tsumugu.tokens.prefetching import prefetched
from tsumugu.tokens.shards import TokenStream
from tsumugu.training.checkpoint import (
    latest_checkpoint,
    load_checkpoint,
    remove_old_checkpoints,
    save_checkpoint,
)
from tsumugu.training.config import PretrainConfig
from tsumugu.training.device import autocast
from tsumugu.training.metrics import MetricsLog
from tsumugu.training.optimizer import build_optimizer
from tsumugu.training.schedule import learning_rate


@dataclass(frozen=True)
class Data:
    """The two splits."""

    train: Loader
    validation: TokenStream


def train(model: Decoder, data: Data, config: PretrainConfig, *, folder: Path, seed: int) -> None:
    """Train `model` in place, from the newest checkpoint in `folder` on, to the last step.

    Raises:
        TsumuguError: the loss is no longer a number.
    """
    optimizer = build_optimizer(model, config.optimizer)
    checkpoints = folder / "checkpoints"
    start = 0
    remove_old_checkpoints(checkpoints, keep=config.keep_checkpoints)
    if found := latest_checkpoint(checkpoints):
        start = load_checkpoint(found, model, optimizer)
    log = MetricsLog(folder / "metrics.jsonl", last_step=start)
    tokens_per_step = config.global_batch_size * config.sequence_length
    clock = _clock(log.seconds)

    bar = tqdm(total=config.steps, initial=start, desc="pretrain", unit="step", dynamic_ncols=True)
    with prefetched(data.train, start, config.steps) as batches:
        for step in range(start + 1, config.steps + 1):
            began = time.perf_counter()
            rate = learning_rate(step, config)
            batch = next(batches)
            loss, grad_norm = _update(model, optimizer, batch, config, step=step, rate=rate, seed=seed)
            if not math.isfinite(loss) or not math.isfinite(grad_norm):
                raise TsumuguError(
                    f"pretrain: at step {step} the loss is {loss} and the gradient norm {grad_norm}. "
                    f"Training has diverged; lower pretrain.optimizer.learning_rate or lengthen "
                    f"schedule.warmup_steps. The last good checkpoint is {latest_checkpoint(checkpoints)}. "
                    f"What the step read: tsumugu tokens show {folder.parent} --batch {step}"
                )
            speed = tokens_per_step / (time.perf_counter() - began)
            log.append(
                {
                    "step": step,
                    "tokens": step * tokens_per_step,
                    "loss": loss,
                    "grad_norm": grad_norm,
                    "learning_rate": rate,
                    "tokens_per_second": round(speed, 1),
                    "seconds": round(clock(), 3),
                }
            )
            bar.set_postfix(loss=f"{loss:.3f}", tok_s=f"{speed:,.0f}", refresh=False)
            bar.update()
            last = step == config.steps
            if last or step % config.validation_every == 0:
                validation = validation_loss(model, data.validation, config)
                row = {"step": step, "tokens": step * tokens_per_step, "validation_loss": validation}
                log.append({**row, "seconds": round(clock(), 3)})
                bar.write(f"pretrain: step {step}, loss {loss:.4f}, validation loss {validation:.4f}")
            if last or step % config.checkpoint_every == 0:
                save_checkpoint(checkpoints, model, optimizer, step=step, keep=config.keep_checkpoints)
    bar.close()
    log.close()


def _update(
    model: Decoder,
    optimizer: torch.optim.Optimizer,
    batch: Batch,
    config: PretrainConfig,
    *,
    step: int,
    rate: float,
    seed: int,
) -> tuple[float, float]:
    """One optimizer step; return the batch's mean loss (nats per counted target) and gradient norm."""
    device = next(model.parameters()).device
    model.train()
    torch.manual_seed(seed * 1_000_003 + step)
    mask = batch.loss_mask
    # Of the whole batch: a micro-batch with fewer targets weighs less. One row of padding has none.
    counted = config.global_batch_size * config.sequence_length if mask is None else max(1, int(mask.sum()))
    micro = config.micro_batch_size or config.global_batch_size
    total = torch.zeros((), device=device)
    for start in range(0, config.global_batch_size, micro):
        rows = slice(start, start + micro)
        part_mask = None if mask is None else torch.from_numpy(mask[rows]).to(device)
        part = torch.from_numpy(batch.tokens[rows]).to(device)
        loss = summed_loss(model, part, part_mask) / counted
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    grad_norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.optimizer.max_grad_norm)
    for group in optimizer.param_groups:
        group["lr"] = rate
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    return float(total), float(grad_norm)


def summed_loss(model: Decoder, tokens: Tensor, mask: Tensor | None = None) -> Tensor:
    """Sum of the cross-entropies in nats of `tokens [B, T + 1]`, each predicted from those before it.

    Targets where `mask` (`bool [B, T]`) is false do not count.
    """
    targets = tokens[:, 1:]
    if mask is not None:
        targets = targets.masked_fill(~mask, IGNORED)
    with autocast(tokens.device):
        loss: Tensor = model(tokens[:, :-1], targets)
    return loss


@torch.no_grad()
def validation_loss(model: Decoder, stream: TokenStream, config: PretrainConfig) -> float:
    """Mean loss on the first `validation_sequences` sequences of the held-out tokens."""
    device = next(model.parameters()).device
    model.eval()
    length = min(config.sequence_length, stream.tokens - 1)
    count = max(1, min(config.validation_sequences, (stream.tokens - 1) // length))
    rows = np.stack([stream.read(index * length, length + 1) for index in range(count)])
    micro = config.micro_batch_size or config.global_batch_size
    total = 0.0
    for start in range(0, count, micro):
        part = torch.from_numpy(rows[start : start + micro]).to(device)
        total += float(summed_loss(model, part))
    return total / (count * length)


def _clock(before: float) -> Callable[[], float]:
    """Seconds of training, those of earlier processes included."""
    began = time.perf_counter()
    return lambda: before + time.perf_counter() - began
