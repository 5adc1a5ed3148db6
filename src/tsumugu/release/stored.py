"""Tensors as they lie in safetensors files: found by their headers, read and written piece by piece.

Files are read, not mapped into memory: a mapped page counts as memory of the process that looked at it.
What is read and written at a time is a block of rows, so that copying a tensor from file to file takes
the tensor once and a block.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from tsumugu.errors import TsumuguError
from tsumugu.files import write_aside

BLOCK_BYTES = 2**21
"""What is read or written at a time."""
_LENGTH_BYTES = 8
_METADATA = "__metadata__"
_DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}


@dataclass(frozen=True)
class StoredTensor:
    """A tensor in a file."""

    file: Path
    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    """Bytes before it in the file."""

    @property
    def row_bytes(self) -> int:
        """Of one row; of all, if it has no dimension."""
        return prod(self.shape[1:]) * self.dtype.itemsize

    def read(self, first: int = 0, last: int | None = None) -> Tensor:
        """Rows `first` to `last` (not included; default: to the end)."""
        rows = self.shape[0] if self.shape else 1
        last = rows if last is None else last
        shape = (last - first, *self.shape[1:]) if self.shape else ()
        data = bytearray((last - first) * self.row_bytes)
        if not data:
            return torch.empty(shape, dtype=self.dtype)
        with self.file.open("rb", buffering=0) as stream:
            stream.seek(self.begin + first * self.row_bytes)
            view, got = memoryview(data), 0
            while got < len(data):
                count = stream.readinto(view[got:])
                if not count:
                    raise TsumuguError(f"{self.file} was cut short while it was read")
                got += count
        return torch.frombuffer(data, dtype=self.dtype).view(shape)

    def blocks(self) -> Iterator[tuple[int, Tensor]]:
        """All rows, a block at a time, each with the number of its first row."""
        rows = self.shape[0] if self.shape else 1
        step = max(1, BLOCK_BYTES // max(1, self.row_bytes))
        for first in range(0, rows, step):
            yield first, self.read(first, min(first + step, rows))


def read_header(path: Path) -> tuple[dict[str, StoredTensor], dict[str, str]]:
    """The tensors of a safetensors file by name, and what else its header says.

    Raises:
        TsumuguError: it is no such file, or it is damaged or cut short.
    """
    try:
        # The library checks the header: sizes, overlaps, gaps, and the length of the file.
        with safe_open(path, framework="pt"):
            pass
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(_LENGTH_BYTES), "little")
            header = json.loads(stream.read(length), object_pairs_hook=_each_once)
    except (SafetensorError, OSError, ValueError) as error:
        raise TsumuguError(f"{path.name} is damaged or cut short: {error}") from error
    metadata = header.pop(_METADATA, {})
    unknown = {entry["dtype"] for entry in header.values()} - _DTYPES.keys()
    if unknown:
        raise TsumuguError(f"{path.name} holds numbers of a kind that is not read: {', '.join(unknown)}")
    start = _LENGTH_BYTES + length
    tensors = {
        name: StoredTensor(
            path, _DTYPES[entry["dtype"]], tuple(entry["shape"]), start + entry["data_offsets"][0]
        )
        for name, entry in header.items()
    }
    return tensors, metadata


@dataclass(frozen=True)
class Plan:
    """What a file is going to hold."""

    dtype: torch.dtype
    shapes: Mapping[str, Sequence[int]]
    """By the tensors' names."""


class TensorWriter:
    """Files that are filled in any order of their tensors."""

    def __init__(self) -> None:
        self._places: dict[str, tuple[BinaryIO, int, torch.dtype]] = {}

    def begin(self, stream: BinaryIO, plan: Plan) -> None:
        """Write the header of a file, as `safetensors.torch.save_file` would."""
        header: dict[str, Any] = {_METADATA: {"format": "pt"}}
        end = 0
        places = {}
        for name, shape in sorted(plan.shapes.items()):
            begin, end = end, end + prod(shape) * plan.dtype.itemsize
            header[name] = {
                "dtype": _NAMES[plan.dtype],
                "shape": list(shape),
                "data_offsets": [begin, end],
            }
            places[name] = begin
        text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
        text += b" " * (-len(text) % _LENGTH_BYTES)
        stream.write(len(text).to_bytes(_LENGTH_BYTES, "little"))
        stream.write(text)
        start = stream.tell()
        stream.truncate(start + end)
        self._places |= {name: (stream, start + begin, plan.dtype) for name, begin in places.items()}

    def write(self, name: str, tensor: Tensor) -> None:
        """Write one of the planned tensors, from any memory layout.

        Raises:
            TsumuguError: a number of it is not finite in the file's precision.
        """
        stream, begin, dtype = self._places.pop(name)
        stream.seek(begin)
        rows = tensor.reshape(1) if not tensor.dim() else tensor
        step = max(1, BLOCK_BYTES // max(1, prod(rows.shape[1:]) * dtype.itemsize))
        for first in range(0, len(rows), step):
            numbers = rows[first : first + step].to(dtype).contiguous()
            if not numbers.isfinite().all():
                kind = str(dtype).removeprefix("torch.")
                raise TsumuguError(
                    f"{name} holds numbers that are not finite, or too large for {kind}. float16 ends at "
                    f"65,504; bfloat16 and float32 reach as far as training does"
                )
            stream.write(numbers.view(-1).view(torch.uint8).numpy().data)

    @property
    def missing(self) -> list[str]:
        """Tensors that were planned and not written."""
        return list(self._places)


@contextmanager
def writing_files(plans: Mapping[Path, Plan]) -> Iterator[TensorWriter]:
    """Files that get their names when the block ends well and has written all that was planned."""
    writer = TensorWriter()
    with ExitStack() as asides:
        streams = ExitStack()
        paths = [asides.enter_context(write_aside(path)) for path in plans]
        with streams:
            for aside, plan in zip(paths, plans.values(), strict=True):
                writer.begin(streams.enter_context(aside.open("wb")), plan)
            yield writer
        assert not writer.missing, f"planned, and not written: {writer.missing}"


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands in its header twice")
    return found
