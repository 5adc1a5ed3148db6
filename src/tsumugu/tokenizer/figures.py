"""Figures about how a tokenizer spells text: characters and bytes per token, kanji, pieces and their use.

A piece is looked at as the UTF-8 bytes that it stands for, so SentencePiece with byte fallback and
byte-level BPE are measured alike. A token that is less than a character is called a byte token:
both kinds fall back to them for what the vocabulary lacks.
"""

import codecs
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsumugu.tokenizer.encoder import Encoder
from tsumugu.tokenizer.presets import SPACE

_BATCH = 256
_BYTES = re.compile("(<0x[0-9A-F]{2}>)+")


@dataclass(frozen=True)
class Spelling:
    """How texts were spelled."""

    documents: int = 0
    characters: int = 0
    bytes: int = 0
    tokens: int = 0
    byte_tokens: int = 0
    """Tokens that are less than a character."""
    unknown_tokens: int = 0

    def __add__(self, other: "Spelling") -> "Spelling":
        return Spelling(*(a + b for a, b in zip(asdict(self).values(), asdict(other).values(), strict=True)))

    def facts(self) -> dict[str, Any]:
        """The counts, and what follows from them, as JSON."""
        tokens = max(1, self.tokens)
        return {
            **asdict(self),
            "characters_per_token": self.characters / tokens,
            "bytes_per_token": self.bytes / tokens,
            "byte_fallback_share": self.byte_tokens / tokens,
            "unknown_share": self.unknown_tokens / tokens,
        }


@dataclass(frozen=True)
class KanjiSpelling:
    """How each of the Jouyou kanji is spelled when it stands alone."""

    tokens_per_kanji: float
    one_token_share: float
    in_bytes: str
    """Those of which some token is less than the kanji, or unknown, in the order of code points."""


@dataclass(frozen=True)
class PieceUse:
    """How often the ordinary pieces of a vocabulary (no special tokens, no single bytes) were used."""

    pieces: int
    unused: tuple[int, ...]
    """Ids of those that were never used, ascending."""
    most_used: tuple[int, ...]
    """Ids, the most frequent first; ties by id."""
    sorted_counts: NDArray[np.int64]
    """`int64 [pieces]`, descending."""


@dataclass(frozen=True)
class Segment:
    """Text that one token stands for, or several that only together are whole characters."""

    text: str
    tokens: int


@dataclass(frozen=True)
class Pieces:
    """An encoder whose vocabulary was looked through."""

    encoder: Encoder
    spelled: tuple[bytes, ...]
    """The bytes that each id stands for."""
    is_part: NDArray[np.bool_]
    """Whether an id is less than a character: `bool [vocab_size]`."""


def read_pieces(encoder: Encoder) -> Pieces:
    """Look through the vocabulary of an encoder."""
    names = encoder.pieces(range(encoder.vocab_size))
    spelled = [_spelled(name) for name in names]
    is_part = [
        _BYTES.fullmatch(name) is not None or not _is_text(piece)
        for name, piece in zip(names, spelled, strict=True)
    ]
    return Pieces(encoder, tuple(spelled), np.array(is_part, dtype=bool))


def spelling(pieces: Pieces, texts: Iterable[str]) -> Spelling:
    """Encode texts and count."""
    total = Spelling()
    for batch in batches(texts):
        ids = _ids(pieces.encoder, batch)
        unknown = pieces.encoder.unk_id
        total += Spelling(
            documents=len(batch),
            characters=sum(map(len, batch)),
            bytes=sum(len(text.encode()) for text in batch),
            tokens=len(ids),
            byte_tokens=int(pieces.is_part[ids].sum()),
            unknown_tokens=0 if unknown is None else int((ids == unknown).sum()),
        )
    return total


def longest_pieces(pieces: Pieces, texts: Iterable[str], *, count: int) -> list[str]:
    """The longest of the pieces that the texts are spelled with, by characters; ties in order of text."""
    used = np.zeros(len(pieces.spelled), dtype=bool)
    for batch in batches(texts):
        used[_ids(pieces.encoder, batch)] = True
    whole = {pieces.spelled[index].decode() for index in np.flatnonzero(used & ~pieces.is_part)}
    return sorted(whole, key=lambda piece: (-len(piece), piece))[:count]


@cache
def jouyou_kanji() -> str:
    """The 2,136 kanji of the 常用漢字表 of 2010, in the order of code points."""
    text = (resources.files("tsumugu.tokenizer") / "jouyou_kanji.txt").read_text(encoding="utf-8")
    return "".join(line for line in text.splitlines() if not line.startswith("#"))


def sample_text() -> str:
    """Ten lines of Japanese of ten kinds, written to be split by tokenizers."""
    return (resources.files("tsumugu.tokenizer") / "sample_ja.txt").read_text(encoding="utf-8")


def kanji_spelling(pieces: Pieces) -> KanjiSpelling:
    """Spell the Jouyou kanji one by one. A space that the tokenizer puts before a text is not counted."""
    kanji = jouyou_kanji()
    lengths, in_bytes = [], []
    for character, ids in zip(kanji, pieces.encoder.encode_batch(list(kanji)), strict=True):
        own = [int(index) for index in ids if pieces.spelled[index].strip()]
        lengths.append(len(own))
        if any(pieces.is_part[index] or index == pieces.encoder.unk_id for index in own):
            in_bytes.append(character)
    return KanjiSpelling(
        tokens_per_kanji=sum(lengths) / len(kanji),
        one_token_share=sum(length == 1 for length in lengths) / len(kanji),
        in_bytes="".join(in_bytes),
    )


def piece_use(pieces: Pieces, frequencies: NDArray[np.int64], *, special: Iterable[int]) -> PieceUse:
    """Which pieces are used.

    Args:
        frequencies: how often each id stands in the training tokens, `int64 [vocab_size]`.
        special: ids of special tokens, which no text is spelled with.
    """
    # Ids without a piece are holes in the vocabulary.
    ordinary = ~pieces.is_part & np.array([bool(piece) for piece in pieces.spelled])
    ordinary[list(special)] = False
    ids = np.flatnonzero(ordinary)
    counts = frequencies[ids]
    order = np.argsort(-counts, kind="stable")
    return PieceUse(
        pieces=len(ids),
        unused=tuple(ids[counts == 0].tolist()),
        most_used=tuple(ids[order][counts[order] > 0].tolist()),
        sorted_counts=counts[order],
    )


def segments(pieces: Pieces, text: str) -> list[Segment]:
    """A text as its tokens divide it: `"".join` of the parts is what the tokens stand for."""
    return list(_segments(pieces, pieces.encoder.encode(text)))


def _segments(pieces: Pieces, ids: Sequence[int]) -> Iterator[Segment]:
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    text, tokens = "", 0
    for index in ids:
        text += decoder.decode(pieces.spelled[index])
        tokens += 1
        # Bytes that wait for others belong to a character that is not complete.
        if not decoder.getstate()[0]:
            # A vocabulary may have to spell even the sign for a space in bytes.
            yield Segment(text.replace(SPACE, " "), tokens)
            text, tokens = "", 0
    if tokens:
        yield Segment(text + decoder.decode(b"", final=True), tokens)


def batches(texts: Iterable[str]) -> Iterator[list[str]]:
    """The texts, a few hundred at a time."""
    rest = iter(texts)
    while batch := list(islice(rest, _BATCH)):
        yield batch


def _ids(encoder: Encoder, texts: Sequence[str]) -> NDArray[np.int64]:
    """The ids of all texts, one after another."""
    encoded = [np.asarray(ids, dtype=np.int64) for ids in encoder.encode_batch(texts)]
    return np.concatenate(encoded) if encoded else np.empty(0, dtype=np.int64)


def _spelled(name: str) -> bytes:
    if _BYTES.fullmatch(name):
        return bytes.fromhex(name.replace("<0x", "").replace(">", ""))
    return name.replace(SPACE, " ").encode()


def _is_text(piece: bytes) -> bool:
    try:
        piece.decode()
    except UnicodeDecodeError:
        return False
    return True
