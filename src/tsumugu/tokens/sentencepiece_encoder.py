"""The tokenizer of a run as the tokens stage needs it."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece as spm
from numpy.typing import NDArray

from tsumugu.tokenizer.export import load_sentencepiece


@dataclass(frozen=True)
class Encoder:
    """Text to ids and back."""

    processor: spm.SentencePieceProcessor
    vocab_size: int
    bos_id: int | None
    eos_id: int
    pad_id: int

    def encode_batch(self, texts: Sequence[str]) -> list[NDArray[np.int32]]:
        """The ids of each text, without special tokens."""
        encoded: list[Any] = self.processor.encode(list(texts), return_type="numpy", num_threads=1)
        return encoded

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids."""
        return str(self.processor.decode(list(ids)))


def load_encoder(folder: Path) -> Encoder:
    """The encoder of a tokenizer folder."""
    processor = load_sentencepiece(folder)
    return Encoder(
        processor,
        processor.get_piece_size(),
        processor.bos_id(),
        processor.eos_id(),
        processor.pad_id(),
    )
