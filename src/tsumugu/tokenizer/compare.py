"""The same text spelled by several tokenizers: `tsumugu tokenizer compare`."""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from tsumugu.corpus.config import Input
from tsumugu.corpus.inputs import find_files, plan_shards
from tsumugu.corpus.reading import Failure, Page, read_records
from tsumugu.errors import TsumuguError
from tsumugu.terminal import number, side_by_side, table
from tsumugu.tokenizer.existing import open_existing
from tsumugu.tokenizer.figures import (
    KanjiSpelling,
    Pieces,
    Segment,
    Spelling,
    batches,
    kanji_spelling,
    read_pieces,
    sample_text,
    segments,
    spelling,
)
from tsumugu.visible import visible_piece

_MAX_DOCUMENT_BYTES = 2**30
_LINES, _LINE_CHARACTERS = 10, 80
"""How much of the text is shown as the tokenizers split it."""
_LEAST_WIDTH = 110
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")


@dataclass(frozen=True)
class Compared:
    """One tokenizer and what it made of the text."""

    name: str
    vocab_size: int
    spelling: Spelling
    kanji: KanjiSpelling
    lines: tuple[tuple[Segment, ...], ...]
    """The first lines, as it divides them."""


@dataclass(frozen=True)
class Comparison:
    """The whole answer."""

    tokenizers: tuple[Compared, ...]

    def to_json(self) -> dict[str, Any]:
        """All figures, and the first lines as lists of texts and numbers of tokens."""
        return {
            "tokenizers": [
                {
                    "name": one.name,
                    "vocab_size": one.vocab_size,
                    **one.spelling.facts(),
                    "jouyou_kanji": asdict(one.kanji),
                    "lines": [[asdict(segment) for segment in line] for line in one.lines],
                }
                for one in self.tokenizers
            ]
        }


def compare(tokenizers: Sequence[tuple[str, Pieces]], texts: Iterable[str]) -> Comparison:
    """Spell texts with several tokenizers, each with a name; texts are read once and not kept.

    Raises:
        TsumuguError: there is no text.
    """
    totals = [Spelling() for _ in tokenizers]
    lines: list[str] = []
    for batch in batches(texts):
        totals = [
            total + spelling(pieces, batch) for total, (_, pieces) in zip(totals, tokenizers, strict=True)
        ]
        lines += islice(_first_lines(batch), _LINES - len(lines))
    if not totals[0].characters:
        raise TsumuguError("compare: there is no text to spell")
    return Comparison(
        tuple(
            Compared(
                name=name,
                vocab_size=pieces.encoder.vocab_size,
                spelling=total,
                kanji=kanji_spelling(pieces),
                lines=tuple(tuple(segments(pieces, line)) for line in lines),
            )
            for total, (name, pieces) in zip(totals, tokenizers, strict=True)
        )
    )


def open_tokenizers(paths: Sequence[Path]) -> list[tuple[str, Pieces]]:
    """The tokenizers at some paths, named by these.

    Raises:
        TsumuguError: there is none, or it is damaged.
    """
    return [(str(path), read_pieces(open_existing(path))) for path in paths]


def read_texts(path: Path | None) -> Iterator[str]:
    """The documents of a file: plain text (one document), JSON Lines or Parquet with a `text`.

    Without a file, the sample of `sample_text`.

    Raises:
        TsumuguError: something in it cannot be read; the message names the place.
    """
    if path is None:
        yield sample_text()
        return
    if not path.is_file():
        raise TsumuguError(f"--text {path}: there is no such file")
    suffixes = {suffix.lower() for suffix in path.suffixes}
    kind = "parquet" if ".parquet" in suffixes else "jsonl" if suffixes & {".jsonl", ".ndjson"} else "text"
    entry = Input.model_validate({"path": str(path), "source": "text", "license": "unknown", "format": kind})
    for piece in plan_shards(find_files([entry]), shard_bytes=_MAX_DOCUMENT_BYTES)[0]:
        for record in read_records(piece, max_page_bytes=_MAX_DOCUMENT_BYTES):
            if not isinstance(record, Page):
                why = record.error if isinstance(record, Failure) else record.why
                raise TsumuguError(f"--text {path}: at {record.offset}: {why}")
            yield record.text


def render(comparison: Comparison) -> str:
    """The answer for a terminal."""
    first = comparison.tokenizers[0].spelling
    rows = []
    for one in comparison.tokenizers:
        facts = one.spelling.facts()
        rows.append(
            [
                one.name,
                number(one.vocab_size),
                number(one.spelling.tokens),
                f"{facts['characters_per_token']:.3f}",
                f"{facts['bytes_per_token']:.3f}",
                f"{100 * facts['byte_fallback_share']:.2f} %",
                f"{100 * facts['unknown_share']:.2f} %",
                f"{100 * one.kanji.one_token_share:.1f} %",
                f"{one.kanji.tokens_per_kanji:.3f}",
            ]
        )
    header = [
        "tokenizer", "pieces", "tokens", "characters/token", "bytes/token", "byte tokens", "unknown",
        "kanji in 1 token", "tokens/kanji",
    ]  # fmt: skip
    shown = zip(*(one.lines for one in comparison.tokenizers), strict=True)
    return "\n".join(
        [
            f"{number(first.documents)} documents, {number(first.characters)} characters, "
            f"{number(first.bytes)} bytes",
            "",
            table(header, rows, right=range(1, len(header))),
            "",
            "byte tokens are less than a character; kanji are the 2,136 of the 常用漢字表, each alone",
            "",
            side_by_side(
                [one.name for one in comparison.tokenizers],
                [[_divided(line) for line in lines] for lines in shown],
                width=max(_LEAST_WIDTH, shutil.get_terminal_size((_LEAST_WIDTH, 24)).columns),
            ),
        ]
    )


def _divided(line: Sequence[Segment]) -> str:
    """A line with its boundaries, and a number where several tokens make a character."""
    return "│".join(
        visible_piece(one.text) + (str(one.tokens).translate(_SUBSCRIPTS) if one.tokens > 1 else "")
        for one in line
    )


def _first_lines(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from (line[:_LINE_CHARACTERS] for line in text.split("\n") if line.strip())
