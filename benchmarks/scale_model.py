"""What cleaning one Common Crawl snapshot costs, on paper: CPU hours, disk, tasks of dedup.

    python benchmarks/scale_model.py           print the tables
    python benchmarks/scale_model.py --write   put them into docs/scale.md
    python benchmarks/scale_model.py --measure measure this machine's primitives again first

Every input is a line of `ASSUMPTIONS` or `RATES` below, with where it comes from. A rate that names
a benchmark is taken from `benchmarks/results/` as soon as that benchmark has been run, so the
tables follow the code. CPU hours are hours of one core like the one that was measured on;
other cores differ by a factor of two, and so do these figures.
"""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numba import njit

from harness import ROOT, Row, measure, read_result, write_result

_PAGE = ROOT / "docs" / "scale.md"
_BEGIN, _END = "<!-- scale_model.py begin -->", "<!-- scale_model.py end -->"
_SHAPES = (10_000_000, 20)
"""Documents and bands of the primitives that are measured."""


@dataclass(frozen=True)
class Assumption:
    """A quantity of the snapshot or of the machines."""

    value: float
    unit: str
    origin: str


ASSUMPTIONS = {
    "pages": Assumption(3e9, "pages", "assumed: the size of a snapshot that the goal names"),
    "warc_bytes": Assumption(25e3, "bytes per page, gzip", "published: 75 TB per archive (arXiv:2404.09770)"),
    "warc_pages": Assumption(
        39_135, "pages per WARC file", "published: Swallow, one file of CC-MAIN-2023-23"
    ),
    "html_ratio": Assumption(5, "bytes of HTML per byte of gzip", "assumed"),
    "japanese": Assumption(
        0.05, "of pages", "published only as a bound: below 6 % (Common Crawl, March 2023)"
    ),
    "gate_passes": Assumption(
        1.2, "pages past the gate per Japanese page", "assumed: what it lets through wrongly"
    ),
    "text_bytes": Assumption(
        4100, "bytes per document", "published: FineWeb-2 Japanese, 1.65 TB of 400 M documents"
    ),
    "pass_rules": Assumption(0.31, "of documents", "published: what FineWeb-2's filters keep of Japanese"),
    "survive_dedup": Assumption(0.6, "of documents that pass", "assumed"),
    "signals": Assumption(80, "bytes per document on disk", "assumed: 60 columns, compressed"),
    "line_keys": Assumption(
        30 * 12, "bytes per document on disk", "assumed: 30 lines of a hash and a length"
    ),
    "text_ratio": Assumption(2.5, "times smaller text in Parquet (zstd)", "assumed"),
}


@dataclass(frozen=True)
class Rate:
    """MB of its input that a step handles per CPU second."""

    step: str
    per_page: str
    """Which input: "warc", "gate", "html" (past the gate), "text" (extracted), "passed"."""
    megabytes: float
    origin: str
    benchmark: str = ""
    """The benchmark whose result replaces the figure; the first row in MB/CPU s counts."""


_NOTES = "measured in throw-away tests on a machine like this one"
RATES = (
    Rate("read WARC (fastwarc)", "warc", 98, _NOTES),
    Rate("decode, language gate (kana share)", "gate", 78, f"{_NOTES}: 73 to 83"),
    Rate(
        "extract (resiliparse, main content)", "html", 18, f"{_NOTES}: 18 on Japanese pages, 46 on short ones"
    ),
    Rate(
        "transforms (NFKC and patterns)", "text", 12.6, f"{_NOTES}: NFKC on everything, the slowest of them"
    ),
    Rate("signals and rules", "text", 25, f"{_NOTES}: 13 rules, every document passing", "corpus_filters"),
    Rate("MinHash keys (20 x 10)", "passed", 29, f"{_NOTES}: classic; one-permutation 139", "corpus_dedup"),
    Rate("write Parquet (zstd)", "text", 100, "assumed", "scale_primitives"),
)
_TRAFILATURA = 33
"""Pages per CPU second, its fast mode; measured in the same throw-away tests."""


def main() -> None:
    """Print the tables, or write them into the page."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="put the tables into docs/scale.md")
    parser.add_argument("--measure", action="store_true", help="measure this machine's primitives first")
    options = parser.parse_args()
    if options.measure:
        measure_primitives()
    text = "\n\n".join([_assumptions_table(), _cpu_table(), _disk_table(), _dedup_table()])
    print(text)
    if options.write:
        page = _PAGE.read_text(encoding="utf-8")
        before, _, rest = page.partition(_BEGIN)
        after = rest.partition(_END)[2]
        _PAGE.write_text(f"{before}{_BEGIN}\n\n{text}\n\n{_END}{after}", encoding="utf-8")


def megabytes_of(kind: str) -> float:
    """MB that reach a step, over the whole snapshot."""
    known = {name: assumption.value for name, assumption in ASSUMPTIONS.items()}
    past_gate = known["pages"] * known["japanese"] * known["gate_passes"]
    html = known["warc_bytes"] * known["html_ratio"]
    return {
        "warc": known["pages"] * known["warc_bytes"],
        "gate": known["pages"] * html,
        "html": past_gate * html,
        "text": past_gate * known["text_bytes"],
        "passed": documents() * known["text_bytes"],
    }[kind] / 1e6


def documents() -> float:
    """Documents that pass the rules and are compared with each other."""
    known = {name: assumption.value for name, assumption in ASSUMPTIONS.items()}
    return known["pages"] * known["japanese"] * known["pass_rules"]


def rate_of(rate: Rate) -> tuple[float, str]:
    """MB per CPU second, and where the figure comes from."""
    for row in read_result(rate.benchmark) if rate.benchmark else []:
        if row["unit"] == "MB/CPU s":
            return row["ours"], f"measured: benchmarks/results/{rate.benchmark}.json, {row['name']}"
    return rate.megabytes, rate.origin


def measure_primitives() -> None:
    """What dedup and writing are made of, on this machine: `benchmarks/results/scale_primitives.json`."""
    count = _SHAPES[0]
    grouped = measure(_group_band)
    united = measure(_unite_band)
    written = measure(_write_text)
    rows = [
        Row("write text to Parquet (zstd)", ours=written.result / 1e6 / written.cpu, unit="MB/CPU s"),
        Row("sort one band's keys, find equals", ours=count / grouped.cpu, unit="documents/CPU s"),
        Row("union-find over one band's edges", ours=count / united.cpu, unit="documents/CPU s"),
    ]
    write_result("scale_primitives", rows)


def _group_band() -> int:
    keys = np.random.Generator(np.random.PCG64(1)).integers(0, 2**63, size=_SHAPES[0], dtype=np.uint64)
    _, first = np.unique(keys, return_index=True)
    return len(first)


def _unite_band() -> int:
    # Every document with a random earlier one: far more unions than real duplicates make.
    draw = np.random.Generator(np.random.PCG64(2))
    partners = (draw.random(_SHAPES[0]) * np.arange(1, _SHAPES[0] + 1)).astype(np.int64)
    parents = np.arange(_SHAPES[0])
    _unite(parents, partners)
    return int(parents.sum())


@njit(cache=True)
def _unite(parents, partners):  # type: ignore[no-untyped-def]
    for node in range(len(partners)):
        left, right = node, partners[node]
        while parents[left] != left:
            parents[left] = parents[parents[left]]
            left = parents[left]
        while parents[right] != right:
            parents[right] = parents[parents[right]]
            right = parents[right]
        parents[max(left, right)] = min(left, right)


def _write_text() -> int:
    draw = np.random.Generator(np.random.PCG64(3))
    # Random kanji and kana compress worse than language, so this is the slow side.
    codes = draw.integers(0x3041, 0x3097, size=(10_000, 1400), dtype=np.uint32)
    texts = [row.tobytes().decode("utf-32-le") for row in codes]
    with tempfile.TemporaryDirectory() as folder:
        pq.write_table(pa.table({"text": texts}), Path(folder) / "texts.parquet", compression="zstd")
    return sum(len(text.encode()) for text in texts)


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _assumptions_table() -> str:
    rows = [[name, f"{entry.value:,.12g}", entry.unit, entry.origin] for name, entry in ASSUMPTIONS.items()]
    return "### Inputs\n\n" + _table(["input", "value", "unit", "origin"], rows)


def _cpu_table() -> str:
    rows, total = [], 0.0
    for rate in RATES:
        speed, origin = rate_of(rate)
        hours = megabytes_of(rate.per_page) / speed / 3600
        total += hours
        rows.append(
            [rate.step, _big(megabytes_of(rate.per_page) * 1e6), f"{speed:.3g}", f"{hours:,.0f}", origin]
        )
    pages = megabytes_of("html") * 1e6 / (ASSUMPTIONS["warc_bytes"].value * ASSUMPTIONS["html_ratio"].value)
    rows.append(["**sum**", "", "", f"**{total:,.0f}**", f"{total / 1000:,.1f} h on 1,000 cores"])
    trafilatura = pages / _TRAFILATURA / 3600
    rows.append(
        [
            "trafilatura instead of resiliparse",
            f"{pages / 1e6:,.0f} M pages",
            "",
            f"{trafilatura:,.0f}",
            _NOTES,
        ]
    )
    head = ["step", "input", "MB/CPU s", "CPU hours", "origin of the rate"]
    return "### CPU hours of the steps per shard\n\n" + _table(head, rows)


def _disk_table() -> str:
    known = {name: assumption.value for name, assumption in ASSUMPTIONS.items()}
    measured = megabytes_of("text") * 1e6 / known["text_bytes"]
    passed, bands = documents(), _SHAPES[1]
    text = known["text_bytes"] / known["text_ratio"]
    kept = passed * known["survive_dedup"]
    rows = [
        ["WARC files (read once; need not be kept)", _big(known["pages"] * known["warc_bytes"])],
        ["measured: text", _big(measured * text)],
        ["measured: signals", _big(measured * known["signals"])],
        [f"measured: {bands} band keys, exact key", _big(passed * (8 * bands + 16))],
        ["measured: line keys", _big(passed * known["line_keys"])],
        ["decisions", _big(measured * (known["signals"] + 40))],
        ["documents that stay", _big(kept * text)],
    ]
    return "### Disk\n\n" + _table(["what", "bytes"], rows)


def _dedup_table() -> str:
    bands, warc = _SHAPES[1], ASSUMPTIONS["warc_pages"].value
    speeds = {row["name"]: row["ours"] for row in read_result("scale_primitives")}
    group = speeds.get("sort one band's keys, find equals", 5e6)
    unite = speeds.get("union-find over one band's edges", 2e7)
    snapshot = documents()
    rows = []
    cases = [("1 M documents", 1e6), ("one snapshot", snapshot), ("10 snapshots", 10 * snapshot)]
    for name, count in [*cases, ("100 snapshots", 100 * snapshot)]:
        shards = max(count / snapshot * ASSUMPTIONS["pages"].value / warc, 1)
        rows.append(
            [
                name,
                f"{count / 1e6:,.0f} M",
                f"{bands}",
                f"{bands * shards:,.0f}",
                _big(count * 8),
                _big(count * 8 * 4),
                f"{bands * count / group / 3600:,.2f}",
                f"{bands * count / unite / 3600:,.2f}",
                _big(count * 8),
            ]
        )
    head = ["", "compared", "tasks", "column reads", "keys per task", "memory per task"]
    head += ["CPU hours, sort", "CPU hours, union", "memory, union-find"]
    return "### Dedup\n\n" + _table(head, rows)


def _big(count: float) -> str:
    for size, unit in ((1e15, "PB"), (1e12, "TB"), (1e9, "GB")):
        if count >= size:
            return f"{count / size:,.3g} {unit}"
    return f"{count / 1e6:,.3g} MB"


if __name__ == "__main__":
    main()
