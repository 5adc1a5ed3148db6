"""The learning rate as a function of the step."""

import math

from tsumugu.training.config import PretrainConfig


def learning_rate(step: int, config: PretrainConfig) -> float:
    """The rate of update number `step`, counted from 1: linear warm-up, then half a cosine.

    It reaches its peak at `warmup_steps` and `final_share` of the peak at the last step.
    """
    peak, warmup = config.optimizer.learning_rate, config.schedule.warmup_steps
    if step <= warmup:
        return peak * step / warmup
    progress = (step - warmup) / max(1, config.steps - warmup)
    share = config.schedule.final_share
    return peak * (share + (1 - share) * 0.5 * (1 + math.cos(math.pi * progress)))
