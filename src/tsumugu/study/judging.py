"""Trials that differ in their text, measured on one text that none of them trained on.

Each model predicts the same documents (bits per byte, as `tsumugu evaluate model` counts them), and continues
the beginnings of some of them. What it writes is drawn from its own distribution (temperature 1, one seed for
each prompt) and goes on for the same number of tokens past any end of text, because shares of repetition grow
with length; they are the corpus room's signals. The same is measured on what people wrote there.

It happens in a process of its own, with the study's number of threads, and leaves `judge.json` in the trial's
folder.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, write_json
from tsumugu.pipeline import MANIFEST
from tsumugu.study.trials import Judge, Trial

JUDGED = "judge.json"
REPETITION = ("repeated_5gram_share", "duplicated_10gram_share", "duplicate_line_share")
"""Signals of repetition within a text (corpus/signals/ngrams.py and lines.py)."""
_BATCH = 16
_SAMPLES = 4
"""Continuations that are kept to be read."""


@dataclass(frozen=True)
class Task:
    """A trained model and its judge's text, by folders."""

    run: str
    texts: str
    prompts: int
    prompt_tokens: int
    new_tokens: int
    key: str
    """Of the judgement: another text, another training or other numbers give another."""


def task_of(trial: Trial, judge: Judge) -> Task:
    """What is to be done for a trial that is trained."""
    config = judge.config
    numbers = {
        "prompts": config.prompts,
        "prompt_tokens": config.prompt_tokens,
        "new_tokens": config.new_tokens,
    }
    trained = read_json(trial.folder / trial.stage / MANIFEST)["fingerprint"]
    key = hashlib.sha256(json.dumps([judge.corpus.folder.name, numbers, trained]).encode()).hexdigest()[:16]
    return Task(str(trial.folder), str(judge.corpus.folder / judge.corpus.last), **numbers, key=key)


def judgement_of(trial: Trial) -> dict[str, Any] | None:
    """What `judge.json` says of the model that is there now; None without one, or without a judge."""
    path = trial.folder / JUDGED
    if trial.judge is None or not path.exists() or not (trial.folder / trial.stage / MANIFEST).exists():
        return None
    found: dict[str, Any] = read_json(path)
    return found if found["key"] == task_of(trial, trial.judge).key else None


def words_of(task: Task) -> list[str]:
    """Arguments of Python for the process that does it."""
    return ["-m", "tsumugu.study.judging", json.dumps(asdict(task))]


def judge(task: Task) -> None:
    """Write `judge.json`.

    Raises:
        TsumuguError: no document is long enough to be continued, or the model cannot predict.
    """
    from tsumugu.evaluation.measuring import measure, windows_for
    from tsumugu.evaluation.perplexity import summarize
    from tsumugu.evaluation.texts import Texts
    from tsumugu.talking.speaker import open_speaker

    speaker = open_speaker(task.run)
    subject = speaker.subject
    documents = _documents(Path(task.texts))
    windows = windows_for(subject)
    measured = measure(
        subject, Texts("judge", documents, ()), windows, batch_size=_BATCH, description="study: judge"
    )
    assert measured is not None, "there is one process"
    encoded = [subject.encode(document.text) for document in documents]
    chosen = _spread(
        [ids for ids in encoded if len(ids) >= task.prompt_tokens + task.new_tokens], task.prompts
    )
    if not chosen:
        raise TsumuguError(
            f"judge: no document has {task.prompt_tokens} + {task.new_tokens} tokens; lower "
            f"judge.prompt_tokens or judge.new_tokens"
        )
    prompts = [ids[: task.prompt_tokens] for ids in chosen]
    human = [subject.decode(ids[task.prompt_tokens :][: task.new_tokens]) for ids in chosen]
    written = _continue(speaker, prompts, task.new_tokens)
    write_json(
        Path(task.run) / JUDGED,
        {
            "key": task.key,
            "text": {
                **summarize(measured.documents),
                "context_tokens": windows.context_tokens,
                "stride": windows.stride,
                "unfaithful_documents": measured.unfaithful_documents,
                "unknown_tokens": measured.unknown_tokens,
            },
            "prompts": len(prompts),
            "prompt_tokens": task.prompt_tokens,
            "new_tokens": task.new_tokens,
            "temperature": 1.0,
            "written": _repetition(written),
            "human": _repetition(human),
            "samples": [
                {"prompt": subject.decode(prompt), "written": ours, "human": theirs}
                for prompt, ours, theirs in list(zip(prompts, written, human, strict=True))[:_SAMPLES]
            ],
        },
    )


def _documents(folder: Path) -> tuple[Any, ...]:
    import pyarrow.parquet as pq

    from tsumugu.evaluation.texts import Document, Identify

    identify = Identify()
    rows = [
        row
        for path in sorted((folder / "documents").glob("*.parquet"))
        for row in pq.read_table(path, columns=["source", "text"]).to_pylist()
    ]
    return tuple(Document(identify(row["text"]), row["source"], row["text"]) for row in rows)


def _spread(found: Sequence[list[int]], count: int) -> list[list[int]]:
    if len(found) <= count:
        return list(found)
    return [found[place * len(found) // count] for place in range(count)]


def _continue(speaker: Any, prompts: Sequence[Sequence[int]], new_tokens: int) -> list[str]:
    from tsumugu.talking.memory import new_memory
    from tsumugu.talking.sampling import Sampling
    from tsumugu.talking.writing import Settings, stream

    memory = new_memory(speaker.subject.model)
    # Nothing ends a text before its time.
    voice = replace(speaker.voice, ends=frozenset())
    return [
        "".join(
            piece.text
            for piece in stream(
                memory,
                [speaker.subject.text_start, *prompt],
                Settings(Sampling(), max_new_tokens=new_tokens, seed=number),
                voice=voice,
            )
        )
        for number, prompt in enumerate(prompts)
    ]


def _repetition(texts: Sequence[str]) -> dict[str, float]:
    """Means over texts."""
    from tsumugu.corpus.signals import measure

    columns = measure(texts, REPETITION)
    return {name: float(columns[name].mean()) for name in REPETITION}


def main() -> int:
    """Do what the arguments say; errors are told as the command tells them."""
    try:
        judge(Task(**json.loads(sys.argv[1])))
    except TsumuguError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
