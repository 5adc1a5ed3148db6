"""From a recipe to a plan."""

from dataclasses import replace
from pathlib import Path

from tsumugu.errors import TsumuguError
from tsumugu.planning.auto import pick_layout
from tsumugu.planning.cluster import Cluster, find_cluster
from tsumugu.planning.search import Choices, Plan, search
from tsumugu.planning.workload import Candidate, Precision, Workload
from tsumugu.recipe import Recipe
from tsumugu.training.layout import Machines, Training, micro_batch_size, resolve_layout
from tsumugu.training.schedule import batch_sizes


def plan(recipe: Recipe, cluster: Cluster) -> Plan:
    """All ways to train the recipe's model on `cluster`.

    Raises:
        TsumuguError: the device cannot compute in the recipe's precision, or its tokenizer cannot be read.
    """
    return search(workload(recipe), cluster, Choices(batch_sizes=batch_sizes(recipe.pretrain)))


def cluster_of(recipe: Recipe, text: str | None, usd_per_hour: float | None) -> Cluster:
    """The cluster that the command line or the recipe names.

    Raises:
        TsumuguError: neither does, or it is not known.
    """
    given = text or (recipe.plan.cluster if recipe.plan else None)
    if given is None:
        raise TsumuguError(
            "which cluster? Give --cluster 64xA100-80GB, or write plan: {cluster: 64xA100-80GB} into the "
            "recipe"
        )
    price = usd_per_hour or (recipe.plan.usd_per_hour if recipe.plan else None)
    cluster = find_cluster(given)
    return cluster if price is None else replace(cluster, usd_per_hour=price)


def workload(recipe: Recipe) -> Workload:
    """What the recipe trains.

    Raises:
        TsumuguError: its tokenizer exists already and cannot be read.
    """
    config = recipe.pretrain
    # On all devices that are rented, `auto` is bfloat16.
    precision: Precision = "bfloat16" if config.precision == "auto" else config.precision
    return Workload(
        model=recipe.model,
        vocab_size=vocab_size(recipe),
        sequence_length=config.sequence_length,
        global_batch_size=config.global_batch_size,
        steps=config.steps,
        precision=precision,
        optimizer=config.optimizer.name,
        compile=config.compile,
    )


def own_candidate(recipe: Recipe, cluster: Cluster) -> Candidate:
    """How the recipe itself says it is to be trained on `cluster`; `layout: auto` as training will choose it.

    Raises:
        TsumuguError: its layout cannot work on so many devices, or with `auto` none does.
    """
    config = recipe.pretrain
    checkpointing = config.activation_checkpointing
    training = Training(
        model=recipe.model,
        vocab_size=vocab_size(recipe),
        sequence_length=config.sequence_length,
        batch_sizes=batch_sizes(config),
        micro_batch_size=config.micro_batch_size,
        checkpointing=checkpointing.mode,
        checkpointing_every=checkpointing.every,
        compile=config.compile,
        float8=config.precision == "float8",
    )
    if config.layout.auto:
        found, reasons = pick_layout(training, cluster)
        if found is None:
            raise TsumuguError(f"pretrain.layout: auto finds nothing:\n{reasons}")
        layout = found
    else:
        machines = Machines(cluster.devices, cluster.devices_per_node)
        layout = resolve_layout(config.layout, training, machines)
    micro = micro_batch_size(layout, training, min(training.batch_sizes))
    return Candidate(layout, micro, checkpointing.mode, checkpointing.every, reshard=layout.pipeline == 1)


def vocab_size(recipe: Recipe) -> int:
    """Pieces of the recipe's tokenizer.

    Raises:
        TsumuguError: it exists already and cannot be read.
    """
    if recipe.tokenizer.vocab_size is not None:
        return recipe.tokenizer.vocab_size
    from tsumugu.tokenizer.existing import open_existing

    assert recipe.tokenizer.path is not None
    return open_existing(Path(recipe.tokenizer.path)).vocab_size
