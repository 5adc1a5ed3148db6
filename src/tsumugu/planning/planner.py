"""From a recipe to a plan."""

from dataclasses import replace
from pathlib import Path

from tsumugu.errors import TsumuguError
from tsumugu.planning.auto import choose_layout, training_of
from tsumugu.planning.cluster import Cluster, find_cluster
from tsumugu.planning.search import Choices, Plan, search
from tsumugu.planning.workload import Candidate, Precision, Workload
from tsumugu.recipe import Recipe
from tsumugu.training.schedule import batch_sizes, samples_before


def plan(recipe: Recipe, cluster: Cluster, *, tokens: float | None = None) -> Plan:
    """All ways to train the recipe's model on `cluster`, for as many steps as it says or `tokens` take.

    Raises:
        TsumuguError: the device cannot compute in the recipe's precision, or its tokenizer cannot be read.
    """
    work = workload(recipe, cluster)
    if tokens is not None:
        work = work.of_steps(max(1, round(tokens / work.tokens_per_step)))
    return search(work, cluster, Choices(batch_sizes=batch_sizes(recipe.pretrain)))


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


def workload(recipe: Recipe, cluster: Cluster | None = None) -> Workload:
    """What the recipe trains; on `cluster`, if `precision: auto` is to be what that device has.

    Raises:
        TsumuguError: its tokenizer exists already and cannot be read.
    """
    config = recipe.pretrain
    best: Precision = cluster.best_precision if cluster else "bfloat16"
    return Workload(
        model=recipe.model,
        vocab_size=vocab_size(recipe),
        sequence_length=config.sequence_length,
        global_batch_size=config.global_batch_size,
        steps=config.steps,
        precision=best if config.precision == "auto" else config.precision,
        optimizer=config.optimizer.name,
        muon_ns_steps=config.optimizer.muon_ns_steps,
        compile=config.compile,
        samples=samples_before(config.steps + 1, config) if config.batch_size_warmup else None,
    )


def own_candidate(recipe: Recipe, cluster: Cluster) -> Candidate:
    """How the recipe itself says it is to be trained on `cluster`; `layout: auto` as training will choose it.

    Raises:
        TsumuguError: its layout cannot work on so many devices, or with `auto` none does.
    """
    config = recipe.pretrain
    training = training_of(recipe, vocab_size(recipe), cluster)
    layout, micro = choose_layout(config.layout, training, cluster)
    checkpointing = config.activation_checkpointing
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
