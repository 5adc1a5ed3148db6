"""The tokenizer section of the page: figures by source, pieces and their use, and text as it is split.

Everything is shown through `visible_piece`: a piece may be a space, a line break, or a character
that turns the direction of the page around.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tsumugu.files import read_json
from tsumugu.report.charts import rank_chart
from tsumugu.tokenizer.compare import compare, open_tokenizers
from tsumugu.tokenizer.encoder import SPECIAL_TOKENS_MAP, load_encoder
from tsumugu.tokenizer.figures import (
    Pieces,
    Segment,
    kanji_spelling,
    piece_use,
    read_pieces,
    sample_text,
    segments,
)
from tsumugu.tokenizer.sampling import Split, draw_documents
from tsumugu.tokens.frequencies import read_frequencies
from tsumugu.tokens.shards import Index, read_index
from tsumugu.tokens.split import TRAIN, VALIDATION
from tsumugu.visible import visible, visible_piece

_MOST_USED = 40
_UNUSED = 60
_BEGINNING = 400
"""Characters of a held-out document that are shown as they are split."""
_COMPARED_CHARACTERS = 1_000_000
"""Held-out text on which other tokenizers are compared with the run's."""
_COLOURS = 4


def tokenizer_section(
    inputs: Mapping[str, Path],
    counts: Mapping[str, Any],
    *,
    sources: Sequence[str],
    split: Split,
    others: Sequence[Path],
) -> dict[str, Any]:
    """Everything that `tokenizer.html.j2` shows.

    Args:
        inputs: folders of the stages `corpus`, `tokenizer` and `tokens`.
        counts: of the tokenizer stage's manifest.
        sources: of the corpus.
        others: existing tokenizers to show beside the run's.
    """
    pieces = read_pieces(load_encoder(inputs["tokenizer"]))
    tokenizers = [("this run", pieces), *open_tokenizers(others)]
    texts = _held_out(inputs["corpus"], sources, split)
    first = next(texts)
    comparison = None
    if others:
        comparison = compare(tokenizers, [first, *_up_to(texts, _COMPARED_CHARACTERS)]).to_json()[
            "tokenizers"
        ]
    kanji = kanji_spelling(pieces)
    return {
        "counts": counts,
        "sources": _sources(read_index(inputs["tokens"]), counts),
        "longest": [visible_piece(piece) for piece in counts["longest_pieces"]],
        "kanji": kanji,
        "use": _use(pieces, inputs),
        "comparison": comparison,
        "names": [visible(name) for name, _ in tokenizers],
        "passages": [
            {"what": what, "columns": [_column(segments(one, text)) for _, one in tokenizers]}
            for what, text in (
                ("Ten lines of ten kinds", sample_text()),
                ("The beginning of a held-out document", first[:_BEGINNING]),
            )
        ],
    }


def _held_out(corpus: Path, sources: Sequence[str], split: Split) -> Iterator[str]:
    shards = sorted((corpus / "documents").glob("*.parquet"))
    drawn = draw_documents(shards, dict.fromkeys(sources, 1.0), split, held_out=True)
    return (document.text for document in drawn)


def _up_to(texts: Iterator[str], characters: int) -> Iterator[str]:
    for text in texts:
        yield text
        characters -= len(text)
        if characters <= 0:
            return


def _sources(index: Index, counts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Figures by source, of the tokens that texts are spelled with: begin and end are not counted."""
    around = 1 if index.bos_id is None else 2
    total = sum(facts.tokens for facts in index.shards if facts.split == TRAIN)
    rows = []
    for number, source in enumerate(index.sources):
        row: dict[str, Any] = {"source": visible(source.name), "tokens": 0, "share": 0.0}
        row["byte_share"] = counts["held_out_sources"].get(source.name, {}).get("byte_fallback_share")
        for split in (TRAIN, VALIDATION):
            found = [facts for facts in index.shards if (facts.split, facts.source) == (split, number)]
            spelled = sum(facts.tokens - around * facts.documents for facts in found)
            row[split] = {
                "characters_per_token": sum(facts.characters for facts in found) / spelled,
                "bytes_per_token": sum(facts.bytes for facts in found) / spelled,
            } if spelled else None  # fmt: skip
            if split == TRAIN:
                row["tokens"] = sum(facts.tokens for facts in found)
                row["share"] = row["tokens"] / total
        rows.append(row)
    return rows


def _use(pieces: Pieces, inputs: Mapping[str, Path]) -> dict[str, Any]:
    frequencies = read_frequencies(inputs["tokens"])
    use = piece_use(pieces, frequencies, special=_special_ids(pieces, inputs["tokenizer"]))
    # Unused pieces from the whole vocabulary: their ids say what training thought of them.
    chosen = np.unique(np.linspace(0, max(0, len(use.unused) - 1), _UNUSED).astype(int))
    return {
        "pieces": use.pieces,
        "unused": len(use.unused),
        "unused_share": len(use.unused) / max(1, use.pieces),
        "unused_examples": [_piece(pieces, use.unused[place]) for place in chosen if place < len(use.unused)],
        "most_used": [
            {"piece": _piece(pieces, index), "count": int(frequencies[index])}
            for index in use.most_used[:_MOST_USED]
        ],
        "byte_tokens": int(frequencies[pieces.is_part].sum()),
        "chart": rank_chart(
            use.sorted_counts,
            x_label="pieces, by how often they are used",
            y_label="times in the training tokens",
        ),
    }


def _special_ids(pieces: Pieces, folder: Path) -> list[int]:
    special: set[str] = set()
    for tokens in read_json(folder / SPECIAL_TOKENS_MAP).values():
        special |= {tokens} if isinstance(tokens, str) else set(tokens)
    names = pieces.encoder.pieces(range(pieces.encoder.vocab_size))
    return [index for index, name in enumerate(names) if name in special]


def _piece(pieces: Pieces, index: int) -> str:
    return visible_piece(pieces.spelled[index].decode())


def _column(found: Sequence[Segment]) -> dict[str, Any]:
    """Tokens for the page: their text, how many they are, a colour, and whether the line ends after."""
    return {
        "tokens": sum(segment.tokens for segment in found),
        "characters": sum(len(segment.text) for segment in found),
        "segments": [
            {
                "text": visible_piece(segment.text),
                "tokens": segment.tokens,
                "colour": place % _COLOURS,
                "ends_line": segment.text.endswith("\n"),
            }
            for place, segment in enumerate(found)
        ],
    }
