"""Whether SentencePiece and its fast twin spell a text with the same ids; ties told from faults.

Both look for the spelling with the largest sum of scores. SentencePiece adds in 32-bit floats, its
twin in 64-bit ones, so that two spellings whose sums are equal but for rounding may be told apart
differently. Such a tie is measured, not assumed: wherever the two spellings part, their scores are
added exactly, and the difference must be smaller than the error that SentencePiece's sum can have
there: (m + n) additions, each wrong by at most 2**-24 of the sum, which is kept below 100,000.
Anything else is a fault. Models that Tsumugu trains cannot tie: their sums are exact in both.

A model with a normalisation table (nmt_nfkc and its kin) has one more exception. SentencePiece
replaces by the longest rule of its table, its twin composes by Unicode's NFC. For every single
character and for the rules of the table they agree; for several combining marks on one character,
or one on what only normalisation put before it, they may not. Such a text is told apart as well.
"""

import math
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import sentencepiece as spm
from sentencepiece import sentencepiece_model_pb2
from tokenizers import Tokenizer

from tsumugu.tokenizer.encoder import as_for_text
from tsumugu.tokenizer.export import (
    FAST,
    effective_scores,
    has_table,
    keeps_text,
    load_sentencepiece,
)
from tsumugu.tokenizer.presets import BYTES, SPACE

Verdict = Literal["equal", "tie", "combining_marks", "fault"]
_ROUNDING = 2.0**-24
# kScoreResetThreshold in unigram_model.cc of SentencePiece 0.2.3.
_LARGEST_SUM = 100_000.0


@dataclass(frozen=True)
class Twins:
    """A SentencePiece model and its fast twin, ready to be compared."""

    processor: spm.SentencePieceProcessor
    fast: Tokenizer
    model: Any
    """The ModelProto."""
    scores: Sequence[float]


def load_twins(folder: Path) -> Twins:
    """Both forms of the tokenizer in `folder`, as its files say."""
    processor = load_sentencepiece(folder)
    fast = Tokenizer.from_file(str(folder / FAST))
    as_for_text(fast)
    model = sentencepiece_model_pb2.ModelProto.FromString(processor.serialized_model_proto())
    return Twins(processor, fast, model, effective_scores(model))


def compare(twins: Twins, text: str) -> Verdict:
    """Compare the ids of `text`, and what they decode to."""
    ids = twins.processor.encode(text)
    encoded = twins.fast.encode(text, add_special_tokens=False)
    if encoded.ids != ids:
        pieces = twins.processor.encode(text, out_type=str)
        return _weigh(twins, text, _spans(ids, pieces), _spans(encoded.ids, encoded.tokens))
    # SentencePiece's own sign for a space comes back as a space; an unknown piece as " ⁇ ".
    if SPACE in text or twins.processor.unk_id() in ids:
        return "equal"
    decoded = twins.processor.decode(ids)
    if twins.fast.decode(ids, skip_special_tokens=False) != decoded:
        return "fault"
    return "equal" if decoded == text or not keeps_text(twins.model) else "fault"


def verdicts(twins: Twins, texts: Iterable[str]) -> dict[Verdict, list[int]]:
    """Positions of the texts by verdict."""
    found: dict[Verdict, list[int]] = {"equal": [], "tie": [], "combining_marks": [], "fault": []}
    for index, text in enumerate(texts):
        found[compare(twins, text)].append(index)
    return found


@dataclass(frozen=True)
class _Span:
    """A piece and the bytes of the normalised text that it stands for."""

    id: int
    text: bytes


def _spans(ids: Sequence[int], pieces: Sequence[str]) -> list[_Span]:
    values = {name: bytes([value]) for value, name in enumerate(BYTES)}
    return [
        _Span(index, values[piece] if piece in values else piece.encode())
        for index, piece in zip(ids, pieces, strict=True)
    ]


def _weigh(twins: Twins, text: str, ours: list[_Span], theirs: list[_Span]) -> Verdict:
    if b"".join(span.text for span in ours) != b"".join(span.text for span in theirs):
        marked = any(unicodedata.category(character).startswith("M") for character in text)
        return "combining_marks" if marked and has_table(twins.model) else "fault"
    before = 0.0
    for left, right in _partings(ours, theirs):
        left_sum = math.fsum(twins.scores[span.id] for span in left)
        right_sum = math.fsum(twins.scores[span.id] for span in right)
        if [span.id for span in left] != [span.id for span in right]:
            largest = min(before, _LARGEST_SUM) + max(abs(left_sum), abs(right_sum))
            if abs(left_sum - right_sum) > (len(left) + len(right)) * _ROUNDING * largest:
                return "fault"
        before += abs(left_sum)
    return "tie"


def _partings(ours: list[_Span], theirs: list[_Span]) -> Iterable[tuple[list[_Span], list[_Span]]]:
    """Both spellings between one place where both have a boundary and the next."""
    left: list[_Span] = []
    right: list[_Span] = []
    ahead = 0
    others = iter(theirs)
    for span in ours:
        left.append(span)
        ahead += len(span.text)
        while ahead > 0:
            right.append(next(others))
            ahead -= len(right[-1].text)
        if ahead == 0:
            yield left, right
            left, right = [], []
