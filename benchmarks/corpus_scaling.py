"""The corpus stage with two workers against one: at least 1.8 times the speed on two cores.

Runs `tsumugu corpus` on the pages of the demo (or `--pages DIR`) and on the texts of the data folder, with
one worker and with two in turn, and compares wall seconds and the bytes that come out. What the rest of the
machine did meanwhile is measured too: two workers cannot be twice as fast on cores that are taken. Nor can
they where two cores are two threads of one, so the last row says what two independent processes gain.
"""

import argparse
import multiprocessing
import re
import shutil
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor, wait
from pathlib import Path
from statistics import median

import pyarrow as pa
import yaml

from harness import ROOT, Row, data_folder, print_table, write_result
from processes import Cost, run_measured
from tsumugu.files import read_json

_GOAL = 1.8
_IDLE_SHARE = 0.05
"""Of the two cores. More work of others than this, and a wall-clock ratio says little about us."""

_CEILING_PAGES = 2000


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--pages", type=Path, default=ROOT / "data" / "demo" / "pages", help="a folder of pages"
    )
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    if not options.pages.is_dir():
        sys.exit(
            f"error: {options.pages} does not exist; fetch it with `make data/demo/pages`, or give --pages"
        )

    costs: dict[int, list[Cost]] = {1: [], 2: []}
    outputs: set[str] = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        texts = _write_texts(folder / "texts")
        recipe = _write_recipe(folder, options.pages, texts)
        _corpus(recipe, folder / "warm-up", workers=1)
        for run in range(options.runs):
            for workers, into in costs.items():
                cost, output = _corpus(recipe, folder / f"{run}-{workers}", workers=workers)
                into.append(cost)
                outputs.add(output)
                print(
                    f"{workers} worker(s): {cost.wall:.1f} s wall, {cost.cpu:.1f} CPU s; "
                    f"others used {cost.others_cpu:.1f} CPU s meanwhile"
                )
        read = [path for root in (options.pages, texts) for path in root.rglob("*") if path.is_file()]
        megabytes = sum(path.stat().st_size for path in read) / 1e6
    rows = _rows(costs, megabytes=megabytes, equal=len(outputs) == 1)
    rows.append(_ceiling(options.pages, runs=options.runs))
    print_table(rows)
    write_result("corpus_scaling", rows, packages=["resiliparse"])


def _write_texts(folder: Path) -> Path:
    """The texts of the data folder as plain JSON Lines, which can be divided among workers."""
    folder.mkdir()
    for packed in sorted((data_folder() / "corpus").glob("*.jsonl.zst")):
        with (
            pa.CompressedInputStream(pa.OSFile(str(packed)), "zstd") as stream,
            (folder / packed.stem).open("wb") as plain,
        ):
            shutil.copyfileobj(stream, plain, 2**20)
    return folder


def _write_recipe(folder: Path, pages: Path, texts: Path) -> Path:
    """The demo's recipe with these inputs: the rules and thresholds that users run."""
    data = yaml.safe_load((ROOT / "recipes" / "demo.yaml").read_text(encoding="utf-8"))
    data["corpus"]["inputs"] = [
        {"path": str(path.absolute()), "source": path.name, "license": "various"} for path in (pages, texts)
    ]
    # Half of the default: with few large shards, the last one alone decides when a run ends.
    data["corpus"]["shard_bytes"] = 8 * 2**20
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    return path


def _corpus(recipe: Path, folder: Path, *, workers: int) -> tuple[Cost, str]:
    """Run the stage; return its cost, and what came out as one comparable string."""
    words = ["corpus", str(recipe), "--run", str(folder), "--workers", str(workers)]
    cost = run_measured([sys.executable, "-m", "tsumugu", *words])
    files = read_json(folder / "corpus" / "manifest.json")["files"]
    return cost, str(sorted((name, entry["sha256"]) for name, entry in files.items()))


def _rows(costs: dict[int, list[Cost]], *, megabytes: float, equal: bool) -> list[Row]:
    one, two = (median(cost.wall for cost in costs[workers]) for workers in (1, 2))
    everything = costs[1] + costs[2]
    others = sum(cost.others_cpu for cost in everything) / sum(2 * cost.wall for cost in everything)
    cpu = [median(cost.cpu for cost in costs[workers]) for workers in (1, 2)]
    phases = {workers: _phases(costs[workers][-1].stderr) for workers in (1, 2)}
    why = ""
    if one / two < _GOAL:
        rest = {workers: costs[workers][-1].wall - sum(phases[workers].values()) for workers in (1, 2)}
        why = (
            f"outside of the mapped work (imports, listing, what deduplication joins in one process) the "
            f"last runs spent {rest[1]:.1f} s with one worker and {rest[2]:.1f} s with two, and the workers' "
            f"start in the mapped work is as long for two as for one; CPU seconds went from {cpu[0]:.0f} to "
            f"{cpu[1]:.0f}"
        )
    if others > _IDLE_SHARE:
        busy = f"others' work took {others:.0%} of both cores meanwhile: repeat on an idle machine"
        why = f"{busy}; {why}" if why else busy
    elif len(costs[1]) < 3:
        why = f"fewer than three runs; {why}".rstrip("; ")
    details = {
        "megabytes": round(megabytes),
        "wall_runs": {workers: [round(cost.wall, 2) for cost in found] for workers, found in costs.items()},
        "cpu_runs": {workers: [round(cost.cpu, 2) for cost in found] for workers, found in costs.items()},
        "others_cpu_runs": {
            workers: [round(cost.others_cpu, 2) for cost in found] for workers, found in costs.items()
        },
        "seconds_of_mapped_work_in_last_run": phases,
    }
    return [
        Row(
            "corpus stage, 2 workers against 1",
            ours=megabytes / two,
            peer=megabytes / one,
            unit="MB/s wall",
            goal=_GOAL,
            equal_results=equal,
            conclusive=others <= _IDLE_SHARE and len(costs[1]) >= 3,
            why=why,
            details=details,
        ),
        Row(
            "the same work in CPU seconds",
            ours=cpu[1],
            peer=cpu[0],
            unit="CPU s",
            better="lower",
            equal_results=equal,
            why="at 1x, two workers do no extra work, and what a wall-clock ratio lacks is waiting",
        ),
    ]


def _ceiling(pages: Path, *, runs: int) -> Row:
    """What this machine allows: the bare extractor in two processes that share nothing, against one."""
    paths = sorted(pages.rglob("*.html"))[:_CEILING_PAGES]
    rates: dict[int, list[float]] = {1: [], 2: []}
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        # Both processes start, import and read the files once.
        wait([pool.submit(_extract, paths) for _ in range(4)])
        for _ in range(runs):
            for processes, into in rates.items():
                began = time.perf_counter()
                done = [pool.submit(_extract, paths) for _ in range(processes)]
                size = sum(future.result() for future in done)
                into.append(size / 1e6 / (time.perf_counter() - began))
    one, two = (median(rates[processes]) for processes in (1, 2))
    return Row(
        "the machine: two bare extractors against one",
        ours=two,
        peer=one,
        unit="MB html/s wall",
        why="two processes that share nothing gain this much here; nobody can gain more",
        details={
            "runs": {processes: [round(rate, 2) for rate in found] for processes, found in rates.items()}
        },
    )


def _extract(paths: list[Path]) -> int:
    from resiliparse.extract.html2text import extract_plain_text
    from resiliparse.parse.encoding import bytes_to_str, detect_encoding

    size = 0
    for path in paths:
        raw = path.read_bytes()
        extract_plain_text(bytes_to_str(raw, detect_encoding(raw) or "utf-8"), main_content=True)
        size += len(raw)
    return size


def _phases(stderr: str) -> dict[str, float]:
    """Seconds that each progress bar ran, from the tasks and their rate in its last state."""
    found = {}
    bar = r"(corpus: \w+): 100%[^\r\n]*?(\d+)/\d+ \[[^\r\n]*?, +([\d.]+)(s/shard|shard/s)\]"
    for phase, tasks, rate, unit in re.findall(bar, stderr):
        seconds = float(rate) if unit == "s/shard" else 1 / float(rate)
        found[phase] = round(int(tasks) * seconds, 2)
    return found


if __name__ == "__main__":
    main()
