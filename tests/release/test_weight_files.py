"""Directories of strangers: what a reader of weights refuses, and what it says."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, write_json
from tsumugu.release.stored import read_header
from tsumugu.release.weight_files import INDEX, WEIGHTS, read_weights

FIRST, SECOND = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"


@pytest.fixture
def sharded(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    save_file({"a": torch.arange(6.0).view(3, 2), "b": torch.ones(2)}, folder / FIRST)
    save_file({"c": torch.tensor(7.0), "d": torch.zeros(0, 4)}, folder / SECOND)
    write_json(folder / INDEX, {"weight_map": {"a": FIRST, "b": FIRST, "c": SECOND, "d": SECOND}})
    return folder


def listed(folder: Path, **changes: str | None) -> None:
    index = read_json(folder / INDEX)
    index["weight_map"] |= changes
    index["weight_map"] = {name: file for name, file in index["weight_map"].items() if file is not None}
    write_json(folder / INDEX, index)


def test_rows_are_read_where_they_lie(sharded: Path) -> None:
    found = read_weights(sharded)
    assert {name: tensor.shape for name, tensor in found.items()} == {
        "a": (3, 2), "b": (2,), "c": (), "d": (0, 4),
    }  # fmt: skip
    assert torch.equal(found["a"].read(), torch.arange(6.0).view(3, 2))
    assert torch.equal(found["a"].read(1, 2), torch.tensor([[2.0, 3.0]]))
    assert found["c"].read() == 7
    assert found["d"].read().shape == (0, 4)


def outside(folder: Path) -> None:
    save_file({"e": torch.ones(1)}, folder.parent / "secret.safetensors")
    listed(folder, e="../secret.safetensors")


def absolute(folder: Path) -> None:
    listed(folder, e=str(folder.parent / "secret.safetensors"))


def no_weights_at_all(folder: Path) -> None:
    listed(folder, e="config.json")


def not_there(folder: Path) -> None:
    (folder / SECOND).unlink()


def not_in_its_file(folder: Path) -> None:
    listed(folder, e=FIRST)


def in_another_file(folder: Path) -> None:
    listed(folder, a=SECOND)


def not_listed(folder: Path) -> None:
    listed(folder, b=None)


def in_two_files(folder: Path) -> None:
    save_file({"a": torch.ones(3, 2), "c": torch.tensor(7.0), "d": torch.zeros(0, 4)}, folder / SECOND)


def cut_short(folder: Path) -> None:
    (folder / FIRST).write_bytes((folder / FIRST).read_bytes()[:-4])


def a_header_without_end(folder: Path) -> None:
    (folder / FIRST).write_bytes((2**62).to_bytes(8, "little") + b"{}")


def an_index_that_is_none(folder: Path) -> None:
    (folder / INDEX).write_text('{"weight_map": [1, 2]}')


def only_pickles(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()
    torch.save({"a": torch.ones(1)}, folder / "pytorch_model.bin")


def nothing(folder: Path) -> None:
    for path in folder.iterdir():
        path.unlink()


def no_index(folder: Path) -> None:
    (folder / INDEX).unlink()


@pytest.mark.parametrize(
    ("spoil", "told"),
    [
        (outside, r"names the file '\.\./secret\.safetensors', which is not in the model's own directory"),
        (absolute, r"secret\.safetensors', which is not in the model's own directory"),
        (no_weights_at_all, r"'config\.json', which is no safetensors file"),
        (not_there, rf"lists files that are not here: {SECOND}"),
        (not_in_its_file, rf"does not agree with the files: e is not in {FIRST}"),
        (in_another_file, rf"a is in {FIRST}, not in {SECOND}"),
        (not_listed, rf"b of {FIRST} is not listed"),
        (in_two_files, rf"a is in two files: {FIRST} and {SECOND}"),
        (cut_short, rf"{FIRST} is damaged or cut short"),
        (a_header_without_end, rf"{FIRST} is damaged or cut short"),
        (an_index_that_is_none, r"does not say which file holds a tensor"),
        (only_pickles, r"pickled \(pytorch_model\.bin\), and loading such files can run any code"),
        (nothing, r"there are no weights"),
        (no_index, r"2 safetensors files and no model\.safetensors\.index\.json"),
    ],
)
def test_what_is_hostile_or_damaged_is_refused(
    sharded: Path, spoil: Callable[[Path], None], told: str
) -> None:
    spoil(sharded)
    with pytest.raises(TsumuguError, match=told):
        read_weights(sharded)


def test_a_name_that_stands_twice_in_a_header_is_refused(tmp_path: Path) -> None:
    path = tmp_path / WEIGHTS
    entry = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
    header = b"{" + entry + b"," + entry + b"}"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(TsumuguError, match="damaged or cut short"):
        read_header(path)
