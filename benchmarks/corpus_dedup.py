"""MinHash deduplication from JSON Lines to decisions: Tsumugu, datatrove, HojiChar.

The same documents, character 5-grams, 20 bands of 10 rows; each on one core, in a process of its
own, in turn. Each reads a JSON Lines file and ends with the ids of what it drops:

- Tsumugu: `keys`, shards of keys on disk, `decide` with exact and near duplicates only.
- datatrove: its four steps (signatures, buckets, clusters, filter) with files in between. Shingles are
  hashed slices of five characters instead of words joined by spaces, which it would need spaCy for;
  its text simplification is left out too. Both make it faster.
- HojiChar: `GenerateDedupLSH` and `InlineDeduplicator`, which need no files.

The documents are those of benchmark-mix, normalised beforehand, so that all compare the same
characters, and edited copies of some of them. A pair of original and copy with an exact Jaccard
similarity of at least 0.8 is found if not both are kept; that is the recall beside each figure.
Precision: of a sample of what is dropped, the share with an exact similarity of at least 0.5 to any
other document.

The peers cannot share an environment (both bring their own fastText): each gets one of its own in
`.venv-bench/`, from `requirements/corpus_dedup-PEER.txt`. Needs TSUMUGU_DATA.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

NGRAM, BANDS, ROWS = 5, 20, 10
GOALS = {"datatrove": 20.0, "hojichar": 5.0}
SIMILAR = 0.8
_COPIES = 1000
_SAMPLE = 300


def main() -> None:
    """Prepare the documents, run everybody in turn, print and write the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--documents", type=int, default=16_500, help="how many of benchmark-mix")
    parser.add_argument("--runs", type=int, default=3)
    # How this file calls itself, in the environment of a contestant.
    parser.add_argument("--contestant", choices=["tsumugu", *GOALS], help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        print(json.dumps(_compete(options.contestant, options.work)))
        return

    from harness import Row, print_table, write_result

    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        pairs, texts = _prepare(work, options.documents)
        megabytes = sum(len(text.encode()) for text in texts.values()) / 1e6
        pythons = {"tsumugu": Path(sys.executable)}
        pythons |= {peer: _environment(peer) for peer in GOALS}
        runs: dict[str, list[dict[str, Any]]] = {name: [] for name in pythons}
        for _ in range(options.runs):
            for contestant, python in pythons.items():
                runs[contestant].append(_run(contestant, python, work))
        quality = {
            contestant: _quality(set(found[-1]["dropped"]), pairs, texts)
            for contestant, found in runs.items()
        }
    speed = {name: megabytes / median(run["cpu"] for run in found) for name, found in runs.items()}
    for contestant in pythons:
        print(f"{contestant}: {quality[contestant]}")
    rows = [
        Row(
            name=f"MinHash, against {peer}",
            ours=round(speed["tsumugu"], 2),
            peer=round(speed[peer], 2),
            unit="MB/CPU s",
            goal=goal,
            # The same work if the same pairs are found; hash functions differ, so chance does too.
            equal_results=abs(quality["tsumugu"]["recall"] - quality[peer]["recall"]) < 0.03,
            why=f"recall {quality['tsumugu']['recall']:.3f} beside {quality[peer]['recall']:.3f}",
            details={
                "megabytes": round(megabytes, 2),
                "documents": len(texts),
                "cpu_seconds": {name: [run["cpu"] for run in runs[name]] for name in ("tsumugu", peer)},
                "wall_seconds": {name: [run["wall"] for run in runs[name]] for name in ("tsumugu", peer)},
                "quality": {name: quality[name] for name in ("tsumugu", peer)},
                "peer_version": runs[peer][0]["version"],
            },
        )
        for peer, goal in GOALS.items()
    ]
    print_table(rows)
    write_result("corpus_dedup", rows)


def _environment(peer: str) -> Path:
    """The Python of a peer's own environment, made on first use."""
    from harness import ROOT

    folder = ROOT / ".venv-bench" / f"corpus_dedup-{peer}"
    python, installed = folder / "bin" / "python", folder / ".installed"
    if not installed.exists():
        print(f"Installing {peer} into {folder} ...", flush=True)
        requirements = ROOT / "benchmarks" / "requirements" / f"corpus_dedup-{peer}.txt"
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "-q", "install", "-r", str(requirements)], check=True)
        installed.touch()
    return python


def _prepare(work: Path, documents: int) -> tuple[list[tuple[str, str]], dict[str, str]]:
    """Write documents.jsonl and warm-up.jsonl; return the pairs to be found, and the texts."""
    import pyarrow as pa

    from harness import data_folder
    from tsumugu.corpus.dedup.normalising import comparable, comparable_codes
    from tsumugu.corpus.dedup.verifying import jaccard, ngram_sets

    with pa.input_stream(
        str(data_folder() / "corpus" / "benchmark-mix.jsonl.zst"), compression="detect"
    ) as stream:
        lines = stream.read().decode().split("\n")[:documents]
    texts = {f"d{row}": json.loads(line)["text"] for row, line in enumerate(lines) if line}
    texts = {name: comparable(text).replace("\n", "") for name, text in texts.items()}
    draw = random.Random(0)
    long = [name for name, text in texts.items() if len(text) >= 200]
    candidates = []
    for name in draw.sample(long, min(_COPIES, len(long))):
        letters = list(texts[name])
        share = draw.uniform(0.002, 0.022)
        for place in draw.sample(range(len(letters)), max(1, round(share * len(letters)))):
            letters[place] = draw.choice("亜以宇衣於加幾久計己左之須世曽太知川天止")
        texts[f"copy-{name}"] = "".join(letters)
        candidates.append((name, f"copy-{name}"))
    names = list(texts)
    draw.shuffle(names)
    texts = {name: texts[name] for name in names}
    codes, offsets = comparable_codes([texts[name] for pair in candidates for name in pair])
    sets = ngram_sets(codes, offsets, ngram=NGRAM)
    pairs = [pair for row, pair in enumerate(candidates) if jaccard(*sets, 2 * row, 2 * row + 1) >= SIMILAR]
    for file, chosen in (("documents", names), ("warm-up", names[:50])):
        with (work / f"{file}.jsonl").open("w", encoding="utf-8") as stream:
            for name in chosen:
                stream.write(json.dumps({"id": name, "text": texts[name]}, ensure_ascii=False) + "\n")
    return pairs, texts


def _run(contestant: str, python: Path, work: Path) -> dict[str, Any]:
    """One timed run in a process on one core."""
    core = str(max(os.sched_getaffinity(0)))
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL", "NUMBA", "RAYON")}
    result = subprocess.run(
        ["taskset", "-c", core, python, __file__, "--contestant", contestant, "--work", work],
        env={**os.environ, **threads, "POLARS_MAX_THREADS": "1"},
        stdout=subprocess.PIPE,
        check=True,
    )
    found: dict[str, Any] = json.loads(result.stdout.decode().splitlines()[-1])
    print(f"{contestant}: {found['cpu']:.2f} CPU s, {found['wall']:.2f} s, drops {len(found['dropped'])}")
    return found


def _compete(contestant: str, work: Path) -> dict[str, Any]:
    """Warm up, then time the whole way from the file to what is dropped."""
    from importlib.metadata import version

    function = {"tsumugu": _tsumugu, "datatrove": _datatrove, "hojichar": _hojichar}[contestant]
    with tempfile.TemporaryDirectory() as folder:
        function(work / "warm-up.jsonl", Path(folder))
    with tempfile.TemporaryDirectory() as folder:
        cpu, wall = time.process_time(), time.perf_counter()
        dropped = function(work / "documents.jsonl", Path(folder))
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    return {
        "cpu": round(cpu, 3),
        "wall": round(wall, 3),
        "dropped": dropped,
        "version": version(contestant),
    }


def _tsumugu(path: Path, folder: Path) -> list[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    from tsumugu.corpus.config import CorpusConfig, DedupConfig, Input
    from tsumugu.corpus.dedup import decide, keys
    from tsumugu.engine import Resources

    settings = DedupConfig(
        ngram=NGRAM, bands=BANDS, rows=ROWS, urls=False, contained_share=None, repeated_lines=None
    )
    corpus = CorpusConfig(inputs=(Input(path="x", source="x", license="x"),), dedup=settings)
    shards: list[Path] = []
    names: list[list[str]] = []

    def write(documents: list[dict[str, str]]) -> None:
        texts = [document["text"] for document in documents]
        names.append([document["id"] for document in documents])
        columns = {"id": names[-1], "reason": [""] * len(texts), **keys(texts, settings)}
        shards.append(folder / f"{len(shards):05d}.parquet")
        # Hashes do not repeat, so a dictionary of them is wasted work.
        pq.write_table(pa.table(columns), shards[-1], compression="zstd", use_dictionary=["reason"])

    batch: list[dict[str, str]] = []
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            batch.append(json.loads(line))
            if len(batch) == 10_000:
                write(batch)
                batch = []
    if batch:
        write(batch)
    decided = decide(shards, config=corpus, work=folder / "work", resources=Resources(1))
    return [
        name
        for shard, ids in zip(decided, names, strict=True)
        for name, reason in zip(
            ids, pq.read_table(shard, columns=["reason"])["reason"].to_pylist(), strict=True
        )
        if reason
    ]


def _datatrove(path: Path, folder: Path) -> list[str]:
    import numpy as np
    from datatrove.pipeline.dedup import (
        MinhashConfig,
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
        minhash,
    )
    from datatrove.pipeline.readers import JsonlReader
    from datatrove.utils.hashing import HashConfig
    from datatrove.utils.logging import logger

    logger.remove()
    # Its word tokenizers need spaCy; ours is below.
    minhash.load_word_tokenizer = lambda language: None
    config = MinhashConfig(
        n_grams=NGRAM, num_buckets=BANDS, hashes_per_bucket=ROWS, hash_config=HashConfig(precision=64)
    )

    class CharacterSignature(MinhashDedupSignature):  # type: ignore[misc]
        def get_shingles(self, text: str) -> Any:
            hashes = [self._hash_func(text[start : start + NGRAM]) for start in range(len(text) - NGRAM + 1)]
            return np.fromiter(hashes, dtype=np.uint64).reshape((-1, 1))

    def read() -> Any:
        return JsonlReader(str(path.parent), glob_pattern=path.name, doc_progress=False).run()

    CharacterSignature(str(folder / "signatures"), config).run(read())
    for bucket in range(BANDS):
        MinhashDedupBuckets(str(folder / "signatures"), str(folder / "buckets"), config=config).run(
            rank=bucket, world_size=BANDS
        )
    MinhashDedupCluster(str(folder / "buckets"), str(folder / "remove"), config=config).run()
    everything = [json.loads(line)["id"] for line in path.open(encoding="utf-8")]
    kept = {document.id for document in MinhashDedupFilter(str(folder / "remove")).run(read())}
    return [name for name in everything if name not in kept]


def _hojichar(path: Path, folder: Path) -> list[str]:
    from hojichar import Compose, Document
    from hojichar.filters.deduplication import GenerateDedupLSH, InlineDeduplicator

    compose = Compose(
        [GenerateDedupLSH(n_grams=NGRAM, num_bands=BANDS, band_size=ROWS), InlineDeduplicator()]
    )
    dropped = []
    with path.open(encoding="utf-8") as stream:
        for line in stream:
            document = json.loads(line)
            if compose.apply(Document(document["text"])).is_rejected:
                dropped.append(document["id"])
    return dropped


def _quality(dropped: set[str], pairs: list[tuple[str, str]], texts: dict[str, str]) -> dict[str, Any]:
    """Recall on the copies, and the share of drops that resemble anything."""
    import numpy as np

    from tsumugu.corpus.dedup.normalising import comparable_codes
    from tsumugu.corpus.dedup.verifying import jaccard, ngram_sets

    found = sum(left in dropped or right in dropped for left, right in pairs)
    names = list(texts)
    offsets, members = ngram_sets(*comparable_codes(list(texts.values())), ngram=NGRAM)
    sizes = np.diff(offsets)
    rows = {name: row for row, name in enumerate(names)}
    sample = random.Random(0).sample(sorted(dropped), min(_SAMPLE, len(dropped)))
    right = 0
    for name in sample:
        row = rows[name]
        # J <= smaller / larger
        near = np.flatnonzero((sizes >= 0.5 * sizes[row]) & (sizes <= 2 * sizes[row]))
        right += any(other != row and jaccard(offsets, members, row, other) >= 0.5 for other in near)
    return {
        "pairs": len(pairs),
        "recall": round(found / len(pairs), 4),
        "dropped": len(dropped),
        "precision": round(right / max(len(sample), 1), 4),
    }


if __name__ == "__main__":
    main()
