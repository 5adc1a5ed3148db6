"""Tokens, money and time: two of them say the third.

Speeds come from a plan, which knows them for all of the cluster's devices and for a half, a quarter and so
on.
"""

import math
import re
from dataclasses import dataclass

from tsumugu.errors import TsumuguError
from tsumugu.planning.search import Estimate, Plan, with_steps

_UNITS = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "t": 1e12}
_HOURS = {"h": 1.0, "d": 24.0, "w": 168.0}


@dataclass(frozen=True)
class Target:
    """What is given. None is what is asked for."""

    tokens: float | None = None
    usd: float | None = None
    hours: float | None = None


@dataclass(frozen=True)
class Solution:
    """A number of devices, a way to use them, and what comes of it."""

    estimate: Estimate
    tokens: float
    steps: int


def parse_tokens(text: str) -> float:
    """`300B`, `1.4T`, `200_000_000`: a number of tokens.

    Raises:
        TsumuguError: it is none.
    """
    found = re.fullmatch(r"([0-9][0-9_]*(?:\.[0-9]+)?(?:e[0-9]+)?) ?([kmbt]?)", text.strip().lower())
    if not found or not float(found[1].replace("_", "")):
        raise TsumuguError(f"{text!r} is no number of tokens; write 300B, 1.4T or 200_000_000")
    return float(found[1].replace("_", "")) * _UNITS[found[2]]


def parse_usd(text: str) -> float:
    """`10000usd`, `$10,000`, `10k`: an amount of US dollars.

    Raises:
        TsumuguError: it is none.
    """
    plain = text.strip().lower().replace(",", "").replace("_", "")
    found = re.fullmatch(r"\$?([0-9]+(?:\.[0-9]+)?)([km]?) ?(?:usd|dollars?)?", plain)
    if not found or not float(found[1]):
        raise TsumuguError(f"{text!r} is no amount; write 10000usd or 10k")
    return float(found[1]) * _UNITS[found[2]]


def parse_hours(text: str) -> float:
    """`14d`, `36h`, `2w`, in hours.

    Raises:
        TsumuguError: it is no time.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(h|d|w)[a-z]*", text.strip().lower())
    if not found or not float(found[1]):
        raise TsumuguError(f"{text!r} is no time; write 36h, 14d or 2w")
    return float(found[1]) * _HOURS[found[2]]


def solve(plan: Plan, target: Target) -> Solution:
    """The rest of `target`.

    With tokens alone, or with nothing, it is what they take on all devices. With tokens and money, the most
    devices that the money pays for; with tokens and a time, the fewest that make it; with money or a time or
    both, the most tokens.

    Raises:
        TsumuguError: it cannot be done, or prices are not known.
    """
    options = plan.cheapest
    if not options:
        raise TsumuguError("no layout fits, so there is no speed to reckon with")
    if target.usd is not None and options[0].usd is None:
        raise TsumuguError("a budget needs a price: give --usd-per-hour, or usd_per_hour in the cluster file")
    if target.tokens is None and (target.usd is not None or target.hours is not None):
        found = max((_most(plan, option, target) for option in options), key=lambda one: one.tokens)
        if found.steps < 1:
            raise TsumuguError("that does not pay for a single step")
        return found
    tokens = target.tokens or plan.workload.tokens
    solutions = sorted(
        (_for_tokens(plan, option, tokens) for option in options), key=lambda s: s.estimate.hours
    )
    if target.usd is not None:
        limit = target.usd
        affordable = [s for s in solutions if s.estimate.usd is not None and s.estimate.usd <= limit]
        if not affordable:
            cheapest = min(s.estimate.usd or math.inf for s in solutions)
            raise TsumuguError(
                f"{tokens:.3g} tokens cost at least {cheapest:,.0f} USD; the budget is {limit:,.0f}"
            )
        solutions = affordable
    if target.hours is not None:
        in_time = [s for s in solutions if s.estimate.hours <= target.hours]
        if not in_time:
            raise TsumuguError(
                f"{tokens:.3g} tokens take at least {solutions[0].estimate.hours:,.1f} hours"
                f"{' within that budget' if target.usd is not None else ''}; the deadline is after "
                f"{target.hours:,.1f}. More devices, fewer tokens, or another model"
            )
        return min(in_time, key=lambda s: s.estimate.devices)
    return solutions[0]


def _for_tokens(plan: Plan, option: Estimate, tokens: float) -> Solution:
    steps = max(1, round(tokens / plan.workload.tokens_per_step))
    return Solution(with_steps(option, steps, plan.workload.steps), tokens, steps)


def _most(plan: Plan, option: Estimate, target: Target) -> Solution:
    hours = target.hours if target.hours is not None else math.inf
    if target.usd is not None:
        assert plan.cluster.usd_per_hour is not None
        hours = min(hours, target.usd / (option.devices * plan.cluster.usd_per_hour))
    steps = int(hours * 3600 / option.time.seconds)
    return Solution(
        with_steps(option, steps, plan.workload.steps), float(steps * plan.workload.tokens_per_step), steps
    )
