"""The process that trains SentencePiece: lines of UTF-8 on standard input, a model file out.

    python -m tsumugu.tokenizer.trainer LIFELINE MODEL OPTIONS

It imports SentencePiece alone, so that it needs the memory that SentencePiece needs. LIFELINE is the file
descriptor of a pipe, whose end tells it that nobody waits any more; OPTIONS are the trainer's, as JSON.
"""

import json
import os
import sys
import threading
from pathlib import Path

import sentencepiece as spm

ERROR = "error: "
"""Begins the line that says, as JSON, what SentencePiece refused."""


def _main(lifeline: int, model: Path, options: str) -> int:
    threading.Thread(target=_end_with_parent, args=(lifeline,), daemon=True).start()
    with model.open("wb") as written:
        try:
            spm.SentencePieceTrainer.train(
                sentence_iterator=(line.removesuffix(b"\n") for line in sys.stdin.buffer),
                model_writer=written,
                minloglevel=0,
                **json.loads(options),
            )
        except RuntimeError as error:
            print(f"{ERROR}{json.dumps(str(error))}", file=sys.stderr, flush=True)
            return 1
    return 0


def _end_with_parent(lifeline: int) -> None:
    os.read(lifeline, 1)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(_main(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]))
