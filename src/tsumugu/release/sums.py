"""`SHA256SUMS`: what the files of a release were when it was made, as `sha256sum --check` reads it."""

import re
from pathlib import Path

from tsumugu.errors import TsumuguError
from tsumugu.files import checksums, write_text
from tsumugu.pipeline import MANIFEST

SUMS = "SHA256SUMS"
RECORDS = frozenset(
    {
        MANIFEST,
        "decisions.jsonl",
        "metrics.jsonl",
        "preference-decisions.jsonl",
        "preference-metrics.jsonl",
        "samples.json",
        "scores.json",
    }
)
"""What stages note beside a model for the run and its report. They name files of the machine and quote data,
whose licence may be another; what of them is for everybody stands in the card."""
_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def released_files(folder: Path) -> list[str]:
    """The files of a release, by their paths in it: not the run's records, nor what is hidden."""
    found = [path.relative_to(folder) for path in folder.rglob("*") if path.is_file()]
    return sorted(
        path.as_posix()
        for path in found
        if path.as_posix() not in RECORDS | {SUMS} and not any(part.startswith(".") for part in path.parts)
    )


def write_sums(folder: Path) -> None:
    """Write the SHA-256 sums of all files of a release."""
    sums = checksums(folder)
    write_text(folder / SUMS, "".join(f"{sums[name]['sha256']}  {name}\n" for name in released_files(folder)))


def read_sums(folder: Path) -> dict[str, str]:
    """The sums that a release states, by file.

    Raises:
        TsumuguError: there are none, or a line is no sum of a file of this directory.
    """
    path = folder / SUMS
    if not path.is_file():
        raise TsumuguError(f"there is no {SUMS}")
    found: dict[str, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None:
            raise TsumuguError(f"{SUMS}, line {number}: this is no sum and file: {line[:80]!r}")
        name = match[2]
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise TsumuguError(f"{SUMS}, line {number}: {name!r} is not in the directory")
        found[name] = match[1]
    return found


def wrong_sums(folder: Path) -> list[str]:
    """What does not agree with `SHA256SUMS`, in words; nothing if all does.

    Raises:
        TsumuguError: see `read_sums`.
    """
    stated, sums = read_sums(folder), checksums(folder)
    wrong = [f"{name} is missing" for name in stated if name not in sums]
    wrong += [
        f"{name} is not what was released"
        for name, digest in stated.items()
        if name in sums and sums[name]["sha256"] != digest
    ]
    return wrong + [f"{name} is not listed" for name in released_files(folder) if name not in stated]
