#!/usr/bin/env bash
# An environment for one benchmark: Tsumugu (editable) and the benchmark's peers.
# Peers pin old versions, and some overwrite each other's modules (three packages called
# "fasttext"), so no two benchmarks share one. Our constraints hold for everything that the
# requirements do not name; where even that cannot be solved, they are given up, aloud.
# Usage: make_bench_venv.sh PYTHON NAME
set -euo pipefail
python=$1 name=$2
venv=.venv-bench/$name requirements=benchmarks/requirements/$name.txt

[ -x "$venv/bin/python" ] || bash scripts/make_venv.sh "$python" "$venv"
pip=("$venv/bin/python" -m pip --disable-pip-version-check -q install -e .)
constraints=$(mktemp)
trap 'rm -f "$constraints"' EXIT
cp constraints.txt "$constraints"
if [ -f "$requirements" ]; then
    pip+=(-r "$requirements")
    # A package that the benchmark names is the benchmark's affair.
    named=$(sed -E 's/#.*//; s/^ *([A-Za-z0-9._-]+).*/\1/; /^ *$/d' "$requirements" | sort -u)
    for package in $named; do
        grep -viE "^${package//[-_.]/[-_.]}==" "$constraints" >"$constraints.new" || true
        mv "$constraints.new" "$constraints"
    done
fi
if ! "${pip[@]}" -c "$constraints"; then
    echo "note: $requirements does not fit constraints.txt; installing without it." >&2
    echo "      The versions that were used stand in benchmarks/results/$name.json." >&2
    "${pip[@]}"
fi
touch "$venv/.installed"
