"""The command lines of `tsumugu generate` and `tsumugu chat`. Nothing heavy is imported here."""

import argparse
import signal
from collections.abc import Callable

from tsumugu.questions import Options, Parser, add_json

GENERATE = """\
Continues prompts, each as the beginning of a document, and shows the text while it is written.

MODEL is a run folder (its newest checkpoint), a checkpoint of a run (.../checkpoints/step-N), a Hugging
Face directory such as RUN/release, or the name of a model on the Hugging Face hub. What is not said here
is as the model's generation_config.json has it. The same seed writes the same text. What would command
the terminal is written out; --json has the text as it is.

examples:
  tsumugu generate runs/demo/release この章では
  tsumugu generate runs/demo 吾輩は --samples 3 --temperature 0.9 --stop 。
  tsumugu generate runs/demo/pretrain/checkpoints/step-100 --greedy --max-new-tokens 40 - < prompt.txt"""

CHAT = """\
Talks with a model. MODEL is as in `tsumugu generate`. Its chat template says how it is asked (chat_template
in tokenizer_config.json, or chat_template.jinja). Ctrl-C stops an answer, and at the prompt the program;
/help tells what else can be typed. Without a terminal each line of the input is a message.

examples:
  tsumugu chat runs/instruct/release --system 短く答えてください。
  tsumugu chat line-corporation/japanese-large-lm-1.7b-instruction-sft --template line"""


def add_generate_arguments(parser: Parser) -> None:
    """Those of `tsumugu generate`."""
    _add_model(parser)
    parser.add_argument(
        "prompts",
        nargs="*",
        metavar="PROMPT",
        help="text to continue; - is what stands on standard input; none: begin a new document",
    )
    parser.add_argument("--prompt", action="append", default=[], dest="more_prompts", help="the same")
    parser.add_argument(
        "--samples", type=_positive, default=1, metavar="N", help="continuations of a prompt (default: 1)"
    )
    parser.add_argument(
        "--add-bos",
        action=argparse.BooleanOptionalAction,
        help="whether <s>, or the end of another document, stands before a prompt (default: yes)",
    )
    _add_settings(parser)
    add_json(parser)


def add_chat_arguments(parser: Parser) -> None:
    """Those of `tsumugu chat`."""
    _add_model(parser)
    parser.add_argument("--system", default="", metavar="TEXT", help="the system prompt")
    parser.add_argument(
        "--template",
        choices=("model", "line"),
        default="model",
        help="how it is asked: by its own template (default), or by that of LINE's instruction-sft models",
    )
    _add_settings(parser)


def answer_generate(options: Options) -> None:
    """`tsumugu generate`."""
    from tsumugu.talking.continuing import generate

    options.prompts += options.more_prompts
    _until_interrupted(generate, options)


def answer_chat(options: Options) -> None:
    """`tsumugu chat`."""
    from tsumugu.talking.chat import chat

    _until_interrupted(chat, options)


def _until_interrupted(function: Callable[[Options], None], options: Options) -> None:
    try:
        function(options)
    except KeyboardInterrupt:
        # Nothing is there to go on from, unlike after other commands.
        print()
        raise SystemExit(128 + signal.SIGINT) from None


def _add_model(parser: Parser) -> None:
    parser.add_argument("model", metavar="MODEL", help="for example runs/demo/release")
    parser.add_argument(
        "--trust-remote-code", action="store_true", help="run the code that a model directory brings along"
    )


def _add_settings(parser: Parser) -> None:
    writing = parser.add_argument_group("how it writes", "Defaults are the model's own.")
    writing.add_argument("--max-new-tokens", type=_positive, metavar="N", help="longest text")
    writing.add_argument("--temperature", type=float, metavar="T", help="0: always the likeliest token")
    writing.add_argument("--top-k", type=int, metavar="K", help="only the K likeliest tokens; 0: all")
    writing.add_argument(
        "--top-p", type=float, metavar="P", help="only the likeliest tokens with this probability together"
    )
    writing.add_argument(
        "--min-p", type=float, metavar="P", help="only tokens with this share of the likeliest one's"
    )
    writing.add_argument(
        "--repetition-penalty", type=float, metavar="R", help="above 1: less of what is there already"
    )
    writing.add_argument("--greedy", action="store_true", help="the same as --temperature 0")
    writing.add_argument(
        "--stop", action="append", default=[], metavar="TEXT", help="end before this text; may be repeated"
    )
    writing.add_argument(
        "--seed", type=int, default=0, help="the same seed writes the same text (default: 0)"
    )


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value
