"""Which versions computed something."""

import platform
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

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
