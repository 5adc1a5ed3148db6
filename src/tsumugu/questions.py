"""Questions about what is finished: `tsumugu corpus explain`, `tsumugu tokens verify`, and the others.

They stand beside the stages' commands (`tsumugu corpus RECIPE`), so the first word after the stage
decides; a recipe in a file of that name is `./explain`. Each room has a table of its questions in
its `questions.py`; what reads data is imported when a question is asked.
"""

import argparse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

Parser = argparse.ArgumentParser
Options = argparse.Namespace


class Answer(Protocol):
    """What a question with `--json` finds out."""

    def to_json(self) -> dict[str, Any]:
        """All of it."""


@dataclass(frozen=True)
class Question:
    """One question, as it is asked on the command line."""

    text: str
    """What `--help` says."""
    examples: tuple[str, ...]
    """Without `tsumugu ROOM NAME`."""
    add_arguments: Callable[[Parser], None]
    answer: Callable[[Options], None]
    """Prints the answer."""
    rewrite: Callable[[str], str] = str
    """Applied to each word before argparse sees it."""


Questions = Mapping[str, Mapping[str, Question]]
"""By room and name."""


def find_question(questions: Questions, words: Sequence[str]) -> Question | None:
    """The question that the command line after `tsumugu` asks, if it asks one."""
    return questions.get(words[0], {}).get(words[1]) if len(words) > 1 else None


def parse_question(question: Question, words: Sequence[str]) -> Options:
    """Understand the command line after `tsumugu`; end the program if it cannot be understood."""
    command = f"tsumugu {words[0]} {words[1]}"
    examples = "".join(f"\n  {command} {example}" for example in question.examples)
    parser = Parser(
        prog=command,
        description=question.text,
        epilog=f"examples:{examples}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    question.add_arguments(parser)
    return parser.parse_intermixed_args([question.rewrite(word) for word in words[2:]])


def positive_number(text: str) -> int:
    """An argument that counts something.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return int(text)


def add_run(parser: Parser) -> None:
    """The run that a question is about."""
    parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, for example runs/demo")


def add_json(parser: Parser) -> None:
    """The option that `print_answer` looks at."""
    parser.add_argument("--json", action="store_true", help="the whole answer for other programs")


def print_answer(options: Options, answer: Answer, text: str) -> None:
    """Print an answer, for people or as JSON."""
    if options.json:
        from tsumugu.terminal import to_json

        text = to_json(answer.to_json())
    print(text)
