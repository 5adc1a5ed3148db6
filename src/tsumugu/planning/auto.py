"""The layout of a training: the recipe's, or for `layout: auto` what the planner would choose."""

from dataclasses import replace

from tsumugu.errors import TsumuguError
from tsumugu.planning.cluster import Cluster
from tsumugu.planning.search import Choices, Plan, search
from tsumugu.planning.workload import Workload
from tsumugu.recipe import Recipe
from tsumugu.training.layout import (
    Layout,
    LayoutConfig,
    Machines,
    Training,
    micro_batch_size,
    resolve_layout,
)
from tsumugu.training.schedule import batch_sizes


def training_of(recipe: Recipe, vocab_size: int, cluster: Cluster) -> Training:
    """What a layout of the recipe's training must fit."""
    config = recipe.pretrain
    return Training(
        model=recipe.model,
        vocab_size=vocab_size,
        sequence_length=config.sequence_length,
        batch_sizes=batch_sizes(config),
        micro_batch_size=config.micro_batch_size,
        checkpointing=config.activation_checkpointing.mode,
        checkpointing_every=config.activation_checkpointing.every,
        compile=config.compile,
        precision=cluster.best_precision if config.precision == "auto" else config.precision,
        optimizer=config.optimizer.name,
        muon_ns_steps=config.optimizer.muon_ns_steps,
    )


def choose_layout(config: LayoutConfig, training: Training, cluster: Cluster) -> tuple[Layout, int]:
    """The layout, and the sequences of a forward pass.

    With `auto` it is the fastest that fits, with the recipe's micro-batch and activation checkpointing. Where
    the recipe says nothing of micro-batches, all that a process has of a batch is one; smaller ones are taken
    if that fits nowhere.

    Raises:
        TsumuguError: nothing works; the message says what to change.
    """
    if not config.auto:
        layout = resolve_layout(config, training, Machines(cluster.devices, cluster.devices_per_node))
        return layout, micro_batch_size(layout, training, min(training.batch_sizes))
    plan = _search(training, cluster, whole_share=True)
    if not plan.fastest and training.micro_batch_size is None:
        plan = _search(training, cluster, whole_share=False)
    if plan.fastest:
        best = plan.fastest[0].candidate
        return best.layout, best.micro_batch_size
    count = "one process" if cluster.devices == 1 else f"{cluster.devices} processes"
    reasons = "\n".join(f"  - {refusal.degrees}: {refusal.reason}" for refusal in plan.refused)
    raise TsumuguError(
        f"pretrain.layout: auto finds nothing for {count}:\n{reasons}\nStart another number of processes, "
        "change global_batch_size, micro_batch_size or activation_checkpointing, or write the degrees"
    )


def _search(training: Training, cluster: Cluster, *, whole_share: bool) -> Plan:
    smallest = min(training.batch_sizes)
    workload = Workload(
        model=training.model,
        vocab_size=training.vocab_size,
        sequence_length=training.sequence_length,
        global_batch_size=smallest,
        steps=1,
        precision=training.precision,
        optimizer=training.optimizer,
        muon_ns_steps=training.muon_ns_steps,
        compile=training.compile,
    )
    choices = Choices(
        checkpointing=training.checkpointing,
        every=training.checkpointing_every,
        schedules=("1f1b",),
        batch_sizes=training.batch_sizes,
        fewer_devices=False,
    )
    if whole_share:
        choices = replace(
            choices, micro_batch_sizes=lambda layout: [micro_batch_size(layout, training, smallest)]
        )
    return search(workload, cluster, choices)
