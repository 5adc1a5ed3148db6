"""Files that appear whole or not at all.

Every file of a run is written beside its final name and renamed into place, so a process that
is killed leaves either the whole file or none, and a later one can trust whatever it finds.
"""

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

_CHUNK_BYTES = 1 << 20
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def write_aside(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when the block ends well.

    The block makes a file of it, or a folder. The name carries the process id, so that an orphan of
    a killed run and its successor never write into the same file.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    # In a container, a process often has the id of the one that was killed.
    _remove(aside)
    try:
        with naming(path):
            yield aside
            _flush_to_disk(aside)
        if aside.is_dir():
            replace_folder(aside, path)
        else:
            aside.replace(path)
    finally:
        _remove(aside)


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Let the errors of a full disk say that `path` was being written: they do not do so of themselves."""
    try:
        yield
    except OSError as error:
        if error.errno in _FULL and error.filename is None:
            error.filename = str(path)
        raise


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8, atomically."""
    with write_aside(path) as aside:
        aside.write_text(text, encoding="utf-8")


def computed_once(path: Path, compute: Callable[[], Any]) -> Any:
    """What `path` holds as JSON; written from `compute` if it is not there yet."""
    if not path.exists():
        write_json(path, compute())
    return read_json(path)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically. NaN is refused: it is not JSON."""
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file that `write_json` wrote."""
    return json.loads(path.read_text(encoding="utf-8"))


def remove_leftovers(folder: Path) -> None:
    """Delete what killed processes were writing below `folder` when they died."""
    for path in list(folder.rglob(".*.tmp")):
        _remove(path)


def replace_folder(new: Path, final: Path) -> None:
    """Put the folder `new` in the place of `final`, which may exist.

    Between the two renames there is a moment without `final`; `new` is still whole then, and
    the caller finds it on its next start.
    """
    old = final.with_name(f".{final.name}.old")
    if final.exists():
        shutil.rmtree(old, ignore_errors=True)
        final.replace(old)
    new.replace(final)
    shutil.rmtree(old, ignore_errors=True)


def checksums(folder: Path) -> dict[str, dict[str, Any]]:
    """Size in bytes and SHA-256 of every file below `folder`, by relative path, sorted."""
    found = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
        name = path.relative_to(folder).as_posix()
        found[name] = {"bytes": path.stat().st_size, "sha256": digest.hexdigest()}
    return found


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _flush_to_disk(path: Path) -> None:
    if path.is_dir():
        return
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
