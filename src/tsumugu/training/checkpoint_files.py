"""The files of one checkpoint: how a process's share is written, and how damage is found.

A share is a safetensors file in the form of PyTorch's distributed checkpointing (DCP): tensors by their
names in the whole model, and where in the whole tensor each lies. The same numbers always give the same
bytes. `state.json` lists the files with sizes and checksums, its own included.
"""

import json
import os
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import xxhash
from torch import Tensor
from torch.distributed.checkpoint.hf_storage import HuggingFaceStorageReader
from torch.distributed.checkpoint.metadata import Metadata, MetadataIndex
from torch.distributed.checkpoint.planner import SavePlan, SavePlanner
from torch.distributed.checkpoint.staging import BlockingAsyncStager
from torch.distributed.checkpoint.storage import StorageWriter, WriteResult
from torch.futures import Future

from tsumugu.files import naming, read_json, write_json

STATE = "state.json"
_FILES, _CHECKSUM = "files", "xxh3"
_BLOCK = 2**22
_ALIGNMENT = 8
_DTYPES = {torch.float32: "F32", torch.bfloat16: "BF16", torch.float16: "F16", torch.float64: "F64"}

Files = dict[str, dict[str, Any]]
"""Size in bytes and checksum by name."""


class ShardWriter(StorageWriter, BlockingAsyncStager):
    """Writes a file per process; where a save ends, `publish` is called on the first one.

    DCP makes an error on any process one of all processes, `publish` included.
    """

    def __init__(self, folder: Path, publish: Callable[[Files], None]) -> None:
        BlockingAsyncStager.__init__(self)
        self._folder = folder
        self._publish = publish

    def reset(self, checkpoint_id: str | os.PathLike[str] | None = None) -> None:
        """Nothing is kept from one save to the next."""

    def set_up_storage_writer(self, is_coordinator: bool, *args: Any, **kwargs: Any) -> None:
        """Nothing to prepare."""

    def prepare_local_plan(self, plan: SavePlan) -> SavePlan:
        """Nothing to change."""
        return plan

    def prepare_global_plan(self, plans: list[SavePlan]) -> list[SavePlan]:
        """Number the processes."""
        return [replace(plan, storage_data=number) for number, plan in enumerate(plans)]

    def write_data(self, plan: SavePlan, planner: SavePlanner) -> Future[list[WriteResult]]:
        """Write what the plan gives this process."""
        tensors: list[tuple[str, Tensor, Sequence[int]]] = []
        for item in plan.items:
            tensor = planner.resolve_data(item)
            assert isinstance(tensor, Tensor)
            assert item.tensor_data is not None
            if tensor.numel():
                tensors.append((item.index.fqn, tensor, item.tensor_data.chunk.offsets))
        results = []
        if tensors:
            self._folder.mkdir(exist_ok=True)
            path = self._folder / f"shard-{plan.storage_data:05d}.safetensors"
            with naming(path):
                size, checksum = _write_tensors(path, tensors)
            results.append(WriteResult(MetadataIndex(path.name), size, checksum))
        written: Future[list[WriteResult]] = Future()
        written.set_result(results)
        return written

    def finish(self, metadata: Metadata, results: list[list[WriteResult]]) -> None:
        """All processes have written."""
        self._publish(
            {
                result.index.fqn: {"bytes": result.size_in_bytes, "xxh3": result.storage_data}
                for written in results
                for result in written
            }
        )

    @classmethod
    def validate_checkpoint_id(cls, checkpoint_id: str | os.PathLike[str]) -> bool:
        """Any path will do."""
        return True


def write_state(folder: Path, state: dict[str, Any], files: Files) -> None:
    """Write `state.json`, and see to it that all names in `folder` are on the disk."""
    body = {**state, _FILES: files}
    write_json(folder / STATE, {**body, _CHECKSUM: _state_checksum(body)})
    flush_folder(folder)


def read_state(checkpoint: Path) -> tuple[dict[str, Any], Files]:
    """What `write_state` wrote.

    Raises:
        ValueError: it is not what was written.
        OSError: it is not there.
    """
    body = read_json(checkpoint / STATE)
    if not isinstance(body, dict) or body.pop(_CHECKSUM, None) != _state_checksum(body):
        raise ValueError(f"{checkpoint / STATE} is not what was written")
    return body, body.pop(_FILES)


def find_damage(checkpoint: Path, *, part: tuple[int, int] = (0, 1)) -> str | None:
    """What is wrong with a checkpoint, in words; None if its files are what was written.

    Args:
        checkpoint: its folder.
        part: (number, count) to look at every `count`-th file only.
    """
    try:
        _, files = read_state(checkpoint)
    except UnicodeDecodeError:
        return f"{checkpoint / STATE} is not what was written"
    except json.JSONDecodeError as error:
        return f"{checkpoint / STATE} is not what was written ({error})"
    except (OSError, ValueError) as error:
        return str(error)
    number, count = part
    for name, entry in sorted(files.items())[number::count]:
        path = checkpoint / name
        try:
            size = path.stat().st_size
            if size != entry["bytes"]:
                return f"{path} has {size} bytes of {entry['bytes']}"
            if _checksum(path) != entry["xxh3"]:
                return f"{path} is not what was written"
        except OSError as error:
            return str(error)
    return None


def reader(checkpoint: Path) -> HuggingFaceStorageReader:
    """For DCP, of a checkpoint's tensors."""
    return HuggingFaceStorageReader(str(checkpoint))


def one_process_is_meant() -> None:
    """DCP warns of every save and load of a process that has no group."""
    warnings.filterwarnings("ignore", message="torch.distributed is disabled", category=UserWarning)


def flush_folder(folder: Path) -> None:
    """Return when the names in `folder` are on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _write_tensors(path: Path, tensors: Sequence[tuple[str, Tensor, Sequence[int]]]) -> tuple[int, str]:
    """Write tensors with their places in the whole; the size in bytes and the checksum of the file."""
    tensors = sorted(tensors, key=lambda entry: entry[0])
    # What `HuggingFaceStorageReader` wants to know.
    places = {name: {"saved_offsets": list(offsets)} for name, _, offsets in tensors}
    header: dict[str, Any] = {
        "__metadata__": {"format": "pt", "DCP_VERSION": "1.0", "DCP_SHARDING_INFO": json.dumps(places)}
    }
    end = 0
    for name, tensor, _ in tensors:
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {
            "dtype": _DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [begin, end],
        }
    assert len(header) == len(tensors) + 1, "a process has one part of every tensor"
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % _ALIGNMENT)
    digest = xxhash.xxh3_128()
    with path.open("wb") as stream:

        def write(data: Any) -> None:
            digest.update(data)
            stream.write(data)

        write(len(text).to_bytes(8, "little"))
        write(text)
        for _, tensor, _ in tensors:
            numbers = tensor.detach().cpu().contiguous().flatten().view(torch.uint8)
            write(numbers.numpy().data)
        stream.flush()
        os.fsync(stream.fileno())
    return 8 + len(text) + end, digest.hexdigest()


def _state_checksum(body: dict[str, Any]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(body, sort_keys=True).encode())


def _checksum(path: Path) -> str:
    digest = xxhash.xxh3_128()
    with path.open("rb") as stream:
        while block := stream.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()
