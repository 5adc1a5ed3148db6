"""A folder with a few questions of every data set, in the form of its official release."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]

RAINY = {
    "title": "梅雨",
    "context": "梅雨 [SEP] 梅雨は雨の多い時期である。",
    "question": "梅雨とは何か。",
    "answers": ["雨の多い時期", "時期"],
}
FUJI = {
    "title": "富士山",
    "context": "富士山 [SEP] 富士山は日本一高い山である。",
    "question": "日本一高い山は。",
    "answers": ["富士山"],
}
WOOD = ("木を切る道具は？", ["のこぎり", "鉛筆", "皿", "靴", "傘"], 0)
SEA = ("船が進むところは？", ["空", "山", "海", "机", "箱"], 2)
MATHS_STEPS = "ステップごとの答え：3に4を足すと7です。答えは7です。"


def write_tiny_data(folder: Path, *, train: bool = True) -> Path:
    """Files of every data set; without those that few-shot examples come from where `train` is false."""
    folder.mkdir(parents=True, exist_ok=True)
    for stem, rows in _lines().items():
        if train or not (stem.split(".")[0].endswith("-train") or stem == "niilc-valid.jsonl"):
            _write_lines(folder / stem, rows)
    for stem, articles in {
        "train": [RAINY] * 4,
        "valid": [FUJI, RAINY, FUJI | {"title": "山", "question": "高い山は。"}],
    }.items():
        if train or stem == "valid":
            (folder / f"jsquad-{stem}.json").write_text(json.dumps(_squad(articles)), encoding="utf-8")
    if train:
        (folder / "jemhopqa-train.json").write_text(json.dumps(_hops(6)), encoding="utf-8")
    (folder / "jemhopqa-valid.json").write_text(json.dumps(_hops(8)), encoding="utf-8")
    (folder / "mgsm_ja.tsv").write_text(
        "りんごが3個あり、4個もらうと何個ですか？\t7\n" * 2 + "千と二百は？\t1,200\n", encoding="utf-8"
    )
    (folder / "jmmlu").mkdir(exist_ok=True)
    for subject in ("japanese_history", "anatomy"):
        lines = [f"{subject}の問{n}は？,甲{n},乙{n},丙{n},丁{n},{'ABCD'[n % 4]}" for n in range(7)]
        text = "question,A,B,C,D,answer\n" + "\n".join(lines) + "\n"
        (folder / "jmmlu" / f"{subject}.csv").write_text(text, encoding="utf-8-sig")
    return folder


def _lines() -> dict[str, list[Row]]:
    nli = [
        {"sentence1": f"犬が{n}匹走る。", "sentence2": "動物が走る。", "label": label}
        for n, label in enumerate(["entailment", "contradiction", "neutral", "neutral"] * 3)
    ]
    reviews = [
        {
            "review_id": str(n),
            "text": f"{n}回使いました。良い。",
            "label": "negative" if n == 1 else "positive",
        }
        for n in range(6)
    ]
    quiz = [
        {"qid": str(n), "question": f"問{n}の答えは何でしょう？", "answers": [f"答{n}", "別解"]}
        for n in range(7)
    ]
    passages = [
        {"title": f"題{k}", "text": f"本文{k}。", "score": "1.0", "has_answer": k == 0} for k in range(7)
    ]
    pairs = [{"sentence1": f"猫が{n}匹。", "sentence2": "猫がいる。", "label": n / 2} for n in range(8)]
    news = [
        {"id": str(n), "title": "題", "text": f"記事{n}の本文。", "summary": f"要約{n}"} for n in range(3)
    ]
    return {
        "jcommonsenseqa-train.json": [_five(*WOOD)] * 5,
        "jcommonsenseqa-valid.json": [_five(*SEA), *[_five(f"第{n}問", *WOOD[1:]) for n in range(5)]],
        "jnli-train.json": nli,
        "jnli-valid.json": nli,
        "marc_ja-train.json": reviews,
        "marc_ja-valid.json": reviews,
        "jsts-train.json": pairs,
        "jsts-valid.json": pairs,
        "jaqket-train.json": [one | {"ctxs": passages} for one in quiz],
        "jaqket-valid.json": [one | {"ctxs": passages} for one in quiz],
        "aio-valid.jsonl": quiz,
        "niilc-valid.jsonl": [{"text": one["question"], "answers": one["answers"]} for one in quiz],
        "niilc-test.jsonl": [{"text": one["question"], "answers": one["answers"]} for one in quiz],
        "xlsum-train.jsonl": news,
        "xlsum-test.jsonl": news,
        "xwinograd-test.jsonl": [
            {
                "sentence1": "箱は鞄に入らない。鞄が小さいから。",
                "sentence2": "箱は鞄に入らない。箱が小さいから。",
                "answer": "1",
            }
        ]
        * 2,
        "mgsm-train.jsonl": [
            {"question": f"問題：{n}に4を足すと？", "answer": MATHS_STEPS, "answer_number": 7}
            for n in range(8)
        ],
    }


def _hops(count: int) -> list[Row]:
    return [
        {"qid": str(n), "type": "comparison", "question": f"{n}と5、大きいのは？", "answer": "5"}
        for n in range(count)
    ]


def _five(question: str, choices: list[str], label: int) -> Row:
    return {
        "q_id": 0,
        "question": question,
        **{f"choice{n}": one for n, one in enumerate(choices)},
        "label": label,
    }


def _squad(articles: Sequence[Row]) -> Row:
    return {
        "version": "1.1",
        "data": [
            {
                "title": one["title"],
                "paragraphs": [
                    {
                        "context": one["context"],
                        "qas": [
                            {
                                "id": f"{one['title']}q0",
                                "question": one["question"],
                                "answers": [{"text": text, "answer_start": 0} for text in one["answers"]],
                                "is_impossible": False,
                            }
                        ],
                    }
                ],
            }
            for one in articles
        ],
    }


def _write_lines(path: Path, rows: Sequence[Row]) -> None:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
