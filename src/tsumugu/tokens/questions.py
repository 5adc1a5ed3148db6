"""The questions of `tsumugu tokens verify | export | show`."""

from pathlib import Path

from tsumugu.questions import Options, Parser, Question, add_json, add_run, print_answer

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


def _verify(options: Options) -> None:
    from tsumugu.tokens.shards import verify

    shards = verify(options.run / "tokens").shards
    documents, tokens = (sum(getattr(facts, name) for facts in shards) for name in ("documents", "tokens"))
    print(f"{len(shards)} shards are whole: {documents:,} documents, {tokens:,} tokens")


def _export_arguments(parser: Parser) -> None:
    add_run(parser)
    parser.add_argument("folder", type=Path, metavar="DIR", help="where the pairs go")
    parser.add_argument("--split", choices=("train", "validation"), help="default: both")


def _export(options: Options) -> None:
    from tsumugu.tokens.megatron import export

    for prefix, stream in export(options.run / "tokens", options.folder, split=options.split):
        print(f"{prefix}.bin, .idx: {stream.documents:,} documents, {stream.tokens:,} tokens")


def _show_arguments(parser: Parser) -> None:
    add_run(parser)
    parser.add_argument(
        "--batch",
        "--step",
        type=int,
        required=True,
        metavar="K",
        help='training step K, counted from 1: the row with "step": K in metrics.jsonl',
    )
    parser.add_argument("--row", type=int, metavar="R", help="one row of the batch, from 0, with whole texts")
    add_json(parser)


def _show(options: Options) -> None:
    from tsumugu.tokens.showing import render, show

    shown = show(options.run, options.batch, row=options.row)
    print_answer(options, shown, render(shown, run=str(options.run), whole=options.row is not None))


QUESTIONS = {
    "verify": Question(_VERIFY, ("runs/demo",), add_run, _verify),
    "export": Question(_EXPORT, ("runs/demo exported --split train",), _export_arguments, _export),
    "show": Question(_SHOW, ("runs/demo --batch 120 --row 3",), _show_arguments, _show),
}
