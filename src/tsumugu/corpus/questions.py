"""The command line of `tsumugu corpus explain | what-if | compare`: words in, an answer printed.

They stand beside `tsumugu corpus RECIPE`, so the first word after `corpus` decides; a recipe in a
file of that name is `./explain`. What reads data is imported when it is needed.
"""

import argparse
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

_EXPLAIN = """\
Tells the story of one document: where it came from, what was decided and why, how it stands with
every rule (also those after the first that it fails), which documents it repeats, and how it begins.

ID is a document's id, the beginning of one if it is unique, or the document's URL."""

_WHAT_IF = """\
Decides every document again under other thresholds, from the signals that the run stored: seconds,
even for millions of documents, since no text is read. Nothing in the run is changed.

CHANGE is one of
  too_short=300              another bound for the rule too_short
  too_short.at_most=90000    one of two bounds, or a second one; =none takes it away
  lists=off                  without the rule lists (-lists does the same)
  'no_kana:hiragana_share>=0.2'      one rule more, at the end; in quotes, or the shell takes the > for itself
  no_kana:hiragana_share.at_least=0.2   the same without quotes

Duplicates are not looked for again; the answer says how many decisions that leaves open."""

_COMPARE = """\
Puts two runs side by side: what came in and stayed, what each reason dropped, each source, and the
documents that changed sides. Documents are matched by id, that is, by where they came from; rules,
transforms and deduplication may differ."""

_EXAMPLES = {
    "explain": """\
examples:
  tsumugu corpus explain runs/demo 07fa02b9
  tsumugu corpus explain runs/demo https://www.example.jp/news/1.html --json""",
    "what-if": """\
examples:
  tsumugu corpus what-if runs/demo too_short=300
  tsumugu corpus what-if runs/demo source_code=0.2 -lists 'katakana:katakana_share<=0.6'""",
    "compare": """\
examples:
  tsumugu corpus compare runs/demo runs/demo-strict
  tsumugu corpus compare runs/demo runs/demo-strict --json | jq .changes""",
}


def is_question(words: Sequence[str]) -> bool:
    """Whether the command line asks about a finished corpus."""
    return len(words) > 1 and words[0] == "corpus" and words[1] in _EXAMPLES


def parse_question(words: Sequence[str]) -> argparse.Namespace:
    """Understand the command line after `tsumugu`; end the program if it cannot be understood."""
    name = words[1]
    # For argparse, `-lists` would be an option.
    rest = [
        f"{word[1:]}=off" if name == "what-if" and re.fullmatch(r"-[a-z][a-z0-9_]+", word) else word
        for word in words[2:]
    ]
    parser = argparse.ArgumentParser(
        prog=f"tsumugu corpus {name}",
        description={"explain": _EXPLAIN, "what-if": _WHAT_IF, "compare": _COMPARE}[name],
        epilog=_EXAMPLES[name],
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if name == "compare":
        parser.add_argument("run", type=Path, metavar="RUN_A", help="a run folder, for example runs/demo")
        parser.add_argument("other", type=Path, metavar="RUN_B", help="another one")
    else:
        parser.add_argument("run", type=Path, metavar="RUN", help="a run folder, for example runs/demo")
    if name == "explain":
        parser.add_argument("id", metavar="ID", help="an id, the beginning of one, or a URL")
    if name == "what-if":
        parser.add_argument("changes", nargs="+", metavar="CHANGE", help="see above; several go together")
    parser.add_argument("--json", action="store_true", help="the whole answer for other programs")
    options = parser.parse_intermixed_args(rest)
    options.question = name
    return options


def ask(options: argparse.Namespace) -> None:
    """Answer a question that `parse_question` understood, on standard output."""
    functions: dict[str, Callable[[argparse.Namespace], tuple[Any, str]]] = {
        "explain": _explain,
        "what-if": _what_if,
        "compare": _compare,
    }
    answer, text = functions[options.question](options)
    if options.json:
        from tsumugu.terminal import to_json

        text = to_json(answer.to_json())
    print(text)


def _explain(options: argparse.Namespace) -> tuple[Any, str]:
    from tsumugu.corpus.decisions import open_corpus
    from tsumugu.corpus.explain import explain, render

    story = explain(open_corpus(options.run), options.id)
    return story, render(story)


def _what_if(options: argparse.Namespace) -> tuple[Any, str]:
    from tsumugu.corpus.decisions import open_corpus
    from tsumugu.corpus.what_if import render, what_if

    result = what_if(open_corpus(options.run), options.changes)
    return result, render(result, run=str(options.run))


def _compare(options: argparse.Namespace) -> tuple[Any, str]:
    from tsumugu.corpus.compare import compare, render
    from tsumugu.corpus.decisions import open_corpus

    result = compare(open_corpus(options.run), open_corpus(options.other))
    return result, render(result)
