"""Documents that give an evaluation set away are dropped, and only those."""

import json
import os
from pathlib import Path

import pytest
from dedup_texts import data, decisions

from conftest import japanese_text
from tsumugu.corpus.config import DecontaminationConfig, EvaluationSet
from tsumugu.corpus.dedup.evaluation_sets import read_items, read_windows
from tsumugu.errors import TsumuguError
from tsumugu.files import read_json

QUESTION = "電子機器で使用される最も主要な電子回路基板の事をなんと言う？"


@pytest.fixture
def questions(tmp_path: Path) -> Path:
    path = tmp_path / "questions.jsonl"
    rows = [{"question": QUESTION, "choice0": "掲示板"}, {"question": "短い？", "choice0": "はい"}]
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


def test_a_quoted_question_drops_a_long_document(questions: Path, tmp_path: Path) -> None:
    texts = [japanese_text(number) for number in range(6)]
    texts[2] += "\n問い：" + QUESTION.replace("電子", "電子\n") + "\n" + japanese_text(50)
    texts[4] += "\n電子回路基板の事をなんと言うか、知りません。"
    config = DecontaminationConfig(evaluation=(EvaluationSet(path=str(questions), keys=("question",)),))
    decided = decisions(tmp_path, texts, decontamination=config, per_shard=2)
    assert [row["reason"] for row in decided] == [None, None, "contaminated", None, None, None]
    report = read_json(tmp_path / "work" / "contamination" / "contamination.json")
    assert report["documents_contaminated"] == 1
    assert report["items_without_windows"] == 1
    assert report["hits"] == [
        {
            "item": "questions.jsonl#1",
            "text": QUESTION,
            "windows": len(QUESTION) - 12,
            "documents": [{"id": "d2", "share": 1.0}],
        }
    ]


@pytest.mark.parametrize(
    ("thresholds", "dropped"),
    [
        ({"hits": 18}, True),
        ({"hits": 19}, False),
        ({"document_share": 0.01}, True),
        ({"document_share": 0.5}, False),
        ({"item_share": 1.0}, True),
        ({"item_share": 1.0, "min_item_windows": 19}, False),
    ],
)
def test_each_threshold_alone(
    thresholds: dict[str, float], dropped: bool, questions: Path, tmp_path: Path
) -> None:
    assert len(QUESTION) - 12 == 18
    settings = {"hits": None, "document_share": None, "item_share": None, **thresholds}
    config = DecontaminationConfig.model_validate(
        {"evaluation": ({"path": str(questions), "keys": ("question",)},), **settings}
    )
    texts = [japanese_text(1, sentences=6) + "\n" + QUESTION]
    decided = decisions(tmp_path, texts, decontamination=config)
    assert decided[0]["reason"] == ("contaminated" if dropped else None)


def test_nested_json_and_plain_texts_are_read(tmp_path: Path) -> None:
    squad = {
        "data": [
            {
                "title": "京都",
                "paragraphs": [
                    {
                        "context": "京都は日本の古い都である。",
                        "qas": [{"id": "1", "question": "どこの都か？"}],
                    }
                ],
            }
        ]
    }
    (tmp_path / "squad.json").write_text(json.dumps(squad, ensure_ascii=False), encoding="utf-8")
    (tmp_path / "lines.txt").write_text("一つ目の問い\n\n二つ目の問い\n", encoding="utf-8")
    named = EvaluationSet(path=str(tmp_path / "squad.json"), keys=("context", "question"))
    assert [item.texts for item in read_items(named)] == [("京都は日本の古い都である。",), ("どこの都か？",)]
    plain = EvaluationSet(path=str(tmp_path / "lines.txt"))
    assert [(item.name, item.texts[0]) for item in read_items(plain)] == [
        ("lines.txt#1", "一つ目の問い"),
        ("lines.txt#2", "二つ目の問い"),
    ]


def test_a_set_without_windows_fails_and_names_the_keys(questions: Path, tmp_path: Path) -> None:
    good = EvaluationSet(path=str(questions), keys=("question",))
    wrong = EvaluationSet(path=str(questions), keys=("qestion",))
    with pytest.raises(TsumuguError, match=r"questions\.jsonl yields no text of 13 characters .*qestion"):
        read_windows(DecontaminationConfig(evaluation=(good, wrong)))
    with pytest.raises(TsumuguError, match="cannot be read"):
        read_windows(DecontaminationConfig(evaluation=(EvaluationSet(path=str(tmp_path / "no.jsonl")),)))
    (tmp_path / "broken.jsonl").write_text("{", encoding="utf-8")
    with pytest.raises(TsumuguError, match="malformed"):
        read_windows(DecontaminationConfig(evaluation=(EvaluationSet(path=str(tmp_path / "broken.jsonl")),)))


def test_real_questions_are_found_in_a_real_corpus_only_where_they_were_put(tmp_path: Path) -> None:
    rows = data("jglue/jcommonsenseqa-valid.json")
    texts = [row["text"] for row in data("corpus/kyoto-wikipedia.jsonl.zst")[:600]]
    long = [row["question"] for row in rows if len(row["question"]) > 24]
    put = dict(zip(range(0, 600, 40), long, strict=False))
    for place, question in put.items():
        middle = len(texts[place]) // 2
        texts[place] = f"{texts[place][:middle]}\n{question}\n{texts[place][middle:]}"
    folder = Path(os.environ["TSUMUGU_DATA"]) / "jglue" / "jcommonsenseqa-valid.json"
    config = DecontaminationConfig(evaluation=(EvaluationSet(path=str(folder), keys=("question",)),))
    decided = decisions(tmp_path, texts, decontamination=config, per_shard=200)
    assert [row for row, one in enumerate(decided) if one["reason"] == "contaminated"] == list(put)
