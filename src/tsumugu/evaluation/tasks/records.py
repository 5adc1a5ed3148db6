"""From the files of a data set's official release to examples, in two steps.

`read_records` gives the rows as the data set stands on the Hugging Face hub, whatever the file is:
JSON lines, a JSON list, SQuAD's nested JSON, tab-separated values, or CSV files, one per subject.
Then `EXAMPLES` names, for every data set, the function from such a row to what our task files use.
Tasks of lm-evaluation-harness itself take the rows, ours take the examples.
"""

import csv
import io
import json
import zipfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from tsumugu.errors import TsumuguError

Row = dict[str, Any]

JNLI_LABELS = ("entailment", "contradiction", "neutral")
MARC_LABELS = ("positive", "negative")
JAQKET_CONTEXTS = 5
"""Passages of a JAQKET question that a prompt shows: the retriever's best (TOP_K_LIMIT of jp-stable)."""


def read_records(data_set: str, path: Path) -> list[Row]:
    """The rows of one file (or folder of CSV files) of an official release, in the hub's form.

    Raises:
        TsumuguError: the file is not what the data set's release looks like.
    """
    try:
        return [_AS_ON_HUB.get(data_set, _unchanged)(row) for row in _raw(data_set, path)]
    except (KeyError, TypeError, ValueError, csv.Error, zipfile.BadZipFile) as error:
        raise TsumuguError(
            f"{path} does not look like {data_set} as it is released ({type(error).__name__}: {error}). "
            f"docs/tasks.md shows which file and which form is meant."
        ) from error


def _raw(data_set: str, path: Path) -> Iterator[Row]:
    if path.is_dir():
        for part in sorted(path.glob("*.csv")):
            yield from _subject(part.stem, part.read_text(encoding="utf-8-sig"))
    elif path.suffix == ".zip":
        with zipfile.ZipFile(path) as archive:
            for name in sorted(archive.namelist()):
                if name.endswith(".csv") and not name.startswith("__MACOSX"):
                    yield from _subject(Path(name).stem, archive.read(name).decode("utf-8-sig"))
    elif path.suffix == ".tsv":
        for line in path.read_text(encoding="utf-8").splitlines():
            question, answer = line.split("\t")
            yield {"question": question, "answer": None, "answer_number": int(answer.replace(",", ""))}
    elif data_set == "jsquad":
        yield from _squad(json.loads(path.read_text(encoding="utf-8")))
    else:
        yield from _json(path.read_text(encoding="utf-8"))


def _json(text: str) -> list[Row]:
    if text.lstrip().startswith("["):
        return list(json.loads(text))
    # Not str.splitlines, which also splits at separators that stand inside Japanese web text.
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _squad(nested: Mapping[str, Any]) -> Iterator[Row]:
    for article in nested["data"]:
        for paragraph in article["paragraphs"]:
            for asked in paragraph["qas"]:
                yield {
                    "id": asked["id"],
                    "title": article["title"],
                    "context": paragraph["context"],
                    "question": asked["question"],
                    "answers": {
                        "text": [answer["text"] for answer in asked["answers"]],
                        "answer_start": [answer["answer_start"] for answer in asked["answers"]],
                    },
                    "is_impossible": asked.get("is_impossible", False),
                }


def _subject(name: str, text: str) -> Iterator[Row]:
    for row in csv.DictReader(io.StringIO(text)):
        yield {"subject": name, **{key: row[key] for key in ("question", "A", "B", "C", "D", "answer")}}


def _unchanged(row: Row) -> Row:
    return row


def _jnli_row(row: Row) -> Row:
    return {**row, "label": _index(JNLI_LABELS, row["label"])}


def _marc_row(row: Row) -> Row:
    text = row["sentence"] if "sentence" in row else row["text"]
    return {"sentence": text, "label": _index(MARC_LABELS, row["label"])}


def _jaqket_row(row: Row) -> Row:
    contexts = row["ctxs"]
    if isinstance(contexts, list):
        contexts = {key: [one[key] for one in contexts[:JAQKET_CONTEXTS]] for key in ("title", "text")}
    answers = row["answers"] if isinstance(row["answers"], dict) else {"text": list(row["answers"])}
    return {"question": row["question"], "answers": answers, "ctxs": contexts}


def _index(names: tuple[str, ...], label: str | int) -> int:
    return names.index(label) if isinstance(label, str) else int(label)


_AS_ON_HUB: dict[str, Callable[[Row], Row]] = {
    "jnli": _jnli_row,
    "marc_ja": _marc_row,
    "jaqket": _jaqket_row,
}


def _jsquad(row: Row) -> Row:
    texts = list(row["answers"]["text"])
    return {
        "id": row["id"],
        "title": row["title"],
        # The context repeats the title: `梅雨 [SEP] 梅雨（つゆ、ばいう）は、…`.
        "passage": row["context"].split("[SEP]")[-1].strip(),
        "question": row["question"],
        "answers": texts,
        "answer": texts[0],
    }


def _jcommonsenseqa(row: Row) -> Row:
    return {
        "question": row["question"],
        "choices": [row[f"choice{number}"] for number in range(5)],
        "label": int(row["label"]),
    }


def _jnli(row: Row) -> Row:
    return {key: _jnli_row(row)[key] for key in ("sentence1", "sentence2", "label")}


def _jsts(row: Row) -> Row:
    score = round(float(row["label"]), 1)
    pair = {key: row[key] for key in ("sentence1", "sentence2")}
    return {**pair, "similarity": score, "answer": f"{score:.1f}"}


def _jaqket(row: Row) -> Row:
    row = _jaqket_row(row)
    texts = list(row["answers"]["text"])
    return {
        "question": row["question"],
        "titles": list(row["ctxs"]["title"][:JAQKET_CONTEXTS]),
        "passages": list(row["ctxs"]["text"][:JAQKET_CONTEXTS]),
        "answers": texts,
        "answer": texts[0],
    }


def _xlsum(row: Row) -> Row:
    return {"text": row["text"], "summary": row["summary"]}


def _xwinograd(row: Row) -> Row:
    return {"choices": [row["sentence1"], row["sentence2"]], "label": int(row["answer"]) - 1}


def _mgsm(row: Row) -> Row:
    # 問題： and ステップごとの答え： stand in the examples' texts and not in the test questions.
    return {
        "question": row["question"].replace("問題：", ""),
        "steps": (row.get("answer") or "").replace("ステップごとの答え：", ""),
        "number": int(row["answer_number"]),
    }


def _questions(row: Row) -> Row:
    answers = [row["answers"]] if isinstance(row["answers"], str) else list(row["answers"])
    return {"question": row.get("question") or row["text"], "answers": answers, "answer": answers[0]}


def _jemhopqa(row: Row) -> Row:
    return {"question": row["question"], "answers": [row["answer"]], "answer": row["answer"]}


def _jmmlu(row: Row) -> Row:
    return {
        "subject": row["subject"],
        "question": row["question"].strip(),
        "choices": [str(row[letter]) for letter in "ABCD"],
        "label": "ABCD".index(row["answer"].strip()),
    }


EXAMPLES: dict[str, Callable[[Row], Row]] = {
    "jsquad": _jsquad,
    "jcommonsenseqa": _jcommonsenseqa,
    "jnli": _jnli,
    "marc_ja": _marc_row,
    "jsts": _jsts,
    "jaqket": _jaqket,
    "xlsum": _xlsum,
    "xwinograd": _xwinograd,
    "mgsm": _mgsm,
    "aio": _questions,
    "niilc": _questions,
    "jemhopqa": _jemhopqa,
    "jmmlu": _jmmlu,
}
