"""Outcomes of a study by setting: means over seeds, intervals, spikes, divergences, and the best."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import mean, stdev
from typing import Any

from tsumugu.model.counts import flops_per_token, muon_flops, parameter_count
from tsumugu.planning.planner import vocab_size
from tsumugu.study.outcomes import MEASURES, Curve, Outcome, curve_of
from tsumugu.study.trials import Trial

_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
"""Student's t, 97.5 %, for 1 to 10 degrees of freedom; more are taken for 10, which is on the safe side."""


@dataclass(frozen=True)
class Figure:
    """A measure of one setting."""

    mean: float
    interval: tuple[float, float] | None
    """95 % by Student's t over seeds; None with fewer than two."""
    by_seed: dict[int, float]


@dataclass(frozen=True)
class Row:
    """One setting."""

    setting: dict[str, str]
    trials: int
    done: int
    diverged: int
    pruned: int
    failed: int
    unfinished: int
    missing: int
    spikes: float | None
    """Per training that was not stopped early."""
    flops: float
    """Of all its trainings: those of the model by the usual formula, and those of Muon's updates."""
    seconds: float
    """The same."""
    measures: dict[str, Figure]
    """Of those that are done, by names of `outcomes.MEASURES`."""


@dataclass(frozen=True)
class Summary:
    """All settings of a study, as they stand in it."""

    rows: tuple[Row, ...]
    best: Row | None
    """Of those all of whose seeds are done, the one with the lowest mean of `judged_by`."""
    undecided: tuple[Row, ...]
    """Settings whose difference to the best, seed by seed, may be none (95 % by Student's t): more seeds
    would be needed to tell them apart. With one seed, all of them."""
    flops: float
    seconds: float
    judged_by: str
    """A name of `outcomes.MEASURES`."""

    @property
    def measures(self) -> list[str]:
        """All that any setting has, in the order of `MEASURES`."""
        return [name for name in MEASURES if any(name in row.measures for row in self.rows)]

    def to_json(self) -> dict[str, Any]:
        """All of it."""
        return asdict(self)


def summarize(
    trials: Sequence[Trial], outcomes: Sequence[Outcome], *, judged_by: str = "bits_per_byte"
) -> Summary:
    """By setting, in their order."""
    groups: dict[tuple[str, ...], list[tuple[Trial, Outcome]]] = {}
    for trial, outcome in zip(trials, outcomes, strict=True):
        groups.setdefault(trial.labels, []).append((trial, outcome))
    rows = tuple(_row(group) for group in groups.values())
    whole = [row for row in rows if row.done == row.trials and judged_by in row.measures]
    best = min(whole, key=lambda row: row.measures[judged_by].mean, default=None)
    undecided = tuple(
        row
        for row in whole
        if best is not None
        and row is not best
        and _may_be_equal(row.measures[judged_by].by_seed, best.measures[judged_by].by_seed)
    )
    flops, seconds = sum(row.flops for row in rows), sum(row.seconds for row in rows)
    return Summary(rows, best, undecided, flops, seconds, judged_by)


def mean_curve(trials: Sequence[Trial]) -> Curve:
    """The mean over seeds, as far as all of them got."""
    return mean_of([curve_of(trial) for trial in trials])


def mean_of(curves: Sequence[Curve]) -> Curve:
    """After the steps at which all of them were measured: a loss that was no number is missing. Empty ones
    do not count."""
    found = [
        dict(zip(curve.steps, zip(curve.tokens, curve.bits_per_byte, strict=True), strict=True))
        for curve in curves
        if curve.steps
    ]
    steps = [step for step in found[0] if all(step in one for one in found)] if found else []
    return Curve(
        steps=tuple(steps),
        tokens=tuple(round(mean(one[step][0] for one in found)) for step in steps),
        bits_per_byte=tuple(mean(one[step][1] for one in found) for step in steps),
    )


def _row(group: Sequence[tuple[Trial, Outcome]]) -> Row:
    found = [outcome for _, outcome in group]
    counts = {status: sum(one.status == status for one in found) for status in _STATUSES}
    measured = [(trial.seed, one.all_measures) for trial, one in group if one.status == "done"]
    figures = {}
    for name in MEASURES:
        by_seed = {seed: values[name] for seed, values in measured if name in values}
        if by_seed:
            figures[name] = Figure(mean(by_seed.values()), interval(list(by_seed.values())), by_seed)
    spikes = [one.spikes for one in found if one.spikes is not None and one.status in ("done", "diverged")]
    return Row(
        setting=group[0][0].setting,
        trials=len(group),
        spikes=mean(spikes) if spikes else None,
        flops=sum(_flops(trial, one) for trial, one in group),
        seconds=sum(one.seconds for one in found),
        measures=figures,
        **counts,
    )


_STATUSES = ("done", "diverged", "pruned", "failed", "unfinished", "missing")


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % of the mean, by Student's t; None for fewer than two values."""
    if len(values) < 2:
        return None
    half = _T95[min(len(values) - 1, len(_T95)) - 1] * stdev(values) / len(values) ** 0.5
    return mean(values) - half, mean(values) + half


def _may_be_equal(values: dict[int, float], best: dict[int, float]) -> bool:
    # The same seed draws the same weights and order, so differences vary less than values.
    differences = [values[seed] - best[seed] for seed in best if seed in values]
    found = interval(differences)
    return found is None or found[0] <= 0


def _flops(trial: Trial, outcome: Outcome) -> float:
    model, settings = trial.recipe.model, trial.recipe.pretrain
    found = outcome.read_tokens * flops_per_token(model, vocabulary(trial), settings.sequence_length)
    if trial.stage == "pretrain" and settings.optimizer.name == "muon":
        found += outcome.steps * muon_flops(model, settings.optimizer.muon_ns_steps)
    return found


def parameters(trial: Trial) -> int:
    """Of a trial's model."""
    return parameter_count(trial.recipe.model, vocabulary(trial))


def vocabulary(trial: Trial) -> int:
    """Pieces of a trial's tokenizer, which may be one that is not trained yet."""
    return vocab_size(trial.recipe if trial.tokenizer is None else trial.tokenizer.recipe)
