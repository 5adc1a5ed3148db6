#!/usr/bin/env bash
# Create a virtual environment that has pip, also on Debian and Ubuntu systems
# where the package python3-venv is not installed. Usage: make_venv.sh PYTHON DIR
set -euo pipefail
python=$1 venv=$2

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then
    echo "error: Tsumugu needs Python 3.11 or newer, but '$python' is $("$python" --version 2>&1)." >&2
    echo "       Point make at another one: make PYTHON=python3.12 demo" >&2
    exit 1
fi

if "$python" -c 'import ensurepip' 2>/dev/null; then
    "$python" -m venv "$venv"
elif "$python" -m pip --version >/dev/null 2>&1; then
    # Debian ships ensurepip in python3-venv only; the system's pip can fill the environment.
    "$python" -m venv --without-pip "$venv"
    "$python" -m pip --disable-pip-version-check --python "$venv/bin/python" install -q pip
else
    echo "error: '$python' has neither ensurepip nor pip." >&2
    echo "       Install one of them: apt-get install python3-venv" >&2
    exit 1
fi
