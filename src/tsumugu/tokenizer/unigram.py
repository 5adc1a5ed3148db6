"""SentencePiece's encoding, once more, for much text: the same ids in less than half of the time.

The best spelling of a text in pieces (Viterbi; Kudo 2018, section 3.2) needs all pieces that begin at each
character. SentencePiece looks for them from one character after the other, byte by byte, and waits for memory
at every byte. Here a few hundred characters take each step through the trie together, code point by code
point, so that the processor waits for all of them at once.

Scores are whole multiples of 1/64 (`training.with_exact_scores`), so sums are exact in any order, and of
equal spellings the one wins that wins there (`EncodeOptimized` in unigram_model.cc): that whose last piece
begins first.
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numba import njit
from numpy.typing import NDArray
from sentencepiece import sentencepiece_model_pb2

from tsumugu.tokenizer.export import KIND, effective_scores, keeps_text, text_scores
from tsumugu.tokenizer.presets import SPACE

_CODE_POINTS = 0x110000
_UNITS = 64
"""In a score of 1."""
_BLOCK = 512
"""Characters that step together: few enough that what is noted of them stays in the cache."""
# What is read together is one number. A cell is the ending there, the column by which it is reached, and the
# base of its children.
_BASE_BITS = 24
_COLUMN_BITS = 16
_ENDING_SHIFT = _BASE_BITS + _COLUMN_BITS
# An ending: its score, its length in code points, and the piece. Of two such numbers the larger one is
# the better way to the character where both end: of equal scores, the longer piece begins first.
_PIECE_BITS = 24
_LENGTH_BITS = 8
_SCORE_SHIFT = _PIECE_BITS + _LENGTH_BITS
_BYTES = (1 << _PIECE_BITS) - 1
"""In the place of a piece: a character that is spelled in bytes."""
_NO_WAY = -(1 << 62)
"""To a character, so far."""
MOST_UNITS = (1 << 30) // (_BLOCK + (1 << _LENGTH_BITS))
"""Of a score. So many, and an unknown character's 640 more, fit into the score of an ending when they are
added up within a block and the piece that leaves it."""


@dataclass(frozen=True)
class Unigram:
    """A unigram model that is ready to encode."""

    columns: NDArray[np.uint16]
    """A number for each code point that stands in a piece, 0 for the others, `[0x110000]`."""
    cells: NDArray[np.uint64]
    """A trie as a double array (Aoe 1989): the child by a column is at the base plus that column, if the
    cell there is reached by this column. No two nodes have the same base, so that is enough."""
    endings: NDArray[np.int64]
    """By the numbers in cells; number 0 is none."""
    longest: int
    """Code points in a piece."""
    alone: NDArray[np.bool_]
    """Whether the character of a column is a piece, `[columns]`."""
    unknown_score: int
    byte_pieces: NDArray[np.int32]
    """Ids of the 256 bytes, which spell what has no piece."""

    @classmethod
    def of(cls, model: bytes) -> Self | None:
        """From a serialized ModelProto.

        None if it changes text before it is encoded, has no bytes or no piece for a space, has scores that
        sums may round, or more than the numbers here can hold.
        """
        proto = sentencepiece_model_pb2.ModelProto.FromString(model)
        if not keeps_text(proto) or proto.normalizer_spec.add_dummy_prefix:
            return None
        found = [
            (piece.piece, number, score * _UNITS)
            for number, (piece, score) in enumerate(zip(proto.pieces, text_scores(proto), strict=True))
            if score is not None
        ]
        if any(
            score % 1 or abs(score) > MOST_UNITS or len(text) >= 1 << _LENGTH_BITS for text, _, score in found
        ):
            return None
        texts = {text for text, _, _ in found}
        # SentencePiece spells a space without a piece as the bytes of its sign.
        if SPACE not in texts or len(set().union(*texts)) >= 1 << _COLUMN_BITS or len(proto.pieces) > _BYTES:
            return None
        tables = _tables(proto, [(text, number, int(score)) for text, number, score in found])
        return cls(**tables) if len(tables["cells"]) <= 1 << _BASE_BITS else None

    def encode(self, texts: list[str]) -> list[NDArray[np.int32]]:
        """The ids of each text.

        Raises:
            UnicodeEncodeError: a text has half of a surrogate pair.
        """
        # A character between texts, at which every piece ends.
        offsets = np.zeros(len(texts) + 1, dtype=np.int64)
        np.cumsum([len(text) + 1 for text in texts], out=offsets[1:])
        codes = np.frombuffer("\n".join([*texts, ""]).encode("utf-32-le"), dtype=np.uint32)
        ids, ends = _encode(
            codes,
            offsets,
            self.columns,
            self.cells,
            self.endings,
            self.longest,
            self.alone,
            self.unknown_score,
            self.byte_pieces,
        )
        return [ids[begin:end] for begin, end in pairwise([0, *ends])]


def _tables(proto: Any, found: list[tuple[str, int, int]]) -> dict[str, Any]:
    texts = [text for text, _, _ in found]
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32)
    columns = np.zeros(_CODE_POINTS, dtype=np.uint16)
    alphabet = np.unique(codes)
    columns[alphabet] = np.arange(1, len(alphabet) + 1)
    alone = np.zeros(len(alphabet) + 1, dtype=np.bool_)
    alone[columns[[ord(text) for text in texts if len(text) == 1]]] = True
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    pieces = np.array([number for _, number, _ in found], dtype=np.int64)
    scores = np.array([score for _, _, score in found], dtype=np.int64)
    endings = (scores << _SCORE_SHIFT) | (lengths << _PIECE_BITS) | pieces
    cells = _double_array(*_trie(columns[codes], lengths), len(alphabet) + 1)
    # Text has spaces where pieces have their sign, which is itself in a text, too.
    columns[ord(" ")] = columns[ord(SPACE)]
    spelled = {piece.piece: number for number, piece in enumerate(proto.pieces) if piece.type == KIND.BYTE}
    unknown = next(number for number, piece in enumerate(proto.pieces) if piece.type == KIND.UNKNOWN)
    return {
        "columns": columns,
        "cells": cells,
        "endings": np.array([0, *endings]),
        "longest": int(lengths.max()),
        "alone": alone,
        "unknown_score": int(effective_scores(proto)[unknown] * _UNITS),
        "byte_pieces": np.array([spelled[f"<0x{byte:02X}>"] for byte in range(256)], dtype=np.int32),
    }


def _trie(columns: NDArray[np.uint16], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
    """Nodes of the trie by their number, of which the root's is 0: parent, column and piece (-1: none).

    Args:
        columns: of all pieces' characters, one piece after the other.
        lengths: of the pieces.
    """
    starts = np.cumsum(lengths) - lengths
    nodes = np.zeros(len(lengths), dtype=np.int64)
    parents, by, count = [np.array([-1])], [np.array([0])], 1
    for depth in range(lengths.max()):
        going = np.flatnonzero(lengths > depth)
        steps = nodes[going] * _CODE_POINTS + columns[starts[going] + depth]
        different, nodes[going] = np.unique(steps, return_inverse=True)
        nodes[going] += count
        parents.append(different // _CODE_POINTS)
        by.append(different % _CODE_POINTS)
        count += len(different)
    pieces = np.full(count, -1, dtype=np.int64)
    pieces[nodes] = np.arange(len(lengths))
    return np.concatenate(parents), np.concatenate(by), pieces


@njit(cache=True)
def _double_array(parents, by, pieces, columns):  # type: ignore[no-untyped-def]
    """The cells of the trie's nodes; `columns` is how many columns there are."""
    count = len(parents)
    children = np.zeros(count + 1, dtype=np.int64)
    for node in range(1, count):
        children[parents[node] + 1] += 1
    many_first = np.argsort(-children[1:], kind="mergesort")
    children = np.cumsum(children)
    members = np.argsort(parents, kind="mergesort")[1:]  # the root, whose parent is -1, is no member
    size = 2 * count + 2 * columns
    # Itself for a free place; a taken one says where to look for the next.
    free = np.arange(size)
    is_base = np.zeros(size, dtype=np.bool_)
    # The root is there already; nodes without children have base 0, and no other may.
    free[0], is_base[0] = 1, True
    # Where so many children had room last: there is little room before. An only child has none before the
    # place of the last one by the same column.
    last = np.zeros(2 * columns, dtype=np.int64)
    bases, places = np.zeros(count, dtype=np.int64), np.zeros(count, dtype=np.int64)
    for node in many_first:
        ours = members[children[node] : children[node + 1]]
        if len(ours) == 0:
            break
        first = by[ours[0]]
        alike = len(ours) if len(ours) > 1 else columns + first
        place = max(last[alike], first)
        fits = False
        while not fits:
            place = _next_free(free, place + 1)
            if place + columns >= size:
                free = np.concatenate((free, np.arange(size, 2 * size)))
                is_base = np.concatenate((is_base, np.zeros(size, dtype=np.bool_)))
                size *= 2
            base = place - first
            fits = not is_base[base]
            for child in ours[1:]:
                if free[base + by[child]] != base + by[child]:
                    fits = False
                    break
        last[alike] = place
        bases[node] = base
        is_base[base] = True
        for child in ours:
            places[child] = base + by[child]
            free[places[child]] = places[child] + 1
    # Every base can be asked for every column.
    cells = np.zeros(bases.max() + columns, dtype=np.uint64)
    cells[0] = bases[0]
    for node in range(1, count):
        reached = np.uint64(((pieces[node] + 1) << _COLUMN_BITS) | by[node])
        cells[places[node]] = (reached << np.uint64(_BASE_BITS)) | np.uint64(bases[node])
    return cells


@njit(cache=True)
def _next_free(free, place):  # type: ignore[no-untyped-def]
    """The first free place from `place` on; the way there gets half as long for the next time."""
    while free[place] != place:
        free[place] = free[free[place]]
        place = free[place]
    return place


@njit(cache=True)
def _encode(  # type: ignore[no-untyped-def]
    codes, offsets, columns, cells, endings, longest, alone, unknown_score, byte_pieces
):
    """The ids of all texts, and where each text's end in them.

    Args:
        codes: code points of the texts, each followed by one that is not read.
        offsets: where each text begins, and the end of all.
        columns: and so on: the fields of `Unigram`.
    """
    size = len(codes)
    # Behind the last text there is nothing that a piece could go on with.
    by = np.zeros(size + longest + 1, dtype=np.uint16)
    for position in range(size):
        by[position] = columns[codes[position]]
    for text in range(len(offsets) - 1):
        by[offsets[text + 1] - 1] = 0
    spelled = (unknown_score << _SCORE_SHIFT) | (1 << _PIECE_BITS) | _BYTES
    low = (1 << _SCORE_SHIFT) - 1
    # The best ending at each character: its length and piece, for the way back.
    taken = np.zeros(size, dtype=np.uint32)
    # The same with the score of all that is before, in a block and where its pieces end behind it.
    best = np.full(_BLOCK + longest + 1, _NO_WAY, dtype=np.int64)
    best[0] = 0
    found = np.empty((_BLOCK, longest + 1), dtype=np.int64)
    counts = np.empty(_BLOCK, dtype=np.uint64)
    walking, bases = np.empty(_BLOCK, dtype=np.uint64), np.empty(_BLOCK, dtype=np.uint64)
    for start in range(0, size, _BLOCK):
        block = min(_BLOCK, size - start)
        _find(by[start:], block, cells, endings, found, counts, walking, bases)
        for place in range(block):
            taken[start + place] = best[place] & low
            before = best[place] & ~low
            for index in range(counts[place]):
                ending = found[place, index]
                end = place + ((ending >> _PIECE_BITS) & ((1 << _LENGTH_BITS) - 1))
                best[end] = max(best[end], before + ending)
            # So every character is reached, the first of the next text too.
            if not alone[by[start + place]]:
                best[place + 1] = max(best[place + 1], before + spelled)
        # Only differences matter, and the sums of a long text would not fit.
        before = best[block] & ~low
        for place in range(longest + 1):
            way = best[block + place]
            best[place] = way if way == _NO_WAY else way - before
        best[longest + 1 :] = _NO_WAY
    return _read_back(codes, offsets, taken, byte_pieces)


@njit(cache=True)
def _find(by, block, cells, endings, found, counts, walking, bases):  # type: ignore[no-untyped-def]
    """All pieces that begin at each of `block` characters, the shortest first.

    Indices are unsigned: of a signed one, Numba asks each time whether it counts from the end.

    Args:
        by: columns of the characters and of all after them.
        block: how many.
        cells: and `endings`: the fields of `Unigram`.
        found: filled with the endings at each character, `[_BLOCK, longest + 1]`.
        counts: filled with how many there are, `[_BLOCK]`.
        walking: the characters whose piece may go on, `[_BLOCK]`.
        bases: and how far each has come: the base of its node.
    """
    base_mask, column_mask = np.uint64((1 << _BASE_BITS) - 1), np.uint64((1 << _COLUMN_BITS) - 1)
    base_bits, ending_shift = np.uint64(_BASE_BITS), np.uint64(_ENDING_SHIFT)
    for place in range(block):
        walking[place], bases[place], counts[place] = place, cells[0], 0
    alive, depth = block, np.uint64(0)
    while alive:
        left = np.uint64(0)
        for index in range(alive):
            place = walking[index]
            column = np.uint64(by[place + depth])
            cell = cells[bases[index] + column]
            # No branch: which way it goes would be known when the memory has answered.
            hit = np.uint64((cell >> base_bits) & column_mask == column) & np.uint64(column != 0)
            ending = cell >> ending_shift
            found[place, counts[place]] = endings[ending]
            counts[place] += hit & np.uint64(ending != 0)
            walking[left], bases[left] = place, cell & base_mask
            left += hit
        alive, depth = np.int64(left), depth + np.uint64(1)


@njit(cache=True)
def _read_back(codes, offsets, taken, byte_pieces):  # type: ignore[no-untyped-def]
    """The ids on the best way to the end of each text, and where each text's end in them."""
    ids = np.empty(4 * len(codes), dtype=np.int32)
    ends = np.zeros(len(offsets) - 1, dtype=np.int64)
    written = 0
    for document in range(len(offsets) - 1):
        first, position = written, offsets[document + 1] - 1
        while position > offsets[document]:
            ending = np.int64(taken[position])
            piece = ending & _BYTES
            if piece == _BYTES:
                written = _spell_backwards(codes[position - 1], byte_pieces, ids, written)
                position -= 1
            else:
                ids[written] = piece
                written += 1
                position -= ending >> _PIECE_BITS
        ends[document] = written
        ids[first:written] = ids[first:written][::-1].copy()
    return ids[:written].copy(), ends


@njit(cache=True)
def _spell_backwards(code, byte_pieces, ids, written):  # type: ignore[no-untyped-def]
    """The bytes of a character in UTF-8, the last one first."""
    if code < 0x80:
        ids[written] = byte_pieces[code]
        return written + 1
    # The first byte begins with as many ones as there are bytes.
    size = 2 if code < 0x800 else 3 if code < 0x10000 else 4
    for _ in range(size - 1):
        ids[written] = byte_pieces[0x80 | (code & 0x3F)]
        written += 1
        code >>= 6
    ids[written] = byte_pieces[((0xF00 >> size) & 0xFF) | code]
    return written + 1
