"""`tsumugu plan`: arguments in, an answer out."""

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

from tsumugu.questions import Options, Parser, add_json, positive_number

if TYPE_CHECKING:
    from tsumugu.planning.search import Plan
    from tsumugu.planning.targets import Solution

PLAN = """\
What a recipe takes on a cluster, before anybody pays for one: the best layouts, memory per device, time,
price and energy, and why other layouts are not as good. Needs no GPU, no data and a second or two.

CLUSTER is a number and a name, such as 64xA100-80GB or 8xH100, or a YAML file of your own machines
(64xmine.yaml; docs/plan.md has its keys). Without it the recipe's section plan says which.

Two of tokens, money and time give the third: --tokens 300B --deadline 14d says how many devices that takes
(all, a half, a quarter, down to a sixteenth), --budget 10000usd how many tokens it buys."""

EXAMPLES = """\
examples:
  tsumugu plan recipes/japanese-large-lm-1.7b.yaml --cluster 64xA100-80GB
  tsumugu plan recipes/japanese-large-lm-3.6b.yaml --cluster 256xH100 --deadline 7d
  tsumugu plan recipes/tsumugu-1.7b.yaml --cluster 8xH100 --budget 10000usd
  tsumugu plan recipes/tsumugu-1.7b.yaml --cluster 64xH100 --write-layout
  tsumugu plan recipes/tsumugu-1.7b.yaml --cluster 64xH100 --page plan.html"""

_TOP = 8


def add_plan_arguments(parser: Parser) -> None:
    """All but the recipe and its overrides."""
    parser.add_argument("--cluster", metavar="CLUSTER", help="such as 64xA100-80GB; see above")
    parser.add_argument("--usd-per-hour", type=_price, metavar="USD", help="of one device, your own price")
    parser.add_argument("--tokens", metavar="N", help="of the training, such as 300B; default: the recipe's")
    parser.add_argument("--budget", metavar="USD", help="such as 10000usd, or 4000h of one device")
    parser.add_argument(
        "--deadline", metavar="TIME", help="such as 14d or 36h, from the first step to the last"
    )
    parser.add_argument(
        "--runs",
        nargs="+",
        type=Path,
        metavar="RUN",
        help="run folders of small models of yours, to which the estimate of the loss is fitted",
    )
    parser.add_argument(
        "--top", type=positive_number, default=_TOP, metavar="N", help=f"layouts to show; default: {_TOP}"
    )
    parser.add_argument(
        "--page", type=Path, metavar="FILE", help="also write an HTML page, with a map to look at"
    )
    parser.add_argument(
        "--write-layout",
        action="store_true",
        help="put the best layout, micro-batch and checkpointing (of the answer, if one was asked for) into "
        "the recipe; its comments stay",
    )
    add_json(parser)


def answer_plan(options: Options) -> None:
    """Print the plan."""
    from tsumugu.planning.planner import cluster_of, plan
    from tsumugu.planning.scaling import describe_fit, fit_runs
    from tsumugu.planning.showing import plan_json, plan_text
    from tsumugu.planning.targets import Target, parse_budget, parse_hours, parse_tokens, solve
    from tsumugu.recipe import load_recipe
    from tsumugu.terminal import to_json

    recipe = load_recipe(options.recipe, options.overrides)
    tokens = parse_tokens(options.tokens) if options.tokens else None
    found = plan(recipe, cluster_of(recipe, options.cluster, options.usd_per_hour), tokens=tokens)
    usd, device_hours = parse_budget(options.budget) if options.budget else (None, None)
    target = Target(
        tokens=tokens,
        usd=usd,
        device_hours=device_hours,
        hours=parse_hours(options.deadline) if options.deadline else None,
    )
    solution = solve(found, target) if target != Target() else None
    fit = fit_runs(options.runs) if options.runs else None
    if options.json:
        answer = plan_json(found, top=options.top, solution=solution)
        print(to_json(answer if fit is None else {**answer, "fit": fit.to_json()}))
    else:
        print(plan_text(found, top=options.top, solution=solution))
        if fit is not None:
            print("\n" + describe_fit(fit, found.workload))
    if options.page:
        from tsumugu.files import write_text
        from tsumugu.planning.page import plan_page

        write_text(options.page, plan_page(found, recipe.name, solution=solution))
        _say(options, f"\npage     {options.page}")
    if options.write_layout:
        _write_layout(options, found, solution)


def _write_layout(options: Options, found: "Plan", solution: "Solution | None") -> None:
    from tsumugu.errors import TsumuguError
    from tsumugu.planning.writing import write_layout

    if options.overrides:
        raise TsumuguError(
            f"--write-layout writes into {options.recipe}, which does not say {' '.join(options.overrides)}: "
            "the layout may not suit it. Write these keys into the recipe first"
        )
    best = solution.estimate if solution else next(iter(found.fastest), None)
    if best is None:
        raise TsumuguError("nothing works on this cluster, so there is no layout to write")
    write_layout(options.recipe, best.candidate)
    _say(options, f"written  {options.recipe}, for {best.devices:,} devices: {best.candidate.layout}")


def _say(options: Options, text: str) -> None:
    if not options.json:
        print(text)


def _price(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text} is no price; write 2.1")
    return value
