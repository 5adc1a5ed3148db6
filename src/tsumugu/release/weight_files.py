"""The weights of a Hugging Face directory: one reader for all who take them from strangers.

`model.safetensors`, or files that `model.safetensors.index.json` lists. Only headers are read at first.
Nothing of a directory is run: pickled weights are refused, and so are names that lead out of it.
"""

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json
from tsumugu.release.stored import StoredTensor, read_header

WEIGHTS = "model.safetensors"
INDEX = "model.safetensors.index.json"
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle")
"""Ends of the names of files that can run code when they are loaded."""


def read_weights(folder: Path) -> dict[str, StoredTensor]:
    """The tensors of a directory by name, not yet read.

    Raises:
        TsumuguError: there are none, or only pickled ones; the index leads out of the directory, or does
            not agree with the files; a file is damaged.
    """
    if (folder / INDEX).is_file():
        return _read_listed(folder)
    if (folder / WEIGHTS).is_file():
        return _read_files([folder / WEIGHTS])
    files = sorted(folder.glob("*.safetensors"))
    if len(files) == 1:
        return _read_files(files)
    if files:
        raise TsumuguError(
            f"there are {len(files)} safetensors files and no {INDEX}, so nobody knows which belong to the "
            f"model. Fetch the index, or leave the one file of the model"
        )
    pickled = pickles(folder)
    if pickled:
        raise TsumuguError(
            f"its weights are pickled ({', '.join(pickled[:3])}), and loading such files can run any code. "
            f"Where you trust them, load the model with transformers and save it again: save_pretrained "
            f"writes safetensors"
        )
    raise TsumuguError(f"there are no weights: neither {WEIGHTS} nor {INDEX}")


def pickles(folder: Path) -> list[str]:
    """Names of the files at the top of a directory that could run code when they are loaded."""
    return sorted(path.name for path in folder.iterdir() if path.is_file() and path.suffix.lower() in PICKLES)


def _read_listed(folder: Path) -> dict[str, StoredTensor]:
    listed = _weight_map(folder / INDEX)
    names = sorted(set(listed.values()))
    for name in names:
        _refuse_elsewhere(folder, name)
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise TsumuguError(f"{INDEX} lists files that are not here: {', '.join(absent)}")
    found = _read_files([folder / name for name in names])
    wrong = [f"{name} is not in {file}" for name, file in listed.items() if name not in found]
    wrong += [
        f"{name} is in {found[name].file.name}, not in {file}"
        for name, file in listed.items()
        if name in found and found[name].file.name != PurePosixPath(file).name
    ]
    wrong += [f"{name} of {found[name].file.name} is not listed" for name in found if name not in listed]
    if wrong:
        more = f"; and {len(wrong) - 3} more" if len(wrong) > 3 else ""
        raise TsumuguError(f"{INDEX} does not agree with the files: {'; '.join(wrong[:3])}{more}")
    return found


def _weight_map(path: Path) -> Mapping[str, str]:
    try:
        index: Any = read_json(path)
    except (OSError, ValueError) as error:
        raise TsumuguError(f"{path.name} is damaged: {error}") from error
    listed = index.get("weight_map") if isinstance(index, dict) else None
    if (
        not isinstance(listed, dict)
        or not listed
        or not all(isinstance(value, str) and value for value in listed.values())
    ):
        raise TsumuguError(f"{path.name} is damaged: its weight_map does not say which file holds a tensor")
    return listed


def _refuse_elsewhere(folder: Path, name: str) -> None:
    """The hub's cache has links to files of its own, so what counts is the name."""
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or "\\" in name or ":" in name or len(path.parts) != 1:
        raise TsumuguError(
            f"{INDEX} names the file {name!r}, which is not in the model's own directory. This is no "
            f"accident: do not use this directory"
        )
    if path.suffix != ".safetensors":
        raise TsumuguError(f"{INDEX} names the file {name!r}, which is no safetensors file")


def _read_files(paths: list[Path]) -> dict[str, StoredTensor]:
    found: dict[str, StoredTensor] = {}
    for path in paths:
        tensors, _ = read_header(path)
        for name in tensors:
            if name in found:
                raise TsumuguError(f"{name} is in two files: {found[name].file.name} and {path.name}")
        found |= tensors
    return found
