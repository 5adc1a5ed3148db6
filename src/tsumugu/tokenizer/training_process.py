"""SentencePiece's training in a process of its own, with a progress bar.

The trainer is one long call into C++ that takes gigabytes, cannot be interrupted and talks only on
standard error. In a process of its own its memory goes back, Ctrl-C ends it at once, and what it
says becomes a bar: text read, then rounds of EM, each of which drops a quarter of the candidates
until the vocabulary is left (Kudo 2018, section 3.2).
"""

import json
import math
import os
import re
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tqdm import tqdm

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, write_aside, write_json
from tsumugu.tokenizer.config import TokenizerConfig
from tsumugu.tokenizer.sampling import Split, draw_documents

MODEL = "trained.model"
SEEN = "seen.json"
_SHRINKING = 0.75
"""SentencePiece's `shrinking_factor`: candidates that a round keeps."""
_SPARE = 1.1
"""Rounds end at this many times the vocabulary; the rest is cut by score (unigram_model_trainer.cc)."""
_PHASES = (
    ("Loaded all", "read"),
    ("Extracting seed", "substrings"),
    ("Initialized", "candidates"),
    ("Saving model", "saving"),
)
_ROUND = re.compile(r"EM sub_iter=1 size=(\d+)")
_BAR = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
_ERROR = "error: "


def train_in_process(
    documents: Sequence[Path],
    shares: Mapping[str, float],
    split: Split,
    config: TokenizerConfig,
    *,
    work: Path,
) -> tuple[bytes, dict[str, Any]]:
    """Train on the sample's training documents; return the model and what was seen (`training.Seen`).

    What was trained is found again in `work`.

    Raises:
        TsumuguError: SentencePiece cannot do it, or its process was killed.
    """
    assert config.vocab_size is not None, "only a tokenizer that is given has no size"
    if not (work / SEEN).exists():
        work.mkdir(parents=True, exist_ok=True)
        request = {
            "documents": [str(path) for path in documents],
            "shares": dict(shares),
            "split": asdict(split),
            "config": config.model_dump(mode="json"),
            "work": str(work),
        }
        _run(request, vocab_size=config.vocab_size)
    return (work / MODEL).read_bytes(), read_json(work / SEEN)


def _run(request: Mapping[str, Any], *, vocab_size: int) -> None:
    command = [sys.executable, "-m", __name__]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stderr=pipe, text=True, errors="replace") as process:
        try:
            assert process.stdin is not None
            assert process.stderr is not None
            process.stdin.write(json.dumps(request) + "\n")
            # The pipe stays open: its end tells the process that we are gone.
            process.stdin.flush()
            last_words = _follow(process.stderr, vocab_size)
            status = process.wait()
        except BaseException:
            process.kill()
            raise
    if status == 0:
        return
    said = [line.removeprefix(_ERROR) for line in last_words if line.startswith(_ERROR)]
    if said:
        raise TsumuguError(json.loads(said[-1]))
    if status < 0:
        raise TsumuguError(
            f"tokenizer: the process that trains SentencePiece was killed by signal {-status}. If memory "
            f"ran out, lower tokenizer.training_characters."
        )
    raise AssertionError("the training of SentencePiece failed:\n" + "\n".join(last_words))


def _follow(lines: Iterable[str], vocab_size: int) -> list[str]:
    """Draw what the trainer says; return its last lines."""
    last: deque[str] = deque(maxlen=30)
    first = 0
    with tqdm(total=1, desc="tokenizer: train", bar_format=_BAR) as bar:
        for line in lines:
            last.append(line.rstrip("\n"))
            for mark, phase in _PHASES:
                if mark in line:
                    bar.set_postfix_str(phase)
            if found := _ROUND.search(line):
                size = int(found[1])
                first = first or size
                bar.set_postfix_str(f"{size:,} candidates")
                bar.n = _progress(first, size, vocab_size)
                bar.refresh()
        bar.n = 1
    return list(last)


def _progress(first: int, size: int, vocab_size: int) -> float:
    """Rounds that are done, as a share of those that `first` candidates take to become a vocabulary."""
    rounds = max(1.0, math.log(_SPARE * vocab_size / first) / math.log(_SHRINKING))
    done = 1 + math.log(size / first) / math.log(_SHRINKING)
    return min(0.99, done / (rounds + 1))


def _main() -> None:
    """The process itself: one request on standard input."""
    from tsumugu.tokenizer.training import train_sentencepiece

    request = json.loads(sys.stdin.readline())
    threading.Thread(target=_end_with_parent, daemon=True).start()
    work = Path(request["work"])
    config = TokenizerConfig.model_validate_json(json.dumps(request["config"]))
    documents = draw_documents(
        [Path(path) for path in request["documents"]],
        request["shares"],
        Split(**request["split"]),
        held_out=False,
    )
    try:
        model, seen = train_sentencepiece(documents, config, log_level=0)
    except TsumuguError as error:
        print(f"{_ERROR}{json.dumps(str(error))}", file=sys.stderr, flush=True)
        os._exit(1)
    with write_aside(work / MODEL) as aside:
        aside.write_bytes(model)
    write_json(work / SEEN, vars(seen))


def _end_with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    _main()
