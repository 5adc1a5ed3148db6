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
    device_hours: float | None = None
    """A budget too: what is paid for, whatever it costs."""
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
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?(?:e[0-9]+)?) ?([kmbt]?)", _plain(text))
    if not found or not float(found[1]):
        raise TsumuguError(f"{text!r} is no number of tokens; write 300B, 1.4T or 200_000_000")
    return float(found[1]) * _UNITS[found[2]]


def parse_budget(text: str) -> tuple[float | None, float | None]:
    """`10000usd`, `$10,000`, `10k`: US dollars; `4000h`: hours of one device. One of the two is None.

    Raises:
        TsumuguError: it is neither.
    """
    if text.strip().lower().endswith("h"):
        return None, parse_hours(text)
    return _parse_usd(text), None


def _parse_usd(text: str) -> float:
    found = re.fullmatch(r"\$?([0-9]+(?:\.[0-9]+)?)([km]?) ?(?:usd|dollars?)?", _plain(text))
    if not found or not float(found[1]):
        raise TsumuguError(f"{text!r} is no budget; write 10000usd, 10k, or 4000h of one device")
    return float(found[1]) * _UNITS[found[2]]


def parse_hours(text: str) -> float:
    """`14d`, `36h`, `2w`, in hours.

    Raises:
        TsumuguError: it is no time.
    """
    found = re.fullmatch(r"([0-9]+(?:\.[0-9]+)?) ?(?:(h)(?:ours?)?|(d)(?:ays?)?|(w)(?:eeks?)?)", _plain(text))
    if not found or not float(found[1]):
        raise TsumuguError(f"{text!r} is no time; write 36h, 14d or 2w")
    return float(found[1]) * _HOURS[found[2] or found[3] or found[4]]


def _plain(text: str) -> str:
    """Without what only helps to read."""
    return text.strip().lower().replace(",", "").replace("_", "")


def solve(plan: Plan, target: Target) -> Solution:
    """The rest of `target`.

    With tokens alone, or with nothing, it is what they take on all devices. With tokens and a budget, the
    fastest that it pays for; with tokens and a time, the fewest devices that make it; with a budget or a time
    or both, the most tokens.

    Raises:
        TsumuguError: it cannot be done, or prices are not known.
    """
    options = plan.cheapest
    if not options:
        raise TsumuguError("no layout fits, so there is no speed to reckon with")
    budget = _device_hours(plan, target)
    if target.tokens is None and (budget < math.inf or target.hours is not None):
        found = max((_most(plan, option, budget, target) for option in options), key=lambda one: one.tokens)
        if found.steps < 1:
            raise TsumuguError("that does not pay for a single step")
        return found
    tokens = target.tokens or plan.workload.tokens
    solutions = [_for_tokens(plan, option, tokens) for option in options]
    solutions.sort(key=lambda solution: solution.estimate.hours)
    affordable = [one for one in solutions if one.estimate.hours * one.estimate.devices <= budget]
    if not affordable:
        least = min(one.estimate.hours * one.estimate.devices for one in solutions)
        price = plan.cluster.usd_per_hour
        words = "" if price is None else f", or {least * price:,.0f} USD"
        raise TsumuguError(
            f"{tokens:.3g} tokens cost at least {least:,.0f} device hours{words}; the budget is "
            f"{budget:,.0f} device hours"
        )
    if target.hours is None:
        return affordable[0]
    in_time = [one for one in affordable if one.estimate.hours <= target.hours]
    if not in_time:
        raise TsumuguError(
            f"{tokens:.3g} tokens take at least {affordable[0].estimate.hours:,.1f} hours"
            f"{' within that budget' if budget < math.inf else ''}; the deadline is after "
            f"{target.hours:,.1f}. More devices, fewer tokens, or another model"
        )
    return min(in_time, key=lambda one: one.estimate.devices)


def _device_hours(plan: Plan, target: Target) -> float:
    """What is paid for; infinite without a budget."""
    if target.device_hours is not None:
        return target.device_hours
    if target.usd is None:
        return math.inf
    if plan.cluster.usd_per_hour is None:
        raise TsumuguError("a budget needs a price: give --usd-per-hour, or usd_per_hour in the cluster file")
    return target.usd / plan.cluster.usd_per_hour


def _for_tokens(plan: Plan, option: Estimate, tokens: float) -> Solution:
    steps = max(1, round(tokens / plan.workload.tokens_per_step))
    return Solution(with_steps(option, steps, plan.workload.whole_steps), tokens, steps)


def _most(plan: Plan, option: Estimate, budget: float, target: Target) -> Solution:
    hours = min(math.inf if target.hours is None else target.hours, budget / option.devices)
    steps = int(hours * 3600 / option.time.seconds)
    return Solution(
        with_steps(option, steps, plan.workload.whole_steps),
        float(steps * plan.workload.tokens_per_step),
        steps,
    )
