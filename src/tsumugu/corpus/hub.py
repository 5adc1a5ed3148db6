"""Datasets of the Hugging Face Hub, streamed: `hf://datasets/OWNER/NAME@COMMIT`.

The `datasets` library (an extra) opens them, whatever their format; each of its shards is one
file to us. The commit is looked up once, when the files are found, and everything is read at that
commit, so that a dataset that changes in the middle of a run cannot mix. A longer path, such as
`hf://datasets/OWNER/NAME/data/*.parquet`, names files, and is read by `remote.py` instead.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from tsumugu.corpus.config import Input
from tsumugu.errors import TsumuguError

_DATASET = re.compile(r"hf://datasets/(?P<name>[^/@*?\[]+(?:/[^/@*?\[]+)?)(?:@(?P<revision>[^@*]+))?/?")
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class DatasetShard:
    """One of the parts that a dataset can be read in."""

    index: int
    name: str
    bytes: int
    """An estimate: the dataset's size divided by its shards; 0 when it does not say."""
    version: str
    """The dataset's commit."""


def is_dataset(path: str) -> bool:
    """Whether `path` names a dataset of the Hub, not files in one."""
    return _DATASET.fullmatch(path) is not None


def find_shards(entry: Input) -> list[DatasetShard]:
    """The shards of a dataset's split.

    Raises:
        TsumuguError: `datasets` is not installed, or the dataset cannot be reached.
    """
    name, revision = _parse(entry)
    datasets = _import()
    try:
        if revision is None or not _COMMIT.fullmatch(revision):
            revision = str(_commit(name, revision))
        dataset = datasets.load_dataset(
            name, entry.subset, split=entry.split, revision=revision, streaming=True
        )
    except Exception as error:  # the library raises what its back ends raise
        raise TsumuguError(
            f"{entry.path!r} (subset {entry.subset!r}, split {entry.split!r}) cannot be "
            f"opened: {type(error).__name__}: {error}"
        ) from error
    count = dataset.num_shards
    size = (dataset.info.download_size or 0) // count
    # Without the commit: an id must not change when a dataset's card does.
    prefix = "/".join(part for part in (name, entry.subset, entry.split) if part)
    return [
        DatasetShard(index, f"{prefix}/{index:05d}-of-{count:05d}", size, revision) for index in range(count)
    ]


def read_shard(entry: Input, *, index: int, commit: str) -> Iterator[dict[str, Any]]:
    """The rows of one shard, in order.

    Raises:
        TsumuguError: as `find_shards`, or the dataset breaks off: the network, not bad input.
    """
    name, _ = _parse(entry)
    datasets = _import()
    try:
        dataset = datasets.load_dataset(
            name, entry.subset, split=entry.split, revision=commit, streaming=True
        )
        yield from dataset.shard(num_shards=dataset.num_shards, index=index)
    except Exception as error:
        raise TsumuguError(
            f"{entry.path} at commit {commit}, shard {index}, breaks off: {type(error).__name__}: {error}. "
            f"Run again when it can be reached: finished shards are kept."
        ) from error


def _parse(entry: Input) -> tuple[str, str | None]:
    match = _DATASET.fullmatch(entry.path)
    assert match is not None
    return match["name"], match["revision"]


def _commit(name: str, revision: str | None) -> str:
    from huggingface_hub import HfApi

    return str(HfApi().dataset_info(name, revision=revision).sha)


def _import() -> Any:
    try:
        import datasets
    except ImportError as error:
        raise TsumuguError(
            "reading hf://datasets/... needs the package `datasets`: pip install 'tsumugu[datasets]'"
        ) from error
    return datasets
