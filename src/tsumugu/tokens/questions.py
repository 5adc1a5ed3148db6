"""The command line of `tsumugu tokens verify | export | show`: words in, an answer printed.

They stand beside `tsumugu tokens RECIPE`, so the first word after `tokens` decides; a recipe in a
file of that name is `./verify`. What reads data is imported when it is needed.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

_VERIFY = """\
Reads every byte of a run's token shards and compares checksums, sizes and ids with tokens/index.json.
A shard that is missing, truncated or changed is named, and the exit status is 1."""

_EXPORT = """\
Writes a run's token shards as indexed datasets of Megatron-LM: DIR/SPLIT-NUMBER-SOURCE.bin and .idx,
a pair for each split and source, one sequence for each document, its begin and end tokens included."""

_SHOW = """\
Prints what the model reads in one training step, decoded, with source, shard and document of every part.

Batch K is the batch of training step K: the row with "step": K in pretrain/metrics.jsonl. Steps count
from 1. So if the loss jumps at step 4711, ask for --batch 4711 (--step is the same). It works on runs that
are finished, under way or stopped, from recipe.yaml and tokens/ alone. Characters that could command the
terminal are written as their code points."""


@dataclass(frozen=True)
class _Question:
    text: str
    example: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    """Those after RUN."""
    answer: Callable[[argparse.Namespace], None]


def is_question(words: Sequence[str]) -> bool:
    """Whether the command line asks about finished token shards."""
    return len(words) > 1 and words[0] == "tokens" and words[1] in _QUESTIONS


def parse_question(words: Sequence[str]) -> argparse.Namespace:
    """Understand the command line after `tsumugu`; end the program if it cannot be understood."""
    question = _QUESTIONS[words[1]]
    parser = argparse.ArgumentParser(
        prog=f"tsumugu tokens {words[1]}",
        description=question.text,
        epilog=f"example:\n  tsumugu tokens {words[1]} {question.example}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, for example runs/demo")
    question.add_arguments(parser)
    parser.set_defaults(answer=question.answer)
    return parser.parse_args(words[2:])


def ask(options: argparse.Namespace) -> None:
    """Answer a question that `parse_question` understood, on standard output."""
    options.answer(options)


def _verify(options: argparse.Namespace) -> None:
    from tsumugu.tokens.shards import verify

    shards = verify(options.run / "tokens").shards
    documents, tokens = (sum(getattr(facts, name) for facts in shards) for name in ("documents", "tokens"))
    print(f"{len(shards)} shards are whole: {documents:,} documents, {tokens:,} tokens")


def _export_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the pairs go")
    parser.add_argument("--split", choices=("train", "validation"), help="default: both")


def _export(options: argparse.Namespace) -> None:
    from tsumugu.tokens.megatron import export

    for prefix, stream in export(options.run / "tokens", options.folder, split=options.split):
        print(f"{prefix}.bin, .idx: {stream.documents:,} documents, {stream.tokens:,} tokens")


def _show_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--batch",
        "--step",
        type=int,
        required=True,
        metavar="K",
        help='training step K, counted from 1: the row with "step": K in metrics.jsonl',
    )
    parser.add_argument("--row", type=int, metavar="R", help="one row of the batch, from 0, with whole texts")
    parser.add_argument("--json", action="store_true", help="everything, whole texts included, as JSON")


def _show(options: argparse.Namespace) -> None:
    from tsumugu.terminal import to_json
    from tsumugu.tokens.showing import render, show

    shown = show(options.run, options.batch, row=options.row)
    if options.json:
        print(to_json(shown.to_json()))
    else:
        print(render(shown, run=str(options.run), whole=options.row is not None))


_QUESTIONS = {
    "verify": _Question(_VERIFY, "runs/demo", lambda parser: None, _verify),
    "export": _Question(_EXPORT, "runs/demo exported --split train", _export_arguments, _export),
    "show": _Question(_SHOW, "runs/demo --batch 120 --row 3", _show_arguments, _show),
}
