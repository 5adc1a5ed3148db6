"""Perplexity of documents through sliding windows: ours beside a plain loop over transformers.

The loop is the one of transformers' guide to perplexity: window after window of a document, labels of -100 on
what is context only, the model's own loss. Both have the same windows (1,024 tokens, 512 of them new), in
float32 on one core, and must come to the same bits per byte.
"""

import argparse
import functools
import math
import tempfile
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from examinees import ours, read_texts, write_examinee
from harness import Row, alternate, print_table, write_result
from tsumugu.evaluation.scoring import score, windows

NAME = "evaluation_perplexity"
GOAL = 1.2
CONTEXT, STRIDE = 1024, 512
DOCUMENTS, CHARACTERS = 5, 6000
_OUR_BATCH = 4


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    rows = []
    size = sum(len(text.encode()) for text in _texts())
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_examinee(folder)
        for native in (True, False):
            mine, other = alternate(
                partial(scored, folder, native), partial(looped, folder), runs=options.runs
            )
            title = f"{DOCUMENTS} documents, windows of {CONTEXT:,} tokens, {STRIDE} new"
            rows.append(
                Row(
                    title if native else f"{title}; computed by transformers",
                    ours=round(size / mine.cpu / 1e3, 3),
                    peer=round(size / other.cpu / 1e3, 3),
                    unit="kB/CPU s",
                    goal=GOAL if native else None,
                    equal_results=abs(mine.result - other.result) < 1e-5 * other.result,
                    details={
                        "cpu_seconds": {"ours": mine.cpu_runs, "loop": other.cpu_runs},
                        "bits_per_byte": {
                            "ours": mine.result / size / math.log(2),
                            "loop": other.result / size / math.log(2),
                        },
                        "wall_seconds": {"ours": mine.wall, "loop": other.wall},
                    },
                )
            )
            print(rows[-1], flush=True)
    print_table(rows)
    write_result(NAME, rows, packages=["transformers", "torch"])


@functools.cache
def _texts() -> list[str]:
    long = (text[:CHARACTERS] for text in read_texts("aozora.jsonl.zst") if len(text) >= CHARACTERS // 3)
    return list(islice(long, DOCUMENTS))


def scored(folder: Path, native: bool) -> float:
    """Ours: nats of all documents."""
    subject = ours(folder, _OUR_BATCH, native)._subject
    documents = [np.array([subject.text_start, *subject.encode(text)]) for text in _texts()]
    found = score(
        subject.model,
        [(tokens, 1) for tokens in documents],
        batch_size=_OUR_BATCH,
        description="",
        length=CONTEXT,
        stride=STRIDE,
    )
    return -sum(one.log_probability for one in found)


@functools.cache
def _loaded(folder: Path) -> tuple[Any, Any]:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    return AutoModelForCausalLM.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def looped(folder: Path) -> float:
    """The plain loop: nats of all documents."""
    import torch

    model, tokenizer = _loaded(folder)
    total = 0.0
    with torch.no_grad():
        for text in _texts():
            ids = [tokenizer.bos_token_id, *tokenizer(text, add_special_tokens=False)["input_ids"]]
            for window in windows(0, np.array(ids), first=1, length=CONTEXT, stride=STRIDE):
                tokens = torch.from_numpy(window.tokens)[None]
                labels = tokens.clone()
                labels[:, : window.first] = -100
                loss = model(input_ids=tokens, labels=labels).loss
                total += float(loss) * (tokens.shape[1] - window.first)
    return total


if __name__ == "__main__":
    main()
