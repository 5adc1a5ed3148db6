"""One shard of documents as token ids, the two splits apart.

Each document becomes `<s>` its pieces `</s>`. SentencePiece does the encoding (it is several
times faster than its twin, and a page that shows "</s>" cannot end a document there).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from tsumugu.files import write_aside
from tsumugu.tokenizer.export import load_sentencepiece
from tsumugu.tokens.split import is_validation

TRAIN = "train"
VALIDATION = "validation"
OFFSETS = "offsets"


@dataclass(frozen=True)
class EncodeTask:
    """A shard of documents, and where its tokens go."""

    documents: Path
    tokenizer: Path
    folder: Path
    seed: int
    validation_fraction: float

    @property
    def output(self) -> Path:
        """Written last, so that it stands for all files of the shard."""
        return self.folder / VALIDATION / OFFSETS / f"{self.documents.stem}.npy"


def encode_shard(task: EncodeTask) -> None:
    """Write tokens and offsets of both splits of one shard."""
    table = pq.read_table(task.documents, columns=["id", "text"])
    processor = load_sentencepiece(task.tokenizer)
    bos, eos = processor.bos_id(), processor.eos_id()
    splits: dict[str, list[list[int]]] = {TRAIN: [], VALIDATION: []}
    for document, text in zip(table["id"].to_pylist(), table["text"].to_pylist(), strict=True):
        held = is_validation(document, seed=task.seed, fraction=task.validation_fraction)
        splits[VALIDATION if held else TRAIN].append([bos, *processor.encode(text), eos])
    dtype = token_dtype(processor.get_piece_size())
    for split, documents in splits.items():
        offsets = np.zeros(len(documents) + 1, dtype=np.int64)
        np.cumsum([len(ids) for ids in documents], out=offsets[1:])
        if documents:
            tokens = np.concatenate([np.array(ids, dtype=dtype) for ids in documents])
            _write_array(task.folder / split / f"{task.documents.stem}.npy", tokens)
        _write_array(task.folder / split / OFFSETS / f"{task.documents.stem}.npy", offsets)


def token_dtype(vocab_size: int) -> type[np.unsignedinteger]:
    """The smallest of uint16 and uint32 that holds every id."""
    return np.uint16 if vocab_size <= 2**16 else np.uint32


def _write_array(path: Path, array: NDArray[np.generic]) -> None:
    with write_aside(path) as aside, aside.open("wb") as stream:
        np.save(stream, array)
