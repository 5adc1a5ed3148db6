"""The question of `tsumugu tokenizer compare`."""

from pathlib import Path

from tsumugu.questions import Options, Parser, Question, add_json, print_answer

_COMPARE = """\
Spells the same text with several tokenizers: tokens, characters and bytes per token, tokens that are
less than a character, the 2,136 Jouyou kanji, and the first lines as each tokenizer splits them.

DIR is a Hugging Face directory, a SentencePiece .model file, or the tokenizer folder of a run. No
code of a directory is run, and nothing is fetched."""


def _compare_arguments(parser: Parser) -> None:
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR", help="two or more, or one to look at")
    parser.add_argument(
        "--text",
        type=Path,
        metavar="FILE",
        help="plain text, or JSON Lines or Parquet with a `text`; default: ten lines of Japanese",
    )
    add_json(parser)


def _compare(options: Options) -> None:
    from tsumugu.tokenizer.compare import compare, open_tokenizers, read_texts, render

    answer = compare(open_tokenizers(options.folders), read_texts(options.text))
    print_answer(options, answer, render(answer))


QUESTIONS = {
    "compare": Question(
        _COMPARE,
        (
            "runs/demo/tokenizer models/japanese-large-lm-1.7b",
            "A/tokenizer B/spiece.model --text pages.jsonl --json",
        ),
        _compare_arguments,
        _compare,
    ),
}
