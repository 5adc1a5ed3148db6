"""Documents to token shards: beside `datasets.map`, Megatron-LM's script, and bare SentencePiece.

All encode the same real documents with the same tokenizer. Ours is the tokens stage's work: both splits,
offsets, lengths, checksums. `datasets.map` runs the fast tokenizer batched in as many processes, as
`transformers`' own training scripts do, into Arrow files. Megatron-LM's `tools/preprocess_data.py` runs
SentencePiece in as many workers, into its indexed dataset. Bare SentencePiece reads the texts, encodes them
into lists of ids and throws these away: the ceiling. Ours is compared with the first two by wall
time on all cores, with the last by CPU time on one. Our own Viterbi search, which the stage takes for large
corpora, is compiled before.

No time has the imports of a contestant's main process in it. Megatron-LM's starts when it says that it is
ready, with its workers forked, and so it is compared with ours from when our workers are there
(`tsumugu, started`); beside `datasets.map` either starts its workers within its time. Megatron-LM gets its
documents as one file of JSON Lines, written before; ours and `datasets.map` read Parquet. What its whole
command takes, which for little text is mostly imports of torch, stands in the details.

Megatron-LM is not on PyPI with its script: `--megatron`, or the environment variable MEGATRON_LM, names a
checkout of https://github.com/NVIDIA/Megatron-LM; without it, its row is left out.

Results are compared by all ids in order. Ours puts `<s>` and `</s>` around each document, so they are put
around the ids of `datasets.map` and SentencePiece. Megatron-LM's `--append-eod` ends each document with
the model's own `</s>`, which is compared, and only `<s>` is put before.
"""

import argparse
import hashlib
import json
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from harness import Row, data_folder, print_table, write_result
from preprocessing import HOW_TO_GET_IT, check_checkout, documents_of, preprocess, write_json_lines
from processes import run_measured
from tsumugu.engine import Resources, kept_workers, map_shards
from tsumugu.tokenizer.config import TokenizerConfig
from tsumugu.tokenizer.encoder import load_bulk_encoder
from tsumugu.tokenizer.existing import write_settings
from tsumugu.tokenizer.export import SPIECE, load_sentencepiece, write_sentencepiece
from tsumugu.tokenizer.presets import PRESETS
from tsumugu.tokenizer.sampling import Document
from tsumugu.tokenizer.training import train_sentencepiece
from tsumugu.tokens.encoding import EncodeTask, encode_shard
from tsumugu.versions import commit_of

NAME = "tokens_encode"
SHARDS = 8
VOCABULARY = 32_000
_TRAINING_CHARACTERS = 1_500_000
"""Enough text for the vocabulary, and little enough for a minute."""
_WORKERS = len(os.sched_getaffinity(0))
_JSON_LINES = "documents.jsonl"
"""Megatron-LM's input."""
_START = np.array([1], dtype="<u2")
"""`<s>`"""


def main() -> None:
    """Run all in turn, report medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--text", default="starter.jsonl.zst", help="a file of TSUMUGU_DATA/corpus")
    parser.add_argument("--times", type=int, default=4, help="how often its documents are written")
    parser.add_argument(
        "--megatron",
        type=Path,
        default=os.environ.get("MEGATRON_LM") or None,
        metavar="DIR",
        help="a checkout of Megatron-LM (or the environment variable MEGATRON_LM)",
    )
    # How this file calls itself, in a process that is measured.
    parser.add_argument("--contestant", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    megatron: Path | None = options.megatron
    contestants = _contestants(megatron)
    if options.contestant:
        print(json.dumps(contestants[options.contestant](options.work)), file=sys.stderr)
        return

    if megatron:
        check_checkout(megatron)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        megabytes = _prepare(folder, data_folder() / "corpus" / options.text, options.times)
        given = ["--work", str(folder)]
        if megatron:
            write_json_lines(folder / _JSON_LINES, _texts(folder))
            given += ["--megatron", str(megatron)]
        found: dict[str, list[dict[str, Any]]] = {contestant: [] for contestant in contestants}
        for _ in range(options.runs):
            for contestant in contestants:
                command = [sys.executable, __file__, "--contestant", contestant, *given]
                found[contestant].append(json.loads(run_measured(command).stderr.splitlines()[-1]))
                print(contestant, found[contestant][-1], flush=True)

    def row(
        title: str,
        ours: str,
        peer: str,
        *,
        unit: str,
        clock: str,
        goal: float,
        size: float,
        versions: dict[str, str] | None = None,
    ) -> Row:
        results = {run["digest"] for run in found[ours] + found[peer]}
        return Row(
            title,
            ours=round(size / median(run[clock] for run in found[ours]), 2),
            peer=round(size / median(run[clock] for run in found[peer]), 2),
            unit=unit,
            goal=goal,
            equal_results=len(results) == 1,
            details={ours: found[ours], peer: found[peer], "megabytes": round(size, 1), **(versions or {})},
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
            "documents to shards, one process, against bare SentencePiece",
            "tsumugu, one process",
            "sentencepiece",
            unit="MB/CPU s",
            clock="cpu",
            goal=0.9,
            size=megabytes,
        ),
    ]
    if megatron:
        beside_megatron = row(
            f"documents to shards, {_WORKERS} processes, against Megatron-LM",
            "tsumugu, started",
            "megatron",
            unit="MB/s",
            clock="wall",
            goal=3.0,
            size=megabytes,
            versions={"Megatron-LM": commit_of(megatron)},
        )
        rows.insert(1, beside_megatron)
    print_table(rows)
    if not megatron:
        print(f"note: Megatron-LM was left out. To have it beside: {HOW_TO_GET_IT}.")
    write_result(NAME, rows, packages=["datasets", "tokenizers", "sentencepiece", "transformers", "torch"])


def _timed(
    encode: Callable[[Path], Any],
    digest: Callable[[Any], str],
    folder: Path,
    *,
    prepare: Callable[[], None] = lambda: None,
) -> dict[str, Any]:
    """Wall and CPU seconds of `encode` with its child processes; its result is looked at afterwards."""
    prepare()
    wall, cpu = time.perf_counter(), sum(os.times()[:4])
    result = encode(folder)
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
    # Compiled once on a machine.
    load_bulk_encoder(folder / "tokenizer").encode("")
    texts *= times
    (folder / "documents").mkdir()
    for number in range(SHARDS):
        part = texts[number::SHARDS]
        ids = [f"{number}-{row}" for row in range(len(part))]
        table = pa.table({"id": ids, "text": part, "source": ["text"] * len(part)})
        pq.write_table(table, folder / "documents" / f"{number:05d}.parquet", compression="zstd")
    return sum(len(text.encode()) for text in texts) / 1e6


def _texts(folder: Path) -> Iterator[str]:
    """Of the documents, in the order in which all encode them."""
    for path in sorted((folder / "documents").glob("*.parquet")):
        yield from pq.read_table(path, columns=["text"])["text"].to_pylist()


def _encode(folder: Path, *, workers: int) -> list[Path]:
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
            bulk=True,
        )
        for path in sorted((folder / "documents").glob("*.parquet"))
    ]
    if workers:
        map_shards(encode_shard, tasks, resources=Resources(workers), description="encode")
    else:
        for task in tasks:
            encode_shard(task)
    return sorted((output / "train" / "000").glob("[0-9][0-9][0-9][0-9][0-9].npy"))


def _encode_started(folder: Path) -> dict[str, Any]:
    """Ours in all processes, from when they are there and have imported what they need."""
    meeting = folder / "meeting"
    shutil.rmtree(meeting, ignore_errors=True)
    meeting.mkdir()
    seats = [_Seat(meeting / str(number)) for number in range(_WORKERS)]
    with kept_workers():
        map_shards(_wait_for_all, seats, resources=Resources(_WORKERS), description="start")
        found = _timed(partial(_encode, workers=_WORKERS), _digest_files, folder)
    # It counts processes that have ended, and these have not.
    del found["cpu"]
    return found


@dataclass(frozen=True)
class _Seat:
    output: Path


def _wait_for_all(seat: _Seat) -> None:
    """Keep a worker here until each has one such task, so that none is still starting or importing."""
    # Where pandas is installed, Arrow imports it for the first array.
    pa.array([])
    import_module("tsumugu.tokenizer.unigram")
    seat.output.touch()
    while len(list(seat.output.parent.iterdir())) < _WORKERS:
        time.sleep(0.01)


def _import_datasets() -> None:
    """Before the clock runs, as our own imports are."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    import datasets
    import transformers

    datasets.disable_caching()
    # It is imported when it is first asked for.
    assert transformers.AutoTokenizer


def _map_dataset(folder: Path) -> Any:
    import datasets
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    paths = [str(path) for path in sorted((folder / "documents").glob("*.parquet"))]
    cache = folder / "cache"
    shutil.rmtree(cache, ignore_errors=True)
    documents = datasets.load_dataset("parquet", data_files=paths, split="train", cache_dir=str(cache))

    def encode(batch: dict[str, list[str]]) -> dict[str, Any]:
        return {"input_ids": tokenizer(batch["text"], add_special_tokens=False)["input_ids"]}

    return documents.map(encode, batched=True, num_proc=_WORKERS, remove_columns=documents.column_names)


def _bare(folder: Path) -> Any:
    return load_sentencepiece(folder / "tokenizer").encode(list(_texts(folder)), num_threads=1)


def _preprocess(checkout: Path, folder: Path) -> dict[str, Any]:
    """Megatron-LM's script, which measures with a clock of its own."""
    run = preprocess(
        checkout, folder / _JSON_LINES, folder / "tokenizer" / SPIECE, folder / "megatron", workers=_WORKERS
    )
    return {
        "wall": round(run.wall, 3),
        "command": round(run.command, 3),
        "command_cpu": round(run.command_cpu, 3),
        "digest": _digest(np.concatenate([_START, ids]) for ids in documents_of(run.prefix)),
    }


def _digest_files(paths: list[Path]) -> str:
    return _digest(np.load(path) for path in paths)


def _digest_lists(lists: Iterable[list[int]]) -> str:
    """The same as of our files, where each document stands between `<s>` and `</s>`."""
    return _digest(np.array([*_START, *ids, 2], dtype=_START.dtype) for ids in lists)


def _digest_dataset(mapped: Any) -> str:
    return _digest_lists(row["input_ids"] for row in mapped)


def _digest(arrays: Iterable[NDArray[np.unsignedinteger]]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(array.tobytes())
    return digest.hexdigest()


def _contestants(megatron: Path | None) -> dict[str, Callable[[Path], dict[str, Any]]]:
    """By name; each is given the folder of documents, and returns its seconds and the digest of its ids."""
    found: dict[str, Callable[[Path], dict[str, Any]]] = {
        "tsumugu": partial(_timed, partial(_encode, workers=_WORKERS), _digest_files),
        "datasets": partial(_timed, _map_dataset, _digest_dataset, prepare=_import_datasets),
        "tsumugu, one process": partial(_timed, partial(_encode, workers=0), _digest_files),
        "sentencepiece": partial(_timed, _bare, _digest_lists),
    }
    if megatron:
        found |= {"tsumugu, started": _encode_started, "megatron": partial(_preprocess, megatron)}
    return found


if __name__ == "__main__":
    main()
