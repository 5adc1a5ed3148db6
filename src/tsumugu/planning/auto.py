"""`layout: auto`: what the planner would choose for the processes that torchrun started."""

from tsumugu.planning.cluster import Cluster
from tsumugu.planning.search import Choices, search
from tsumugu.planning.workload import Workload
from tsumugu.training.layout import Layout, Training, micro_batch_size


def pick_layout(training: Training, cluster: Cluster) -> tuple[Layout | None, str]:
    """The fastest layout that fits; None if nothing does, and why in words.

    Micro-batch and activation checkpointing are the recipe's.
    """
    workload = Workload(
        model=training.model,
        vocab_size=training.vocab_size,
        sequence_length=training.sequence_length,
        global_batch_size=min(training.batch_sizes),
        steps=1,
        precision="float8" if training.float8 else cluster.best_precision,
        compile=training.compile,
    )
    choices = Choices(
        micro_batch_sizes=lambda layout: [micro_batch_size(layout, training, min(training.batch_sizes))],
        checkpointing=training.checkpointing,
        every=training.checkpointing_every,
        schedules=("1f1b",),
        batch_sizes=training.batch_sizes,
        fewer_devices=False,
    )
    found = search(workload, cluster, choices)
    if found.fastest:
        return found.fastest[0].candidate.layout, ""
    reasons = [f"  - {refusal.degrees}: {refusal.reason}" for refusal in found.refused]
    return None, "\n".join(reasons)
