"""The question of `tsumugu evaluate compare`."""

from pathlib import Path

from tsumugu.questions import Options, Parser, Question, add_json, print_answer

_COMPARE = """\
Puts evaluated models into one table: every task with its standard error, bits per byte of every text,
what others published for japanese-large-lm, rinna and OpenCALM, and what chance and the most frequent
class give. Below it every model is tested against the first, item by item.

DIR is a folder with results.json, as `tsumugu evaluate model` leaves it, or a run folder.

With --output it also writes comparison.md, comparison.json and comparison.html."""


def _arguments(parser: Parser) -> None:
    import argparse

    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="the first is the one to beat")
    parser.add_argument(
        "--published",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="show what others published (default: yes)",
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="write the three files here")
    add_json(parser)


def _answer(options: Options) -> None:
    from tsumugu.evaluation.comparison.compare import compare
    from tsumugu.evaluation.comparison.reading import open_results
    from tsumugu.evaluation.comparison.views import render, write_comparison

    comparison = compare(
        [open_results(folder) for folder in options.folders], with_published=options.published
    )
    if options.output is not None:
        write_comparison(options.output, comparison)
    print_answer(options, comparison, render(comparison))


COMPARE = Question(
    _COMPARE,
    (
        "results/a results/b",
        "runs/demo results/line-1.7b results/rinna-3.6b --output comparison",
        "runs/demo --no-published --json",
    ),
    _arguments,
    _answer,
)
