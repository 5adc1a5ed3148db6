"""All ways to train a model on a cluster, the good ones first, and why the others are not.

Every degree of tensor, context and pipeline parallelism that divides the devices is tried, with every
micro-batch, checkpointing mode, way of sharding and schedule. What cannot work is refused by the rules of
`training/layout.py`, what does not fit by `memory.py`; the rest is ranked by `timing.py`.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from tsumugu.planning.cluster import Cluster
from tsumugu.planning.memory import Memory, memory
from tsumugu.planning.timing import StepTime, mfu, step_time
from tsumugu.planning.workload import Candidate, Checkpointing, Workload
from tsumugu.training.layout import SPLIT_BACKWARD, Layout, Machines, Schedule, Training, layout_faults

FILLED = 0.92
"""Share of a device's memory that a plan may fill: an allocator leaves gaps, and the estimate has an
error."""
_MODES: tuple[Checkpointing, ...] = ("none", "selective", "full")
_MICRO_BATCHES = 64
"""The most sequences in a forward pass that are tried; larger ones are no faster."""
_SMALLEST_SHARE = 16
"""The fewest devices that are tried, as a part of all: fewer are cheaper, and too late."""
_SECONDS_PER_HOUR = 3600


@dataclass(frozen=True)
class Choices:
    """What is fixed beforehand; None leaves it to the search."""

    micro_batch_sizes: Callable[[Layout], list[int]] | None = None
    """The sizes to try with a layout."""
    checkpointing: Checkpointing | None = None
    every: int = 1
    schedules: tuple[Schedule, ...] = ("1f1b", "interleaved_1f1b", "zbv_zero_bubble")
    batch_sizes: tuple[int, ...] = ()
    """Those of a warm-up; the layout has to suit the smallest too."""
    fewer_devices: bool = True
    """Whether parts of the cluster are looked at too."""


@dataclass(frozen=True)
class Estimate:
    """One way to train, with what it takes."""

    candidate: Candidate
    devices: int
    memory: Memory
    time: StepTime
    mfu: float
    tokens_per_second: float
    """Of all devices."""
    hours: float
    """Of the whole training, from the first step to the last, without stops."""
    usd: float | None
    kwh: float


@dataclass(frozen=True)
class Refusal:
    """Degrees of parallelism of which nothing works, or nothing is any good."""

    tensor: int
    context: int
    pipeline: int
    kind: str
    """`impossible`, `memory`, or what makes it slow: `bubble`, `network`, `recomputation`, `compute`."""
    reason: str

    @property
    def degrees(self) -> str:
        """In words."""
        context = f", context {self.context}" if self.context > 1 else ""
        return f"tensor {self.tensor}, pipeline {self.pipeline}{context}"


@dataclass(frozen=True)
class Plan:
    """The answer."""

    workload: Workload
    cluster: Cluster
    fastest: tuple[Estimate, ...]
    """On all devices, one per combination of degrees, the fastest first."""
    cheapest: tuple[Estimate, ...]
    """One per number of devices, the cheapest first."""
    refused: tuple[Refusal, ...]
    tried: int
    """Ways that were looked at."""
    all: tuple[Estimate, ...]
    """Everything that fits on all devices."""


def search(workload: Workload, cluster: Cluster, choices: Choices | None = None) -> Plan:
    """Every way, ranked. `fastest` is empty if nothing works."""
    choices = choices or Choices()
    fastest, refused, everything, tried = _search(workload, cluster, choices)
    per_count = fastest[:1]
    count = cluster.devices // 2
    while choices.fewer_devices and count >= max(1, cluster.devices // _SMALLEST_SHARE):
        found, _, _, more = _search(workload, _part(cluster, count), choices)
        per_count += found[:1]
        tried += more
        count //= 2
    cheapest = sorted(per_count, key=lambda found: (found.hours * found.devices, found.hours))
    return Plan(workload, cluster, tuple(fastest), tuple(cheapest), tuple(refused), tried, tuple(everything))


def estimate(workload: Workload, candidate: Candidate, cluster: Cluster) -> Estimate:
    """What `candidate` takes, whether it fits or not."""
    time = step_time(workload, candidate, cluster)
    hours = workload.whole_steps * time.seconds / _SECONDS_PER_HOUR
    price = cluster.usd_per_hour
    return Estimate(
        candidate=candidate,
        devices=cluster.devices,
        memory=memory(workload, candidate),
        time=time,
        mfu=mfu(workload, cluster, time.seconds),
        tokens_per_second=workload.tokens_per_step / time.seconds,
        hours=hours,
        usd=None if price is None else hours * cluster.devices * price,
        kwh=hours * cluster.devices * cluster.watts / 1000,
    )


def with_steps(found: Estimate, steps: float, before: float) -> Estimate:
    """`found`, made for a training of `before` steps, for one of `steps`."""
    ratio = steps / before
    usd = None if found.usd is None else found.usd * ratio
    return replace(found, hours=found.hours * ratio, usd=usd, kwh=found.kwh * ratio)


def _part(cluster: Cluster, devices: int) -> Cluster:
    return replace(cluster, devices=devices, devices_per_node=min(devices, cluster.devices_per_node))


def _search(
    workload: Workload, cluster: Cluster, choices: Choices
) -> tuple[list[Estimate], list[Refusal], list[Estimate], int]:
    best: list[Estimate] = []
    refused: list[Refusal] = []
    everything: list[Estimate] = []
    tried = 0
    for tensor, context, pipeline in _degrees(workload, cluster):
        faults: list[str] = []
        fitting: list[Estimate] = []
        least: tuple[int, Candidate] | None = None
        # Larger micro-batches take more: where one does not fit, those after it need not be looked at.
        too_large: set[tuple[Layout, Checkpointing]] = set()
        for candidate in _candidates(workload, cluster, choices, (tensor, context, pipeline), faults):
            if (candidate.layout, candidate.checkpointing) in too_large:
                continue
            tried += 1
            needed = memory(workload, candidate).total
            if needed > FILLED * cluster.memory:
                too_large.add((candidate.layout, candidate.checkpointing))
                if least is None or needed < least[0]:
                    least = needed, candidate
                continue
            fitting.append(estimate(workload, candidate, cluster))
        everything += fitting
        if fitting:
            best.append(min(fitting, key=lambda found: (found.time.seconds, found.memory.total)))
        elif least:
            reason = (
                f"needs {least[0] / 2**30:.0f} GiB per device at least, of {cluster.memory / 2**30:.0f} "
                f"({FILLED:.0%} may be filled), with {_described(least[1])}"
            )
            refused.append(Refusal(tensor, context, pipeline, "memory", reason))
        else:
            reason = faults[0] if faults else "no batch can be dealt so"
            refused.append(Refusal(tensor, context, pipeline, "impossible", reason))
    best.sort(key=lambda found: (found.time.seconds, found.memory.total))
    refused += [_slow(found, best[0]) for found in best[1:]]
    return best, refused, everything, tried


def _described(candidate: Candidate) -> str:
    return f"micro-batches of {candidate.micro_batch_size} and checkpointing {candidate.checkpointing}"


def _slow(found: Estimate, best: Estimate) -> Refusal:
    """Why `found` is slower than `best`: where most of the difference is."""
    ours, theirs = found.time, best.time
    differences = {
        "bubble": ours.bubble - theirs.bubble,
        "network": (ours.tensor + ours.context + ours.data + ours.pipeline)
        - (theirs.tensor + theirs.context + theirs.data + theirs.pipeline),
        "recomputation": ours.recompute - theirs.recompute,
        "compute": ours.compute + ours.optimizer - theirs.compute - theirs.optimizer,
    }
    kind = max(differences, key=lambda name: differences[name])
    spent = {
        "bubble": ours.bubble,
        "network": ours.tensor + ours.context + ours.data + ours.pipeline,
        "recomputation": ours.recompute,
        "compute": ours.compute,
    }[kind]
    layout = found.candidate.layout
    words = {
        "bubble": "of its step devices wait for the pipeline to fill and to empty",
        "network": "of its step it waits for the network",
        "recomputation": "of its step activations are computed again, to fit",
        "compute": "of its step is computation, on products that are too small or not shared equally",
    }[kind]
    slower = ours.seconds / theirs.seconds - 1
    reason = f"{slower:.1%} slower: {spent / ours.seconds:.0%} {words}"
    return Refusal(layout.tensor, layout.context, layout.pipeline, kind, reason)


def _divisors(number: int) -> list[int]:
    return [n for n in range(1, number + 1) if number % n == 0]


def _degrees(workload: Workload, cluster: Cluster) -> Iterator[tuple[int, int, int]]:
    for tensor in _divisors(cluster.devices_per_node):
        if cluster.devices % tensor:
            continue
        for pipeline in _divisors(cluster.devices // tensor):
            if pipeline > workload.model.num_hidden_layers:
                break
            for context in (1, 2, 4, 8, 16):
                # What it shares are long sequences; short ones are dealt whole.
                if (cluster.devices // tensor // pipeline) % context:
                    break
                if context > 1 and workload.sequence_length // context < 2048:
                    break
                yield tensor, context, pipeline


def _candidates(
    workload: Workload,
    cluster: Cluster,
    choices: Choices,
    degrees: tuple[int, int, int],
    faults: list[str],
) -> Iterator[Candidate]:
    """All that can work; `faults` gets what is wrong with the others."""
    tensor, context, pipeline = degrees
    data = cluster.devices // (tensor * context * pipeline)
    near = cluster.devices_per_node // (tensor * context)
    shards = {data, near if near >= 1 and data % max(1, near) == 0 else data, 1}
    schedules = choices.schedules if pipeline > 1 else ("1f1b",)
    modes = _MODES if choices.checkpointing is None else (choices.checkpointing,)
    for shard in sorted(shards, reverse=True):
        for schedule in schedules:
            layout = Layout(data // shard, shard, context, tensor, pipeline, schedule)
            share = workload.global_batch_size // data
            sizes = (
                choices.micro_batch_sizes(layout)
                if choices.micro_batch_sizes
                else [size for size in _divisors(share) if size <= _MICRO_BATCHES]
            )
            for mode in modes:
                if mode != "none" and schedule in SPLIT_BACKWARD and pipeline > 1:
                    # Selective cannot be; full computes layers again for each of their matrices.
                    continue
                for size in sizes:
                    if not _works(workload, cluster, choices, layout, size, mode, faults):
                        continue
                    every = choices.every if mode != "none" else 1
                    yield Candidate(layout, size, mode, every, reshard=pipeline == 1)


def _works(
    workload: Workload,
    cluster: Cluster,
    choices: Choices,
    layout: Layout,
    micro_batch_size: int,
    mode: Checkpointing,
    faults: list[str],
) -> bool:
    training = Training(
        model=workload.model,
        vocab_size=workload.vocab_size,
        sequence_length=workload.sequence_length,
        batch_sizes=choices.batch_sizes or (workload.global_batch_size,),
        micro_batch_size=micro_batch_size,
        checkpointing=mode,
        compile=workload.compile,
        checkpointing_every=choices.every,
        precision=workload.precision,
        optimizer=workload.optimizer,
    )
    found = layout_faults(layout, training, Machines(cluster.devices, cluster.devices_per_node))
    faults += found[:1]
    return not found
