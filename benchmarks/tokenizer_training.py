"""Training the 51,200-piece tokenizer: our stage's way beside plain SentencePiece with the same settings.

Both get the same documents and make a vocabulary of 51,200 pieces. Ours counts the corpus's shards,
draws the sample, and trains in a process of its own. The peer is what `spm_train` does: one call of
SentencePiece on a text file that lies ready, with the same lines in it. Whole processes are compared:
wall seconds, and the largest sum of resident memory of all processes of a command.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import pyarrow as pa
import pyarrow.parquet as pq
import sentencepiece as spm

from harness import Row, data_folder, print_table, write_result
from processes import Cost, run_measured
from tsumugu.engine import Resources
from tsumugu.tokenizer.config import TokenizerConfig
from tsumugu.tokenizer.sampling import Document, Split, count_text, plan_sample
from tsumugu.tokenizer.training import Seen, trainer_options, training_lines
from tsumugu.tokenizer.training_process import train_in_process

NAME = "tokenizer_training"
GOAL = 1 / 1.1
CONFIG = TokenizerConfig(vocab_size=51_200, training_characters=10**12)
_NOTHING_HELD_OUT = Split(seed=0, fraction=1e-12)
_MODEL = "model"


def main() -> None:
    """Run both alternately, report medians."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument(
        "--documents", type=int, default=None, help="how many of aozora.jsonl.zst (default: all)"
    )
    # How this file calls itself, in a process that is measured.
    parser.add_argument("--contestant", choices=_CONTESTANTS, help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.contestant:
        _CONTESTANTS[options.contestant](options.work)
        return

    costs: dict[str, list[Cost]] = {contestant: [] for contestant in _CONTESTANTS}
    models: set[bytes] = set()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        characters = _prepare(folder, options.documents)
        for number in range(options.runs):
            for contestant in _CONTESTANTS:
                work = folder / f"{contestant}-{number}"
                work.mkdir()
                command = [sys.executable, __file__, "--contestant", contestant, "--work", str(work)]
                cost = run_measured(command)
                costs[contestant].append(cost)
                models.add(_pieces((work / _MODEL).read_bytes()))
                print(f"{contestant}: {cost.wall:.1f} s, {cost.peak_rss / 1e9:.2f} GB", flush=True)

    details = {
        "characters": characters,
        "cpu_seconds": {name: [round(cost.cpu, 1) for cost in found] for name, found in costs.items()},
        "others_cpu_seconds": [round(cost.others_cpu, 1) for found in costs.values() for cost in found],
    }
    seconds = {name: median(cost.wall for cost in found) for name, found in costs.items()}
    memory = {name: median(cost.peak_rss for cost in found) / 1e9 for name, found in costs.items()}
    rows = [
        Row(
            f"train 51,200 pieces on {characters / 1e6:.0f} M characters: {what}",
            ours=round(found["tsumugu"], 3),
            peer=round(found["sentencepiece"], 3),
            unit=unit,
            goal=round(GOAL, 3),
            better="lower",
            equal_results=len(models) == 1,
            why=why,
            details=details,
        )
        for what, unit, found, why in (
            ("time", "s", seconds, ""),
            (
                "peak memory",
                "GB",
                memory,
                "two Python processes with Arrow, 0.04 GB whatever the text, come on top",
            ),
        )
    ]
    print_table(rows)
    write_result(NAME, rows, packages=["sentencepiece"])


def _prepare(folder: Path, documents: int | None) -> int:
    """Write the documents as shards for us, and as lines for the peer; return the characters."""
    path = data_folder() / "corpus" / "aozora.jsonl.zst"
    with pa.CompressedInputStream(pa.OSFile(str(path)), "zstd") as stream:
        texts = [json.loads(line)["text"] for line in stream.read().split(b"\n") if line][:documents]
    (folder / "documents").mkdir()
    for number, start in enumerate(range(0, len(texts), 500)):
        part = texts[start : start + 500]
        ids = [f"{start + row}" for row in range(len(part))]
        table = pa.table({"id": ids, "source": ["aozora"] * len(part), "text": part})
        pq.write_table(table, folder / "documents" / f"{number:05d}.parquet", row_group_size=100)
    with (folder / "lines.txt").open("w", encoding="utf-8", newline="\n") as lines:
        for line in training_lines((Document("aozora", text) for text in texts), Seen()):
            if line:
                lines.write(line + "\n")
    return sum(map(len, texts))


def _ours(work: Path) -> None:
    documents = sorted((work.parent / "documents").glob("*.parquet"))
    totals = count_text(documents, _NOTHING_HELD_OUT, work=work / "counts", resources=Resources(workers=1))
    shares = plan_sample(totals.training, characters=CONFIG.training_characters)
    model, _ = train_in_process(documents, shares, _NOTHING_HELD_OUT, CONFIG, work=work / "training")
    (work / _MODEL).write_bytes(model)


def _peer(work: Path) -> None:
    spm.SentencePieceTrainer.train(
        input=str(work.parent / "lines.txt"), model_prefix=str(work / "spm"), **trainer_options(CONFIG)
    )
    (work / "spm.model").rename(work / _MODEL)


_CONTESTANTS = {"tsumugu": _ours, "sentencepiece": _peer}


def _pieces(model: bytes) -> bytes:
    """What both models must have in common: pieces in order. Our scores are rounded."""
    processor = spm.SentencePieceProcessor(model_proto=model)
    return "\n".join(_names(processor)).encode()


def _names(processor: spm.SentencePieceProcessor) -> Iterator[str]:
    return (processor.id_to_piece(index) for index in range(processor.get_piece_size()))


if __name__ == "__main__":
    main()
