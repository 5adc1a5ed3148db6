"""SentencePiece's training in a process of its own, with a progress bar.

The trainer is one long call into C++ that takes gigabytes, cannot be interrupted and talks only on
standard error. In a process of its own (`trainer.py`) its memory goes back, Ctrl-C ends it at once, and
what it says becomes a bar: text read, then rounds of EM, each of which drops a quarter of the candidates
until the vocabulary is left (Kudo 2018, section 3.2).
"""

import io
import json
import math
import os
import re
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pyarrow as pa
from tqdm import tqdm

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, write_aside, write_json
from tsumugu.tokenizer import trainer
from tsumugu.tokenizer.config import TokenizerConfig
from tsumugu.tokenizer.sampling import Split, draw_documents
from tsumugu.tokenizer.training import Seen, refusal, trainer_options, training_lines, with_exact_scores

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
_AS_TRAINED = "as_trained.model"


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
        seen = Seen()
        sample = draw_documents(documents, shares, split, held_out=False)
        said = _run(training_lines(sample, seen), config, work / _AS_TRAINED)
        if said is not None:
            raise refusal(config, seen, said)
        with write_aside(work / MODEL) as aside:
            aside.write_bytes(with_exact_scores((work / _AS_TRAINED).read_bytes()))
        (work / _AS_TRAINED).unlink()
        write_json(work / SEEN, vars(seen))
    return (work / MODEL).read_bytes(), read_json(work / SEEN)


def _run(lines: Iterable[str], config: TokenizerConfig, model: Path) -> str | None:
    """Train on `lines` and write `model`; return what SentencePiece refused to do, if it did."""
    assert config.vocab_size is not None
    lifeline, our_end = os.pipe()
    options = json.dumps(trainer_options(config))
    command = [sys.executable, "-m", trainer.__name__, str(lifeline), str(model), options]
    pipe = subprocess.PIPE
    try:
        with (
            subprocess.Popen(command, stdin=pipe, stderr=pipe, pass_fds=[lifeline]) as process,
            ThreadPoolExecutor(1) as pool,
        ):
            fed = pool.submit(_feed, process, lines)
            try:
                assert process.stderr is not None
                last_words = _follow(io.TextIOWrapper(process.stderr, "utf-8", "replace"), config.vocab_size)
                status = process.wait()
            except BaseException:
                process.kill()
                raise
        fed.result()
    finally:
        os.close(lifeline)
        os.close(our_end)
    if status == 0:
        return None
    said = [line.removeprefix(trainer.ERROR) for line in last_words if line.startswith(trainer.ERROR)]
    if said:
        error: str = json.loads(said[-1])
        return error
    if status < 0:
        raise TsumuguError(
            f"tokenizer: the process that trains SentencePiece was killed by signal {-status}. If memory "
            f"ran out, lower tokenizer.training_characters."
        )
    raise TsumuguError(
        f"tokenizer: the process that trains SentencePiece ended with status {status}. Its last words:\n"
        + "\n".join(last_words)
    )


def _feed(process: subprocess.Popen[bytes], lines: Iterable[str]) -> None:
    assert process.stdin is not None
    try:
        with process.stdin as text:
            for line in lines:
                text.write(line.encode() + b"\n")
        # What read the text is done; while SentencePiece trains, its memory can go back.
        pa.default_memory_pool().release_unused()
    except BrokenPipeError:
        pass  # It has ended, and its status says why.
    except BaseException:
        # Half of the text is no text to train on.
        process.kill()
        raise


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
