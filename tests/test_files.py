"""Files and folders appear whole or not at all."""

from pathlib import Path

import pytest

from tsumugu.files import (
    checksums,
    read_json,
    remove_leftovers,
    replace_folder,
    write_aside,
    write_json,
    write_text,
)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")

    def fail() -> None:
        with write_aside(path) as aside:
            aside.write_text("half")
            raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        fail()
    assert path.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_json_keeps_japanese_and_refuses_nan(tmp_path: Path) -> None:
    path = tmp_path / "sub" / "a.json"
    write_json(path, {"紡ぐ": 1})
    assert "紡ぐ" in path.read_text(encoding="utf-8")
    assert read_json(path) == {"紡ぐ": 1}
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, float("nan"))


def test_a_folder_takes_the_place_of_another(tmp_path: Path) -> None:
    for name in ("new", "final"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    replace_folder(tmp_path / "new", tmp_path / "final")
    assert [p.name for p in tmp_path.rglob("*")] == ["final", "new"]


def test_leftovers_of_killed_processes_go(tmp_path: Path) -> None:
    (tmp_path / "a" / ".b.npy.123.tmp").mkdir(parents=True)
    write_text(tmp_path / "a" / ".b.npy.123.tmp" / "part", "half")
    (tmp_path / ".c.124.tmp").touch()
    write_text(tmp_path / "a" / "kept.npy", "whole")
    remove_leftovers(tmp_path)
    assert [path.name for path in tmp_path.rglob("*")] == ["a", "kept.npy"]


def test_checksums_name_every_file(tmp_path: Path) -> None:
    write_text(tmp_path / "b" / "x", "1")
    write_text(tmp_path / "a", "22")
    found = checksums(tmp_path)
    assert list(found) == ["a", "b/x"]
    assert found["a"]["bytes"] == 2


def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    def fill() -> None:
        with write_aside(tmp_path / "some.json") as aside, Path("/dev/full").open("w") as stream:
            aside.write_text("half")
            stream.write("x" * 100_000)

    with pytest.raises(OSError, match="No space left on device: '.*/some.json'"):
        fill()
    assert list(tmp_path.iterdir()) == []
