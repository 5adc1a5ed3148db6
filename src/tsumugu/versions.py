"""Which versions computed something, and on what."""

import platform
import subprocess
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import tsumugu


def installed_versions(libraries: Sequence[str]) -> dict[str, str]:
    """Of Tsumugu, Python, and those of `libraries` that are installed."""
    found = {"tsumugu": tsumugu.__version__, "python": platform.python_version()}
    for library in libraries:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            continue
    return found


def commit_of(checkout: Path) -> str:
    """Of a git checkout, with "-dirty" where files differ from it; "unknown" where there is none."""
    command = ["git", "-C", str(checkout), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def cpu_model() -> str:
    """As Linux names it; what Python knows elsewhere."""
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"
