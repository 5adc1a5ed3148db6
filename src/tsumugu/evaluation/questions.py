"""The questions of `tsumugu evaluate model | compare | tasks`."""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tsumugu.evaluation.comparison.question import COMPARE
from tsumugu.questions import Options, Parser, Question, add_json

if TYPE_CHECKING:
    from tsumugu.evaluation.tasks.groups import TaskChoice
    from tsumugu.evaluation.texts import Texts

_MODEL = """\
Measures models on texts and tasks, side by side.

MODEL is a run folder (its newest checkpoint), a checkpoint of a run (.../checkpoints/step-N), a Hugging
Face directory, or the name of a model on the Hugging Face hub. One model is in memory at a time.

Texts (--text) give perplexity per token, character and byte, and bits per byte, by source, with standard
errors over documents. Models with different tokenizers are compared by bits per byte: the bytes are those
of the text as it was given. A document's `source` in JSON Lines or Parquet is its source, else its file.
With several models, the difference of each to the first one comes with a paired bootstrap interval.

Tasks and groups of tasks (--tasks) go through lm-evaluation-harness; tsumugu evaluate tasks lists them.
Their data come from the folder that --data or TSUMUGU_DATA names, or else from the Hugging Face hub.
The group line-2023 has a text as well: the first 1,000 documents of Japanese C4's validation split.

Results are written into a folder for each model, DIR/MODEL: results.json, documents/TEXT.jsonl,
items/TASK.jsonl. What is there for the same model, text and settings is not computed again.

On several devices torchrun starts it, and documents and questions are shared among the processes:
  torchrun --standalone --nproc-per-node 8 -m tsumugu evaluate model MODEL --text FILE"""


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value


def _count(text: str) -> int:
    value = int(text)
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a number of examples")
    return value


def _model_arguments(parser: Parser) -> None:
    parser.add_argument("models", nargs="+", metavar="MODEL", help="see above")
    texts = parser.add_argument_group("texts")
    texts.add_argument(
        "--text",
        action="append",
        default=[],
        metavar="[NAME=]PLACE",
        help="JSON Lines, Parquet or plain text (.gz, .zst, ... too), a folder or a glob of such, a URL of "
        "one, hf://datasets/OWNER/NAME, or a run folder, for its held-out documents; --text may be repeated",
    )
    texts.add_argument("--text-key", default="text", metavar="KEY", help="key or column of the text")
    texts.add_argument("--subset", metavar="NAME", help="of a Hugging Face dataset, such as ja")
    texts.add_argument("--split", default="train", metavar="NAME", help="of a dataset (default: train)")
    texts.add_argument(
        "--context",
        type=_positive,
        metavar="N",
        help="tokens seen at once (default: all that a model can see)",
    )
    texts.add_argument(
        "--stride",
        type=_positive,
        metavar="N",
        help="tokens by which windows over long texts move on, at most half of the context (the default)",
    )
    tasks = parser.add_argument_group("tasks")
    tasks.add_argument("--tasks", nargs="+", action="extend", default=[], metavar="NAME")
    tasks.add_argument(
        "--num-fewshot", type=_count, metavar="N", help="examples before a question (default: the task's own)"
    )
    tasks.add_argument("--data", type=Path, metavar="DIR", help="where the data of tasks lie")
    tasks.add_argument(
        "--add-bos",
        action=argparse.BooleanOptionalAction,
        help="whether prompts begin with <s> (default: what the model is used to)",
    )
    parser.add_argument(
        "--output",
        type=Path,
        default=Path("evaluations"),
        metavar="DIR",
        help="where results go (default: evaluations)",
    )
    parser.add_argument(
        "--batch-size", type=_positive, default=16, metavar="N", help="rows in one forward pass (default: 16)"
    )
    parser.add_argument(
        "--limit", type=_positive, metavar="N", help="the first N documents of a text, questions of a task"
    )
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="run the code that a model directory brings along"
    )
    add_json(parser)


def _model(options: Options) -> None:
    from tsumugu.errors import TsumuguError
    from tsumugu.evaluation.assess import Settings, assess
    from tsumugu.evaluation.showing import render
    from tsumugu.evaluation.texts import parse_places, read_texts
    from tsumugu.pipeline import say_on_stderr
    from tsumugu.questions import print_answer
    from tsumugu.training.processes import process_group, this_process

    if not options.text and not options.tasks:
        raise TsumuguError(
            "there is nothing to measure. Name a text (--text pages.jsonl; --text runs/demo for the held-out "
            "documents of a run) or tasks (--tasks kotowari)"
        )
    places = parse_places(options.text)
    texts = [
        read_texts(
            place,
            text_key=options.text_key,
            subset=options.subset,
            split=options.split,
            limit=options.limit,
        )
        for place in places
    ]
    texts += _texts_of_groups(options, {place.name for place in places})
    settings = Settings(
        batch_size=options.batch_size,
        context=options.context,
        stride=options.stride,
        data=options.data,
        add_bos=options.add_bos,
        trust_remote_code=options.trust_remote_code,
    )
    process = this_process()
    with process_group(process):
        answer = assess(
            options.models,
            texts,
            _choices(options),
            output=options.output,
            settings=settings,
            say=say_on_stderr,
        )
    if answer is not None:
        print_answer(options, answer, render(answer))


def _texts_of_groups(options: Options, named: set[str]) -> "list[Texts]":
    """What a group of tasks wants to be predicted, unless a `--text` of that name is given."""
    from tsumugu.evaluation.tasks.groups import group_texts
    from tsumugu.evaluation.texts import read_group_text

    return [
        read_group_text(text, data=options.data, limit=options.limit)
        for text in group_texts(options.tasks)
        if text.name not in named
    ]


def _list_tasks(options: Options) -> None:
    from tsumugu.evaluation.tasks.listing import list_tasks, render
    from tsumugu.questions import print_answer

    listing = list_tasks()
    print_answer(options, listing, render(listing))


def _choices(options: Options) -> "list[TaskChoice]":
    from tsumugu.evaluation.tasks.groups import resolve_tasks

    found = []
    for choice in resolve_tasks(options.tasks):
        shots = choice.num_fewshot if options.num_fewshot is None else options.num_fewshot
        limits = [limit for limit in (choice.limit, options.limit) if limit is not None]
        found.append(replace(choice, num_fewshot=shots, limit=min(limits, default=None)))
    return found


QUESTIONS = {
    "model": Question(
        _MODEL,
        (
            "line-corporation/japanese-large-lm-1.7b --text pages.jsonl",
            "runs/demo --text runs/demo --tasks kotowari",
            "runs/demo runs/hour/release --text news=news.jsonl.gz --text wiki=wiki.parquet --stride 64",
        ),
        _model_arguments,
        _model,
    ),
    "compare": COMPARE,
    "tasks": Question(
        "Lists the tasks and groups that --tasks and evaluate.tasks know, with metric, examples in the\n"
        "prompt, version, data set and licence. docs/tasks.md says how local files must be named.",
        ("", "--json"),
        add_json,
        _list_tasks,
    ),
}
