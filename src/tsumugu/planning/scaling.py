"""The loss to expect of a model of N parameters after D tokens: L = E + A / N^alpha + B / D^beta.

The law and how it is fitted are Hoffmann et al.'s (Training Compute-Optimal Large Language Models,
arXiv 2203.15556, 2022, approach 3): Huber's loss on the difference of logarithms, from a grid of starts. Two
fits are published, both to Chinchilla's runs; a fit to runs of your own is what counts for your text.

A loss is in nats per token, so it depends on the tokenizer as much as on the text: a tokenizer of longer
tokens has fewer of them and a higher loss on each. Published constants therefore say which size and length
is better, not which loss a Japanese model will have.
"""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsumugu.errors import TsumuguError
from tsumugu.model.counts import parameter_count
from tsumugu.planning.minimizing import STEEPEST, Points, minimize
from tsumugu.planning.own_runs import Run, read_runs
from tsumugu.planning.workload import Workload

Floats = NDArray[np.float64]

LEAST_RUNS = 6
"""One more than there are constants."""
_RESAMPLES = 200
_LEAST_RESAMPLES = 50
_FIRST_STEPS, _LAST_STEPS, _KEPT = 25, 400, 4
"""Of the search for a minimum: steps from every start, and from the best few."""
_FLOPS_PER_PARAMETER = 6
"""Of a token, forward and backward: C = 6 N D (Hoffmann et al. 2022; Kaplan et al. 2020)."""


@dataclass(frozen=True)
class Law:
    """The five constants. N counts all parameters, D the tokens that were trained on, repeated ones too."""

    e: float
    """Nats per token that no model of this kind gets below."""
    a: float
    b: float
    alpha: float
    beta: float

    def loss(self, parameters: float, tokens: float) -> float:
        """Nats per token."""
        return self.e + self.a / math.pow(parameters, self.alpha) + self.b / math.pow(tokens, self.beta)

    def best(self, flops: float) -> tuple[float, float]:
        """Parameters and tokens whose loss is lowest among those that take `flops` = 6 N D.

        N = G (C / 6)^(beta / (alpha + beta)), with G = (alpha A / (beta B))^(1 / (alpha + beta)) (Hoffmann et
        al. 2022, equation 4).
        """
        product = flops / _FLOPS_PER_PARAMETER
        powers = self.alpha + self.beta
        balance = (self.alpha * self.a / (self.beta * self.b)) ** (1 / powers)
        parameters = balance * product ** (self.beta / powers)
        return parameters, product / parameters


HOFFMANN = Law(e=1.69, a=406.4, b=410.7, alpha=0.34, beta=0.28)
"""Hoffmann et al. 2022, equation 10, rounded as printed. Their other two approaches find other optima."""
BESIROGLU = Law(e=1.8172, a=482.01, b=2085.43, alpha=0.3478, beta=0.3658)
"""Besiroglu et al., Chinchilla Scaling: A replication attempt (arXiv 2404.10102, 2024): the same runs, read
off the figures, fitted until the optimizer converged; consistent with Hoffmann et al.'s other approaches."""


@dataclass(frozen=True)
class Interval:
    """Where 95 % of the fits to resampled runs lie."""

    low: float
    high: float


@dataclass(frozen=True)
class Fit:
    """A law that was fitted to runs."""

    law: Law
    intervals: dict[str, Interval] | None
    """Of every constant, by the bootstrap over runs; None if too few draws had enough different runs."""
    resampled: tuple[Law, ...]
    """The fits behind the intervals."""
    runs: tuple[Run, ...]
    error: float
    """The median relative error of the fitted losses."""

    def loss(self, parameters: float, tokens: float) -> tuple[float, Interval | None]:
        """Nats per token of the runs' tokenizer, and 95 % of the fits to resampled runs."""
        found = self.law.loss(parameters, tokens)
        return found, _interval([law.loss(parameters, tokens) for law in self.resampled])

    def reach(self, parameters: float, tokens: float) -> float:
        """How many times the largest run's computation (N D) these take: how far the law is stretched."""
        return parameters * tokens / max(run.parameters * run.tokens for run in self.runs)

    def to_json(self) -> dict[str, Any]:
        """All but the resampled fits."""
        return {
            "law": asdict(self.law),
            "intervals": self.intervals and {name: asdict(each) for name, each in self.intervals.items()},
            "median_relative_error": self.error,
            "runs": [{**asdict(run), "folder": str(run.folder)} for run in self.runs],
        }


def published_loss(parameters: float, tokens: float) -> float:
    """Nats per token of Chinchilla's tokenizer on its English text (`BESIROGLU`)."""
    return BESIROGLU.loss(parameters, tokens)


def within_range(parameters: float, tokens: float) -> bool:
    """Whether `published_loss` is worth saying: Hoffmann et al.'s runs had 44 million to 16 billion
    parameters and 5 to 500 billion tokens; a tenth of that, or ten times it, is as far as a power law is
    stretched here."""
    return 4.4e6 <= parameters <= 160e9 and 0.5e9 <= tokens <= 5e12


def fit_runs(folders: Sequence[Path], *, seed: int = 0) -> Fit:
    """The law of the runs in these folders.

    Args:
        folders: of finished pre-trainings, with the same text and tokenizer, of different sizes and lengths.
            Each gives one point, its last loss: on the way there the learning rate was still high, and losses
            with it.
        seed: of the bootstrap.

    Raises:
        TsumuguError: a folder has no finished pre-training, the losses of two cannot be compared, the runs
            cannot tell the constants apart, or follow no such law.
    """
    return fit(read_runs(folders), seed=seed)


def fit(runs: Sequence[Run], *, seed: int = 0) -> Fit:
    """The same, of runs that are read already."""
    _check(runs)
    law = _law(_best(_points(runs), _starts(), np.ones((1, len(runs))), tried=300)[0])
    for name, exponent in (("size", law.alpha), ("tokens", law.beta)):
        if not 0 < exponent < STEEPEST:
            raise TsumuguError(
                f"the losses of these runs do not fall with {name} as a power of it: the best exponent is "
                f"{exponent:g}. Look at the losses; runs that diverged or stopped early do not belong here"
            )
    resampled = _resampled(runs, law, seed)
    constants = [asdict(each) for each in resampled]
    intervals = {name: _interval([each[name] for each in constants]) for name in asdict(law)}
    errors = [abs(law.loss(run.parameters, run.tokens) / run.loss - 1) for run in runs]
    return Fit(
        law,
        {name: each for name, each in intervals.items() if each is not None} or None,
        resampled,
        tuple(runs),
        float(np.median(errors)),
    )


def _resampled(runs: Sequence[Run], law: Law, seed: int) -> tuple[Law, ...]:
    """The bootstrap: laws of as many runs, drawn with replacement; none if few draws suffice."""
    draw = np.random.default_rng(seed)
    draws = draw.integers(len(runs), size=(_RESAMPLES, len(runs)))
    draws = np.array([chosen for chosen in draws if not _faults([runs[index] for index in chosen])])
    if len(draws) < _LEAST_RESAMPLES:
        return ()
    weights = np.stack([(draws == index).sum(axis=1) for index in range(len(runs))], axis=1)
    # The fit to all runs is near the best of most draws; a coarse grid finds that of the others.
    near = np.array([[math.log(law.a), math.log(law.b), math.log(law.e), law.alpha, law.beta]])
    starts = np.concatenate([near, _starts(coarse=True)])
    found = _best(_points(runs), starts, weights.astype(np.float64), tried=8)
    return tuple(_law(each) for each in found)


def _best(points: Points, starts: Floats, weights: Floats, *, tried: int) -> Floats:
    """The best constants from the `tried` best starts, for every row of weights: `[rows, 5]`."""
    rows = len(weights)
    found = np.tile(starts, (rows, 1, 1))
    # Only what is good after a few steps is worth more of them.
    for steps, kept in ((0, tried), (_FIRST_STEPS, _KEPT), (_LAST_STEPS, 1)):
        each = np.repeat(weights, found.shape[1], axis=0)
        ends, values = minimize(points, found.reshape(-1, 5), each, iterations=steps)
        order = np.argsort(values.reshape(rows, -1), axis=1)[:, :kept]
        found = np.take_along_axis(ends.reshape(rows, -1, 5), order[:, :, None], axis=1)
    return found[:, 0]


def describe_fit(fit: Fit, workload: Workload) -> str:
    """A fit in words, for a terminal, and what it says about a workload."""
    parameters, tokens = parameter_count(workload.model, workload.vocab_size), workload.tokens
    law, (loss, interval) = fit.law, fit.loss(parameters, tokens)
    best, best_tokens = law.best(_FLOPS_PER_PARAMETER * parameters * tokens)
    lines = [
        f"Fit to {len(fit.runs)} runs of yours: "
        f"L = {law.e:.3f} + {law.a:.4g} / N^{law.alpha:.3f} + {law.b:.4g} / D^{law.beta:.3f}; median error "
        f"{fit.error:.2%}"
    ]
    if fit.intervals is None:
        lines.append("  too few different runs for intervals; more sizes and lengths would give them")
    else:
        of = fit.intervals
        lines.append(
            "  95 % of resampled fits: "
            + ", ".join(f"{name} {of[name].low:.3g} to {of[name].high:.3g}" for name in of)
        )
    sure = f" ({interval.low:.3f} to {interval.high:.3f})" if interval else ""
    lines += [
        f"  this model: loss {loss:.3f}{sure} nats per token, if text and tokenizer are those of the runs; a "
        f"loss per token of another tokenizer is another number",
        f"  the same computation would do best with {best:,.0f} parameters and {best_tokens:,.0f} tokens",
    ]
    reach = fit.reach(parameters, tokens)
    if reach > 10:
        lines.append(
            f"  this is {reach:,.0f} times the computation of the largest run: the law is stretched that "
            f"far, and the interval does not tell whether it holds there"
        )
    return "\n".join(lines)


def _starts(*, coarse: bool = False) -> Floats:
    """Hoffmann et al.'s grid of first values, `[starts, (log A, log B, log E, alpha, beta)]`; theirs reaches
    from 0 to 2 for the exponents, and from 0 to 25 and -1 to 1 for the logarithms of A and B, and of E."""
    axes: list[tuple[float, ...]] = [
        (0.0, 5.0, 10.0, 15.0, 20.0, 25.0),
        (0.0, 5.0, 10.0, 15.0, 20.0, 25.0),
        (-1.0, -0.5, 0.0, 0.5, 1.0),
        (0.0, 0.5, 1.0, 1.5, 2.0),
        (0.0, 0.5, 1.0, 1.5, 2.0),
    ]
    if coarse:
        axes = [(5.0, 10.0), (5.0, 10.0), (0.0, 0.75), (0.25, 0.5), (0.25, 0.5)]
    return np.stack([each.ravel() for each in np.meshgrid(*axes, indexing="ij")], axis=1)


def _points(runs: Sequence[Run]) -> Points:
    return Points(
        np.log([run.parameters for run in runs]),
        np.log([run.tokens for run in runs]),
        np.log([run.loss for run in runs]),
    )


def _law(found: Floats) -> Law:
    log_a, log_b, log_e, alpha, beta = map(float, found)
    return Law(math.exp(log_e), math.exp(log_a), math.exp(log_b), alpha, beta)


def _check(runs: Sequence[Run]) -> None:
    faults = _faults(runs)
    if faults:
        lines = "\n".join(f"  - {fault}" for fault in faults)
        raise TsumuguError(
            f"{len(runs)} runs cannot tell the five constants of L = E + A / N^alpha + B / D^beta apart:\n"
            f"{lines}\nTrain small models of three or more sizes, each for three or more numbers of tokens"
        )


def _faults(runs: Sequence[Run]) -> list[str]:
    different = len({(run.parameters, run.tokens) for run in runs})
    sizes, lengths = len({run.parameters for run in runs}), len({run.tokens for run in runs})
    faults = []
    if different < LEAST_RUNS:
        faults.append(f"{different} different pairs of size and tokens; it takes {LEAST_RUNS}")
    if sizes < 3:
        faults.append(f"{sizes} different numbers of parameters; a curve through E takes 3")
    if lengths < 3:
        faults.append(f"{lengths} different numbers of tokens; a curve through E takes 3")
    return faults


def _interval(values: Sequence[float]) -> Interval | None:
    if not values:
        return None
    low, high = np.quantile(values, [0.025, 0.975])
    return Interval(float(low), float(high))
