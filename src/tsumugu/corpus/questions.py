"""The questions of `tsumugu corpus explain | what-if | compare`."""

import re
from pathlib import Path

from tsumugu.questions import Options, Parser, Question, add_json, add_run, print_answer

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


def _explain_arguments(parser: Parser) -> None:
    add_run(parser)
    parser.add_argument("id", metavar="ID", help="an id, the beginning of one, or a URL")
    add_json(parser)


def _explain(options: Options) -> None:
    from tsumugu.corpus.decisions import open_corpus
    from tsumugu.corpus.explain import explain, render

    story = explain(open_corpus(options.run), options.id)
    print_answer(options, story, render(story))


def _what_if_arguments(parser: Parser) -> None:
    add_run(parser)
    parser.add_argument("changes", nargs="+", metavar="CHANGE", help="see above; several go together")
    add_json(parser)


def _without_rule(word: str) -> str:
    """For argparse, `-lists` would be an option."""
    return f"{word[1:]}=off" if re.fullmatch(r"-[a-z][a-z0-9_]+", word) else word


def _what_if(options: Options) -> None:
    from tsumugu.corpus.decisions import open_corpus
    from tsumugu.corpus.what_if import render, what_if

    result = what_if(open_corpus(options.run), options.changes)
    print_answer(options, result, render(result, run=str(options.run)))


def _compare_arguments(parser: Parser) -> None:
    parser.add_argument("run", type=Path, metavar="RUN_A", help="a run folder, for example runs/demo")
    parser.add_argument("other", type=Path, metavar="RUN_B", help="another one")
    add_json(parser)


def _compare(options: Options) -> None:
    from tsumugu.corpus.compare import compare, render
    from tsumugu.corpus.decisions import open_corpus

    result = compare(open_corpus(options.run), open_corpus(options.other))
    print_answer(options, result, render(result))


QUESTIONS = {
    "explain": Question(
        _EXPLAIN,
        ("runs/demo 07fa02b9", "runs/demo https://www.example.jp/news/1.html --json"),
        _explain_arguments,
        _explain,
    ),
    "what-if": Question(
        _WHAT_IF,
        ("runs/demo too_short=300", "runs/demo source_code=0.2 -lists 'katakana:katakana_share<=0.6'"),
        _what_if_arguments,
        _what_if,
        _without_rule,
    ),
    "compare": Question(
        _COMPARE,
        ("runs/demo runs/demo-strict", "runs/demo runs/demo-strict --json | jq .changes"),
        _compare_arguments,
        _compare,
    ),
}
