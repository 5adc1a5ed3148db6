"""The learning rate and the batch size as functions of the step; steps count from 1."""

import math

from tsumugu.training.config import PretrainConfig


def learning_rate(step: int, config: PretrainConfig) -> float:
    """The rate of update number `step`.

    With peak P, W steps of warm-up, N steps in all, and f = `final_share`:

    - up to W, all: P * step / W
    - `cosine` (Loshchilov & Hutter 2017), with p = (step - W) / (N - W):
      P * (f + (1 - f) * (1 + cos(pi * p)) / 2)
    - `linear`: P * (1 - (1 - f) * p)
    - `inverse_sqrt` (Vaswani et al. 2017): P * max(f, sqrt(W / step))
    - `constant`: P
    - `wsd` (Hu et al. 2024): P until the decay begins, then `linear` with p in its steps
    """
    return config.optimizer.learning_rate * _share_of_peak(step, config)


def _share_of_peak(step: int, config: PretrainConfig) -> float:
    schedule, steps = config.schedule, config.steps
    warmup, final = schedule.warmup_steps, schedule.final_share
    if step <= warmup:
        return step / warmup
    if schedule.name == "constant":
        return 1.0
    if schedule.name == "inverse_sqrt":
        return max(final, math.sqrt(warmup / step))
    begin = steps - schedule.decay_steps(steps) if schedule.name == "wsd" else warmup
    progress = max(0, step - begin) / max(1, steps - begin)
    if schedule.name == "cosine":
        return final + (1 - final) * 0.5 * (1 + math.cos(math.pi * progress))
    return 1 - (1 - final) * progress


def batch_size(step: int, config: PretrainConfig) -> int:
    """Sequences in update number `step`.

    With `batch_size_warmup` it is the largest multiple of `start` on or under the line from `start` at
    step 1 to `global_batch_size` at step `steps + 1`.
    """
    warmup = config.batch_size_warmup
    if warmup is None or step > warmup.steps:
        return config.global_batch_size
    rises = config.global_batch_size // warmup.start - 1
    return warmup.start * (1 + rises * (step - 1) // warmup.steps)


def batch_sizes(config: PretrainConfig) -> tuple[int, ...]:
    """All sizes of a batch, in sequences, those of the warm-up included; ascending."""
    sizes = {config.global_batch_size}
    if config.batch_size_warmup:
        sizes |= {batch_size(step, config) for step in range(1, config.batch_size_warmup.steps + 1)}
    return tuple(sorted(sizes))


def samples_before(step: int, config: PretrainConfig) -> int:
    """Sequences in the updates before number `step`; those of the whole run for `steps + 1`."""
    done = step - 1
    warmup = config.batch_size_warmup
    if warmup is None:
        return done * config.global_batch_size
    rises = config.global_batch_size // warmup.start - 1
    small = min(done, warmup.steps)
    # Rise number r comes `ceil(r * steps / rises)` steps after the first, and is in every step from there on.
    risen = sum(max(0, small + (-rise * warmup.steps) // rises) for rise in range(1, rises + 1))
    return warmup.start * (small + risen) + (done - small) * config.global_batch_size
