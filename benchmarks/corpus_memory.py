"""Memory of the corpus stage: a JSONL.zst of 4 GB, two workers, under 2 GB of resident memory in all.

Writes a synthetic file of `--gigabytes` (before compression) out of the paragraphs of a real one,
with exact and near duplicates among them, runs `tsumugu corpus` on it, and reports the largest
sum of resident memory over all processes. The run is stopped when it goes over `--stop-at` GB, so
that a leak costs a figure and not the machine.
"""

import argparse
import io
import json
import random
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import yaml

from harness import ROOT, Row, data_folder, print_table, write_result
from processes import run_measured
from tsumugu.files import read_json

_GOAL_GB = 2.0
_CHARACTERS = 1400
"""A document: 4.1 KB, as in FineWeb-2's Japanese part (1.65 TB of 400 M documents)."""
_EXACT_SHARE, _NEAR_SHARE = 0.03, 0.07


def main() -> None:
    """Generate, run, report."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--gigabytes", type=float, default=4.0, help="size before compression (default: 4)")
    parser.add_argument(
        "--text", type=Path, help="a JSONL.zst (default: corpus/starter.jsonl.zst of TSUMUGU_DATA)"
    )
    parser.add_argument(
        "--folder", type=Path, help="where to work; needs about twice the size (default: temporary)"
    )
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument(
        "--stop-at", type=float, default=6.0, metavar="GB", help="kill the run above (default: 6)"
    )
    options = parser.parse_args()
    text = options.text or data_folder() / "corpus" / "starter.jsonl.zst"

    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        path = folder / "input" / "synthetic.jsonl.zst"
        documents = write_synthetic(path, text, bytes_wanted=int(options.gigabytes * 1e9))
        print(f"{path.name}: {documents} documents, {path.stat().st_size / 1e9:.2f} GB compressed")
        words = ["corpus", str(_write_recipe(folder, path)), "--run", str(folder / "run")]
        command = [sys.executable, "-m", "tsumugu", *words, "--workers", str(options.workers)]
        cost = run_measured(command, stop_at=int(options.stop_at * 1e9))
        counts = {} if cost.stopped else read_json(folder / "run" / "corpus" / "manifest.json")["counts"]

    peak = cost.peak_rss / 1e9
    why = f"the run was killed at {peak:.1f} GB, before it was done" if cost.stopped else ""
    if not cost.stopped and counts["in"] != documents:
        why = f"{documents} documents were written, but {counts['in']} came in"
    row = Row(
        f"peak resident memory, {options.gigabytes:g} GB JSONL.zst, {options.workers} workers",
        ours=peak,
        unit="GB",
        goal=_GOAL_GB,
        better="lower",
        why=why,
        details={
            "documents": documents,
            "peak_pss_gb": round(cost.peak_pss / 1e9, 3),
            "processes": cost.peak_processes,
            "stopped": cost.stopped,
            "wall_seconds": round(cost.wall, 1),
            "cpu_seconds": round(cost.cpu, 1),
            "others_cpu_seconds": round(cost.others_cpu, 1),
            "counts": {key: counts[key] for key in ("in", "kept", "dropped", "quarantined") if key in counts},
        },
    )
    print_table([row])
    print(f"PSS {cost.peak_pss / 1e9:.2f} GB, {cost.wall:.0f} s wall, {cost.cpu:.0f} CPU s")
    write_result("corpus_memory", [row])


def write_synthetic(path: Path, text: Path, *, bytes_wanted: int, seed: int = 0) -> int:
    """Write `bytes_wanted` bytes of JSON Lines, compressed; return the number of documents.

    Every document is made of paragraphs drawn from `text`, so its language is real and its
    combination new; a few repeat an earlier one exactly, or with one sentence changed.
    """
    draw = random.Random(seed)
    paragraphs = [line for document in _texts(text) for line in document.split("\n") if len(line) >= 40]
    if not paragraphs:
        sys.exit(f"error: {text} holds no paragraph of 40 characters")
    path.parent.mkdir(parents=True, exist_ok=True)
    written = documents = 0
    earlier: list[str] = []
    with pa.CompressedOutputStream(pa.OSFile(str(path), "wb"), "zstd") as stream:
        while written < bytes_wanted:
            kind = draw.random()
            if earlier and kind < _EXACT_SHARE:
                document = draw.choice(earlier)
            elif earlier and kind < _EXACT_SHARE + _NEAR_SHARE:
                document = draw.choice(earlier) + f"\n追記{documents}。"
            else:
                document = _compose(paragraphs, draw)
                # A sample is enough to repeat from, and bounds our own memory.
                if len(earlier) < 2000:
                    earlier.append(document)
                else:
                    earlier[draw.randrange(2000)] = document
            record = {"text": document, "url": f"https://example.jp/{documents}"}
            line = json.dumps(record, ensure_ascii=False).encode() + b"\n"
            stream.write(line)
            written += len(line)
            documents += 1
    return documents


def _compose(paragraphs: list[str], draw: random.Random) -> str:
    chosen: list[str] = []
    characters = 0
    while characters < _CHARACTERS:
        paragraph = draw.choice(paragraphs)[:_CHARACTERS]
        chosen.append(paragraph)
        characters += len(paragraph)
    return "\n".join(chosen)


def _texts(path: Path) -> Iterator[str]:
    with io.BufferedReader(pa.CompressedInputStream(pa.OSFile(str(path)), "zstd")) as stream:
        for line in stream:
            yield json.loads(line)["text"]


def _write_recipe(folder: Path, path: Path) -> Path:
    data = yaml.safe_load((ROOT / "recipes" / "demo.yaml").read_text(encoding="utf-8"))
    data["corpus"]["inputs"] = [{"path": str(path), "source": "synthetic", "license": "unknown"}]
    recipe = folder / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    return recipe


if __name__ == "__main__":
    main()
