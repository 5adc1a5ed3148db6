"""SentencePiece's encoding, once more, for much text: the same ids in half of the time.

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
# What is read together is one number.
_BASE_BITS = 24
"""A cell: the cell of its parent, and the base of its children."""
_LENGTH_BITS = 8
"""An ending: its score, its piece, and the piece's length in code points."""
_PIECE_BITS = 24


@dataclass(frozen=True)
class Unigram:
    """A unigram model that is ready to encode."""

    columns: NDArray[np.int32]
    """A number for each code point that stands in a piece, 0 for the others, `[0x110000]`."""
    cells: NDArray[np.int64]
    """A trie as a double array (Aoe 1989): the child by a column is at the base plus that column, if the
    parent that is named there is the one asked for."""
    endings: NDArray[np.int64]
    """The piece that ends in each cell."""
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

        None if it changes text before it is encoded, has no bytes, or has scores that sums may round.
        """
        proto = sentencepiece_model_pb2.ModelProto.FromString(model)
        if not keeps_text(proto) or proto.normalizer_spec.add_dummy_prefix:
            return None
        found = [
            (piece.piece, number, score * _UNITS)
            for number, (piece, score) in enumerate(zip(proto.pieces, text_scores(proto), strict=True))
            if score is not None
        ]
        if any(score % 1 or len(text) >= 1 << _LENGTH_BITS for text, _, score in found):
            return None
        return cls(**_tables(proto, [(text, number, int(score)) for text, number, score in found]))

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
    columns = np.zeros(_CODE_POINTS, dtype=np.int32)
    alphabet = np.unique(codes)
    columns[alphabet] = np.arange(1, len(alphabet) + 1)
    alone = np.zeros(len(alphabet) + 1, dtype=np.bool_)
    alone[columns[[ord(text) for text in texts if len(text) == 1]]] = True
    lengths = np.array([len(text) for text in texts], dtype=np.int64)
    pieces = np.array([number for _, number, _ in found], dtype=np.int64)
    scores = np.array([score for _, _, score in found], dtype=np.int64)
    cells, endings = _double_array(
        *_trie(columns[codes], lengths),
        (((scores << _PIECE_BITS) | pieces) << _LENGTH_BITS) | lengths,
        len(alphabet) + 1,
    )
    # Text has spaces where pieces have their sign, which is itself in a text, too.
    columns[ord(" ")] = columns[ord(SPACE)]
    spelled = {piece.piece: number for number, piece in enumerate(proto.pieces) if piece.type == KIND.BYTE}
    unknown = next(number for number, piece in enumerate(proto.pieces) if piece.type == KIND.UNKNOWN)
    return {
        "columns": columns,
        "cells": cells,
        "endings": endings,
        "longest": int(lengths.max()),
        "alone": alone,
        "unknown_score": int(effective_scores(proto)[unknown] * _UNITS),
        "byte_pieces": np.array([spelled[f"<0x{byte:02X}>"] for byte in range(256)], dtype=np.int32),
    }


def _trie(columns: NDArray[np.int32], lengths: NDArray[np.int64]) -> tuple[NDArray[np.int64], ...]:
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
def _double_array(parents, by, pieces, endings, columns):  # type: ignore[no-untyped-def]
    """Cells and their endings, for the trie's nodes; `columns` is how many columns there are."""
    count = len(parents)
    children = np.zeros(count + 1, dtype=np.int64)
    for node in range(1, count):
        children[parents[node] + 1] += 1
    many_first = np.argsort(-children[1:], kind="mergesort")
    children = np.cumsum(children)
    members = np.argsort(parents, kind="mergesort")[1:]  # the root, whose parent is -1, is no member
    size = 2 * count + 2 * columns
    taken = np.zeros(size, dtype=np.bool_)
    bases = np.zeros(count, dtype=np.int64)
    places = np.zeros(count, dtype=np.int64)
    taken[0] = True
    first_free = 1
    for node in many_first:
        ours = members[children[node] : children[node + 1]]
        if len(ours) == 0:
            break
        while taken[first_free]:
            first_free += 1
        place = max(first_free, by[ours[0]])
        while True:
            base = place - by[ours[0]]
            fits = True
            for child in ours:
                if taken[base + by[child]]:
                    fits = False
                    break
            if fits:
                break
            place += 1
            if place + columns >= size:
                larger = np.zeros(2 * size, dtype=np.bool_)
                larger[:size] = taken
                taken, size = larger, 2 * size
        bases[node] = base
        for child in ours:
            places[child] = base + by[child]
            taken[base + by[child]] = True
    # Every base can be asked for every column.
    used = places.max() + columns + 1
    cells = np.full(used, -1 << _BASE_BITS, dtype=np.int64)
    in_cells = np.zeros(used, dtype=np.int64)
    cells[0] |= bases[0]
    for node in range(1, count):
        place = places[node]
        cells[place] = (places[parents[node]] << _BASE_BITS) | bases[node]
        if pieces[node] >= 0:
            in_cells[place] = endings[pieces[node]]
    return cells, in_cells


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
    by = np.zeros(size + longest + 1, dtype=np.int32)
    for position in range(size):
        by[position] = columns[codes[position]]
    best = np.full(size + 1, -(2**62), dtype=np.int64)
    # The best piece that ends there and its length; -1: no piece, but bytes.
    taken = np.zeros(size + 1, dtype=np.int32)
    for text in range(len(offsets) - 1):
        best[offsets[text]] = 0
        by[offsets[text + 1] - 1] = 0
    found = np.empty((_BLOCK, longest), dtype=np.int64)
    counts = np.empty(_BLOCK, dtype=np.int64)
    for start in range(0, size, _BLOCK):
        block = min(_BLOCK, size - start)
        _find(by, start, block, cells, endings, found, counts)
        for place in range(block):
            position = start + place
            before = best[position]
            # The first of equals stays, and those that begin first come first.
            for index in range(counts[place]):
                ending = found[place, index]
                length = ending & ((1 << _LENGTH_BITS) - 1)
                candidate = before + (ending >> (_PIECE_BITS + _LENGTH_BITS))
                if candidate > best[position + length]:
                    best[position + length] = candidate
                    taken[position + length] = ending & 0xFFFFFFFF
            if not alone[by[position]] and before + unknown_score > best[position + 1]:
                best[position + 1] = before + unknown_score
                taken[position + 1] = -1
    return _read_back(codes, offsets, taken, byte_pieces)


@njit(cache=True)
def _find(by, start, block, cells, endings, found, counts):  # type: ignore[no-untyped-def]
    """All pieces that begin at each of `block` characters, the shortest first.

    Args:
        by: columns of all characters.
        start: the first character.
        block: how many.
        cells: and `endings`: the fields of `Unigram`.
        found: filled with the endings at each character, `[_BLOCK, longest]`.
        counts: filled with how many there are, `[_BLOCK]`.
    """
    base_mask = (1 << _BASE_BITS) - 1
    # The characters whose piece may go on, and how far each has come.
    walking = np.arange(block)
    nodes = np.zeros(block, dtype=np.int64)
    bases = np.full(block, cells[0] & base_mask, dtype=np.int64)
    counts[:block] = 0
    alive, depth = np.int64(block), 0
    while alive:
        left = np.int64(0)
        for index in range(alive):
            place, node = walking[index], nodes[index]
            # The step before has come to this node.
            ending = endings[node]
            found[place, counts[place]] = ending
            counts[place] += np.int64(ending != 0)
            column = np.int64(by[start + place + depth])
            at = bases[index] + column
            cell = cells[at]
            # No branch: which way it goes would be known when the memory has answered.
            hit = np.int64(cell >> _BASE_BITS == node) & np.int64(column != 0)
            walking[left], nodes[left], bases[left] = place, at, cell & base_mask
            left += hit
        alive, depth = left, depth + 1


@njit(cache=True)
def _read_back(codes, offsets, taken, byte_pieces):  # type: ignore[no-untyped-def]
    """The ids on the best way to the end of each text, and where each text's end in them."""
    ids = np.empty(4 * len(codes), dtype=np.int32)
    ends = np.zeros(len(offsets) - 1, dtype=np.int64)
    written = 0
    for document in range(len(offsets) - 1):
        first, position = written, offsets[document + 1] - 1
        while position > offsets[document]:
            ending = taken[position]
            if ending == -1:
                written = _spell_backwards(codes[position - 1], byte_pieces, ids, written)
                position -= 1
            else:
                ids[written] = (ending >> _LENGTH_BITS) & ((1 << _PIECE_BITS) - 1)
                written += 1
                position -= ending & ((1 << _LENGTH_BITS) - 1)
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
