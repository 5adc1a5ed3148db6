"""Documents to token shards: our stage beside `datasets.map`, and beside bare SentencePiece.

Three contestants encode the same Parquet files of real documents with the same tokenizer. Ours is the
tokens stage's work: both splits, offsets, lengths, checksums. `datasets.map` runs the fast tokenizer
batched in as many processes, as `transformers`' own training scripts do, into Arrow files. Bare
SentencePiece encodes the texts from memory into lists of ids and throws them away: the ceiling. The
first pair is compared by wall time on all cores, the second by CPU time on one.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness import Row, data_folder, print_table, write_result
from processes import run_measured
from tsumugu.engine import Resources, map_shards
from tsumugu.tokenizer.config import TokenizerConfig
from tsumugu.tokenizer.existing import write_settings
from tsumugu.tokenizer.export import load_sentencepiece, write_sentencepiece
from tsumugu.tokenizer.presets import PRESETS
from tsumugu.tokenizer.sampling import Document
from tsumugu.tokenizer.training import train_sentencepiece
from tsumugu.tokens.encoding import EncodeTask, encode_shard

NAME = "tokens_encode"
SHARDS = 8
VOCABULARY = 32_000
_TRAINING_CHARACTERS = 1_500_000
"""Enough text for the vocabulary, and little enough for a minute."""
_WORKERS = len(os.sched_getaffinity(0))


def main() -> None:
    """Run all in turn, report medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--text", default="starter.jsonl.zst", help="a file of TSUMUGU_DATA/corpus")
    parser.add_argument("--times", type=int, default=4, help="how often its documents are written")
    # How this file calls itself, in a process that is measured.
    parser.add_argument("--contestant", choices=_CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        encode, digest = _CONTESTANTS[options.contestant]
        print(json.dumps(_timed(partial(encode, options.work), digest)), file=sys.stderr)
        return

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        megabytes = _prepare(folder, data_folder() / "corpus" / options.text, options.times)
        found: dict[str, list[dict[str, Any]]] = {contestant: [] for contestant in _CONTESTANTS}
        for _ in range(options.runs):
            for contestant in _CONTESTANTS:
                command = [sys.executable, __file__, "--contestant", contestant, "--work", str(folder)]
                found[contestant].append(json.loads(run_measured(command).stderr.splitlines()[-1]))
                print(contestant, found[contestant][-1], flush=True)

    def row(title: str, ours: str, peer: str, *, unit: str, clock: str, goal: float, size: float) -> Row:
        results = {run["digest"] for run in found[ours] + found[peer]}
        return Row(
            title,
            ours=round(size / median(run[clock] for run in found[ours]), 2),
            peer=round(size / median(run[clock] for run in found[peer]), 2),
            unit=unit,
            goal=goal,
            equal_results=len(results) == 1,
            details={ours: found[ours], peer: found[peer], "megabytes": round(size, 1)},
        )

    rows = [
        row(
            f"documents to shards, {_WORKERS} processes, against datasets.map",
            "tsumugu",
            "datasets",
            unit="MB/s",
            clock="wall",
            goal=3.0,
            size=megabytes,
        ),
        row(
            "documents to one shard, one process, against bare SentencePiece",
            "tsumugu, one process",
            "sentencepiece",
            unit="MB/CPU s",
            clock="cpu",
            goal=0.9,
            size=megabytes / SHARDS,
        ),
    ]
    print_table(rows)
    write_result(NAME, rows, packages=["datasets", "tokenizers", "sentencepiece", "transformers"])


def _timed(encode: Callable[[], Any], digest: Callable[[Any], str]) -> dict[str, Any]:
    """Wall and CPU seconds of `encode` with its child processes; its result is looked at afterwards."""
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    result = encode()
    wall, cpu = time.perf_counter() - wall, sum(os.times()[:4]) - cpu
    return {"wall": round(wall, 3), "cpu": round(cpu, 3), "digest": digest(result)}


def _prepare(folder: Path, path: Path, times: int) -> float:
    """Write documents and a tokenizer; return the megabytes of text."""
    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
        texts = [json.loads(line)["text"] for line in stream.read().split(b"\n") if line]
    sample, characters = [], 0
    for text in texts[:: max(1, len(texts) // 500)]:
        if characters < _TRAINING_CHARACTERS:
            sample.append(Document("text", text))
            characters += len(text)
    config = TokenizerConfig(vocab_size=VOCABULARY, character_coverage=1.0)
    print(f"training a tokenizer of {VOCABULARY} pieces on {characters} characters ...", flush=True)
    model, _ = train_sentencepiece(sample, config)
    write_sentencepiece(folder / "tokenizer", model)
    write_settings(folder / "tokenizer", PRESETS[config.preset].special_tokens, model_max_length=2**31)
    texts *= times
    (folder / "documents").mkdir()
    for number in range(SHARDS):
        part = texts[number::SHARDS]
        ids = [f"{number}-{row}" for row in range(len(part))]
        table = pa.table({"id": ids, "text": part, "source": ["text"] * len(part)})
        pq.write_table(table, folder / "documents" / f"{number:05d}.parquet", compression="zstd")
    return sum(len(text.encode()) for text in texts) / 1e6


def _encode(folder: Path, *, shards: int, workers: int) -> list[Path]:
    """Ours: `workers` processes, or this one if 0. Returns the files of tokens."""
    output = folder / "tokens"
    shutil.rmtree(output, ignore_errors=True)
    tasks = [
        EncodeTask(
            documents=path,
            tokenizer=folder / "tokenizer",
            folder=output,
            output=output / f"{path.stem}.json",
            sources=("text",),
            seed=0,
            validation_fraction=1e-12,
        )
        for path in sorted((folder / "documents").glob("*.parquet"))[:shards]
    ]
    if workers:
        map_shards(encode_shard, tasks, resources=Resources(workers), description="encode")
    else:
        encode_shard(tasks[0])
    return sorted((output / "train" / "000").glob("[0-9][0-9][0-9][0-9][0-9].npy"))


def _map_dataset(folder: Path) -> Any:
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import datasets
    from transformers import AutoTokenizer

    datasets.disable_caching()
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    paths = [str(path) for path in sorted((folder / "documents").glob("*.parquet"))]
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    documents = datasets.load_dataset("parquet", data_files=paths, split="train", cache_dir=str(cache))

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        return {"input_ids": tokenizer(batch["text"], add_special_tokens=False)["input_ids"]}

    return documents.map(encode, batched=True, num_proc=_WORKERS, remove_columns=documents.column_names)


def _bare(folder: Path) -> Any:
    path = min((folder / "documents").glob("*.parquet"))
    texts = pq.read_table(path, columns=["text"])["text"].to_pylist()
    return load_sentencepiece(folder / "tokenizer").encode(texts, num_threads=1)


def _digest_files(paths: list[Path]) -> str:
    return _digest(np.load(path) for path in paths)


def _digest_lists(lists: Iterable[list[int]]) -> str:
    """The same as of our files, where each document stands between `<s>` and `</s>`."""
    return _digest(np.array([1, *ids, 2], dtype="<u2") for ids in lists)


def _digest(arrays: Iterable[NDArray[np.unsignedinteger]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()


_CONTESTANTS: dict[str, tuple[Callable[[Path], Any], Callable[[Any], str]]] = {
    "tsumugu": (partial(_encode, shards=SHARDS, workers=_WORKERS), _digest_files),
    "datasets": (_map_dataset, lambda mapped: _digest_lists(row["input_ids"] for row in mapped)),
    "tsumugu, one process": (partial(_encode, shards=1, workers=0), _digest_files),
    "sentencepiece": (_bare, _digest_lists),
}


if __name__ == "__main__":
    main()
