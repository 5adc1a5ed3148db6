"""The one door to a run's tokenizer, of whatever kind: text to ids and back.

SentencePiece does the work where the tokenizer is one (it is several times faster than its twin),
the `tokenizers` library otherwise. Special tokens are neither added to a text nor found in it.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json
from tsumugu.tokenizer.export import FAST, SPIECE, load_sentencepiece

SPECIAL_TOKENS_MAP = "special_tokens_map.json"
Ids = NDArray[np.int32]
_BYTE = re.compile("<0x[0-9A-F]{2}>")


@dataclass(frozen=True)
class Encoder:
    """A tokenizer."""

    vocab_size: int
    """One more than the largest id."""
    bos_id: int | None
    """None: documents begin with their first piece."""
    eos_id: int
    pad_id: int
    """`eos_id` where the tokenizer has no token for padding."""
    unk_id: int | None
    _encode: Callable[[list[str]], list[Ids]]
    _decode: Callable[[list[int]], str]
    _piece: Callable[[int], str]
    name_of: Callable[[int], str]
    """An id's name in the vocabulary: `▁駅`, `<0xE3>`, or letters that stand for bytes; "" if it has none."""

    @property
    def document_start(self) -> list[int]:
        """The ids before the first piece of a document: `[bos_id]`, or nothing."""
        return [] if self.bos_id is None else [self.bos_id]

    @property
    def prompt_start(self) -> int:
        """What a model sees before the first piece of a text: `bos_id`, or the end of the text before."""
        return self.eos_id if self.bos_id is None else self.bos_id

    def encode(self, text: str) -> list[int]:
        """The ids of `text`."""
        ids: list[int] = self.encode_batch([text])[0].tolist()
        return ids

    def encode_batch(self, texts: Sequence[str]) -> list[Ids]:
        """The ids of each text, the same as one by one, as int32 arrays.

        Raises:
            TsumuguError: a text holds half of a surrogate pair, which no encoding of Unicode can hold.
        """
        try:
            return self._encode(list(texts))
        except (RuntimeError, TypeError, UnicodeEncodeError):
            for text in texts:
                _refuse_surrogates(text)
            raise

    def decode(self, ids: Sequence[int]) -> str:
        """The text of `ids`; special tokens are nothing in it."""
        return self._decode([int(index) for index in ids])

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The text that each id stands for, in which `▁` may be a space. Bytes that are not whole
        characters are written as `<0xE3>`, one after another."""
        return [self._piece(int(index)) for index in ids]

    def byte_lengths(self) -> NDArray[np.int64]:
        """UTF-8 bytes of text that each id stands for, 0 for special tokens: `int64 [vocab_size]`."""
        special = {self.bos_id, self.eos_id, self.pad_id, self.unk_id}
        pieces = self.pieces(range(self.vocab_size))
        lengths = [
            0 if index in special else len(_BYTE.sub("x", piece).replace("▁", " ").encode())
            for index, piece in enumerate(pieces)
        ]
        return np.array(lengths, dtype=np.int64)


def load_encoder(folder: Path) -> Encoder:
    """The tokenizer of a finished tokenizer stage: SentencePiece where the folder has its model."""
    return _sentencepiece_encoder(folder) if (folder / SPIECE).exists() else load_fast_encoder(folder)


def load_bulk_encoder(folder: Path) -> Encoder:
    """The same for much text: where it can, it is about twice as fast, and takes a second to be ready."""
    encoder = load_encoder(folder)
    encode = _bulk_encode((folder / SPIECE).read_bytes()) if (folder / SPIECE).exists() else None
    return encoder if encode is None else replace(encoder, _encode=encode)


@lru_cache(maxsize=1)
def _bulk_encode(model: bytes) -> Callable[[list[str]], list[Ids]] | None:
    # It imports numba.
    from tsumugu.tokenizer.unigram import Unigram

    unigram = Unigram.of(model)
    return None if unigram is None else unigram.encode


def load_fast_encoder(folder: Path) -> Encoder:
    """The released form of the tokenizer, `tokenizer.json`."""
    tokenizer = Tokenizer.from_file(str(folder / FAST))
    as_for_text(tokenizer)

    def encode(texts: list[str]) -> list[Ids]:
        found = tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [np.array(one.ids, dtype=np.int32) for one in found]

    def decode(ids: list[int]) -> str:
        text: str = tokenizer.decode(ids, skip_special_tokens=True)
        return text

    letters = byte_letters() if _is_byte_level(tokenizer) else {}
    added = tokenizer.get_added_tokens_decoder()

    def name_of(index: int) -> str:
        # A vocabulary may have holes.
        name: str = tokenizer.id_to_token(index) or ""
        return name

    def piece(index: int) -> str:
        name = name_of(index)
        # Added tokens stand in the vocabulary as they are, whatever the others are written in.
        return name if index in added or not letters else _from_byte_letters(name, letters)

    size = max(tokenizer.get_vocab(with_added_tokens=True).values()) + 1
    return _encoder(folder, size, tokenizer.token_to_id, encode, decode, piece, name_of)


def _is_byte_level(tokenizer: Tokenizer) -> bool:
    return '"ByteLevel"' in json.dumps(json.loads(tokenizer.to_str())["decoder"])


def byte_letters() -> dict[str, int]:
    """Byte-level BPE's letter for each byte (GPT-2's `bytes_to_unicode`): itself if it can be printed,
    else the next letter from U+0100 on."""
    printed = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in printed]
    return {chr(byte): byte for byte in printed} | {chr(256 + n): byte for n, byte in enumerate(others)}


def _from_byte_letters(name: str, letters: dict[str, int]) -> str:
    if not all(letter in letters for letter in name):
        return name
    spelled = bytes(letters[letter] for letter in name)
    try:
        return spelled.decode()
    except UnicodeDecodeError:
        return "".join(f"<0x{byte:02X}>" for byte in spelled)


def as_for_text(tokenizer: Tokenizer) -> None:
    """Whole texts, of any length, in which no special token is found."""
    tokenizer.encode_special_tokens = True
    tokenizer.no_truncation()
    tokenizer.no_padding()


def _sentencepiece_encoder(folder: Path) -> Encoder:
    processor = load_sentencepiece(folder)
    return _encoder(
        folder,
        processor.get_piece_size(),
        processor.piece_to_id,
        # Parallel work is one process per shard.
        lambda texts: processor.encode(texts, return_type="numpy", num_threads=1),
        processor.decode,
        processor.id_to_piece,
        processor.id_to_piece,
    )


def _encoder(
    folder: Path,
    vocab_size: int,
    id_of: Callable[[str], int | None],
    encode: Callable[[list[str]], list[Ids]],
    decode: Callable[[list[int]], str],
    piece: Callable[[int], str],
    name_of: Callable[[int], str],
) -> Encoder:
    special = read_json(folder / SPECIAL_TOKENS_MAP)
    ids = {role: id_of(token) for role, token in special.items() if isinstance(token, str)}
    eos = ids["eos_token"]
    assert eos is not None, "the tokenizer stage has seen its piece"
    pad = ids.get("pad_token")
    return Encoder(
        vocab_size=vocab_size,
        bos_id=ids.get("bos_token"),
        eos_id=eos,
        pad_id=eos if pad is None else pad,
        unk_id=ids.get("unk_token"),
        _encode=encode,
        _decode=decode,
        _piece=piece,
        name_of=name_of,
    )


def _refuse_surrogates(text: str) -> None:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise TsumuguError(
            f"character {error.start} of a text is half of a surrogate pair "
            f"(U+{ord(text[error.start]):04X}); such a text cannot be written as UTF-8. "
            f"Repair it before it comes to the tokenizer."
        ) from error
