"""Pieces of input files to texts with their provenance: read -> (gate) -> main text -> provenance.

The order of the results is the order of the records, and they depend on nothing but the pieces and
the settings. What cannot be read or extracted is a `Failure`; what is no document is `Skipped`.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import get_args

from tsumugu.corpus.bombs import TooDeep, refuse_bombs
from tsumugu.corpus.config import CorpusConfig, ExtractionConfig
from tsumugu.corpus.extraction import extract_text
from tsumugu.corpus.inputs import InputFile, Piece
from tsumugu.corpus.language_gate import kana_share
from tsumugu.corpus.provenance import provenance
from tsumugu.corpus.quality_tier import NoAnswer, QualityTier, shared_tier
from tsumugu.corpus.reading import read_records
from tsumugu.corpus.records import Failure, Page, Skipped
from tsumugu.corpus.signal_names import ReadingSignalName

READING_SIGNALS: tuple[ReadingSignalName, ...] = get_args(ReadingSignalName)
"""Every signal that `Extracted.signals` holds, always all of them. `extraction_fallback` is 1 where
trafilatura was asked and gave no answer, so that the text is the fast tier's."""


@dataclass(frozen=True)
class Extracted:
    """One document: its main text, not yet transformed. `url` may be empty."""

    file: InputFile
    offset: int
    text: str
    url: str
    metadata: dict[str, str]
    """What `provenance.provenance` describes, the input's `metadata_keys`, and for HTML `extractor`
    (with `extractor_note` where trafilatura was chosen and not used)."""
    signals: dict[str, float]


def extract_pieces(pieces: Sequence[Piece], config: CorpusConfig) -> Iterator[Extracted | Failure | Skipped]:
    """Every record of `pieces`, in order.

    Raises:
        RemoteError: the network failed; nothing else that an input holds raises.
        TsumuguError: trafilatura is chosen and not installed.
    """
    settings = config.extraction
    with shared_tier(settings) if settings.extractor == "trafilatura" else nullcontext() as tier:
        for piece in pieces:
            for record in read_records(piece, max_page_bytes=config.max_page_bytes):
                yield _extract(record, settings, tier) if isinstance(record, Page) else record


def _extract(page: Page, settings: ExtractionConfig, tier: QualityTier | None) -> Extracted | Failure:
    text = page.text
    chosen: dict[str, str] = {}
    fallback = 0.0
    if page.is_html:
        answer: str | NoAnswer | None = None
        chosen["extractor"] = "resiliparse"
        try:
            if tier is not None:
                refuse_bombs(page.text)
                if kana_share(page.text) >= settings.language_gate:
                    answer = tier.main_text(page.text)
                else:
                    chosen["extractor_note"] = "language gate"
            text = answer if isinstance(answer, str) else extract_text(page.text)
        except TooDeep as error:
            return Failure(page.file, page.offset, str(error))
        if isinstance(answer, str):
            chosen["extractor"] = "trafilatura"
        elif isinstance(answer, NoAnswer):
            chosen["extractor_note"] = answer.why
            fallback = 1.0
    metadata, signals = provenance(page)
    return Extracted(
        file=page.file,
        offset=page.offset,
        text=text,
        url=page.url or metadata.get("canonical_url", ""),
        metadata={**page.metadata, **metadata, **chosen},
        signals={**signals, "extraction_fallback": fallback},
    )
