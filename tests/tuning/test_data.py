"""Every record is kept, dropped or quarantined, and one knows where it stood."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tsumugu.corpus import hub
from tsumugu.corpus.config import DecontaminationConfig, EvaluationSet
from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.tuning.config import Format, TuneInput
from tsumugu.tuning.data import Conversation, Selected, divide, read_conversations, select

LONG = "夕方の港町では、漁師たちが網を直しながら、明日の天気について静かに話し合っていました。"


def pair(question: str, answer: str) -> dict[str, Any]:
    return {"instruction": question, "output": answer}


def write(path: Path, records: list[Any]) -> TuneInput:
    path.write_text(
        "".join(
            (one if isinstance(one, str) else json.dumps(one, ensure_ascii=False)) + "\n" for one in records
        ),
        encoding="utf-8",
    )
    return an_input(path)


def an_input(path: Path, form: Format = "alpaca", source: str = "test") -> TuneInput:
    return TuneInput(path=str(path), source=source, license="CC0-1.0", format=form)


def chosen(entry: TuneInput, work: Path, *, longest: int = 1000, **settings: Any) -> Selected:
    conversations, quarantined = read_conversations([entry])
    return select(
        conversations,
        quarantined,
        [len(one.text) for one in conversations],
        max_length=longest,
        near_duplicate_jaccard=settings.pop("jaccard", 0.8),
        decontamination=DecontaminationConfig(**settings),
        work=work,
        resources=Resources(1),
    )


def test_what_comes_in_is_kept_dropped_or_quarantined(tmp_path: Path) -> None:
    entry = write(
        tmp_path / "data.jsonl",
        [
            pair("港では何をしていますか。", LONG),
            "{broken",
            "",
            pair("港では何をしていますか。", LONG),
            pair("港では何をしていますか。", LONG + "はい。"),
            "[]",
            {"instruction": "答えのない問い"},
            pair("二に三を足すと？", "五です。"),
            pair("長すぎる問い", "とても長い答え。" * 50),
        ],
    )
    found = chosen(entry, tmp_path / "work", longest=300)
    counts = found.counts()
    assert counts["in"] == counts["kept"] + counts["dropped"] + counts["quarantined"] == 8
    assert counts["reasons"] == {"exact_duplicate": 1, "near_duplicate": 1, "too_long": 1}
    assert [one.place.number for one in found.kept] == [1, 8]
    assert [(one.place.number, one.error.split(":")[0]) for one in found.quarantined] == [
        (2, "malformed JSON"),
        (6, "not an object"),
        (7, "it has no 'output' that is text"),
    ]
    assert {one.duplicate_of for one in found.dropped} == {found.kept[0].place.id, None}
    assert {row["file"] for row in found.decisions()} == {"data.jsonl"}


def test_a_conversation_that_holds_an_evaluation_item_is_dropped(tmp_path: Path) -> None:
    items = tmp_path / "items.jsonl"
    items.write_text(json.dumps({"question": LONG}, ensure_ascii=False) + "\n", encoding="utf-8")
    entry = write(
        tmp_path / "data.jsonl",
        [
            pair("次の文の主語は何ですか。", f"{LONG}の主語は漁師たちです。"),
            pair("春の次の季節は何ですか。", "夏です。"),
            pair("水は何度で凍りますか。", "零度です。"),
        ],
    )
    found = chosen(entry, tmp_path / "work", evaluation=(EvaluationSet(path=str(items), keys=("question",)),))
    assert found.counts()["reasons"] == {"contaminated": 1}
    assert [one.place.number for one in found.kept] == [2, 3]


def test_parquet_and_compressed_lines_hold_the_same_conversations(tmp_path: Path) -> None:
    records = [pair("春の次の季節は何ですか。", "夏です。"), pair("水は何度で凍りますか。", "零度です。")]
    pq.write_table(pa.Table.from_pylist(records), tmp_path / "data.parquet")
    lines = "".join(json.dumps(one) + "\n" for one in records).encode()
    with pa.CompressedOutputStream(str(tmp_path / "data.jsonl.gz"), "gzip") as stream:
        stream.write(lines)
    found = [
        [one.messages for one in read_conversations([an_input(tmp_path / name)])[0]]
        for name in ("data.parquet", "data.jsonl.gz")
    ]
    assert found[0] == found[1]
    assert len(found[0]) == 2


def test_messages_of_parquet_are_messages(tmp_path: Path) -> None:
    messages = [{"role": "user", "content": "問い"}, {"role": "assistant", "content": "答え"}]
    pq.write_table(pa.Table.from_pylist([{"messages": messages}]), tmp_path / "data.parquet")
    found, quarantined = read_conversations([an_input(tmp_path / "data.parquet", "messages")])
    assert [one.content for one in found[0].messages] == ["問い", "答え"]
    assert not quarantined


def test_a_dataset_of_the_hub_holds_conversations_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    datasets = pytest.importorskip("datasets")
    write(tmp_path / "shard.jsonl", [pair("春の次は？", "夏です。"), {"instruction": "答えがない"}])
    original, commit = datasets.load_dataset, "0123456789abcdef0123456789abcdef01234567"

    def load_dataset(name: str, subset: str | None, **options: Any) -> Any:
        assert (name, subset, options["revision"], options["split"]) == ("neko/talk", "ja", commit, "test")
        return original(
            "json", data_files={"test": str(tmp_path / "shard.jsonl")}, split="test", streaming=True
        )

    # Nothing asks a network.
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    monkeypatch.setattr(hub, "_commit", lambda name, revision: commit)
    entry = TuneInput(
        path="hf://datasets/neko/talk",
        source="hub",
        license="CC0-1.0",
        format="alpaca",
        subset="ja",
        split="test",
    )
    [found], [quarantined] = read_conversations([entry])
    assert [one.content for one in found.messages] == ["春の次は？", "夏です。"]
    assert quarantined.place.number == 1


def test_a_file_that_breaks_off_is_quarantined(tmp_path: Path) -> None:
    (tmp_path / "data.parquet").write_bytes(b"PAR1 no")
    (tmp_path / "cut.jsonl.gz").write_bytes(b"\x1f\x8b\x08")
    found, quarantined = read_conversations([an_input(tmp_path)])
    assert not found
    assert len(quarantined) == 2


@pytest.mark.parametrize("name", ["missing.jsonl", "page.html"])
def test_an_input_that_holds_no_records_is_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "page.html").write_text("<p>はい</p>", encoding="utf-8")
    with pytest.raises(TsumuguError, match=name):
        read_conversations([an_input(tmp_path / name)])


def test_too_little_data_is_an_error_that_says_why(tmp_path: Path) -> None:
    entry = write(tmp_path / "data.jsonl", ["{broken", pair("問い", "答え")])
    with pytest.raises(TsumuguError, match=r"1 of 2 records are left.*malformed JSON"):
        chosen(entry, tmp_path / "work")


def test_a_conversation_stays_on_its_side_when_others_come(tmp_path: Path) -> None:
    records = [pair(f"{number}に一を足すと？", f"{number + 1}です。") for number in range(60)]
    fewer, _ = read_conversations([write(tmp_path / "data.jsonl", records[:30])])
    more, _ = read_conversations([write(tmp_path / "data.jsonl", records)])

    def held_out(conversations: list[Conversation]) -> set[str]:
        learned, aside = divide(conversations, seed=3, fraction=0.3)
        assert sorted([*learned, *aside]) == list(range(len(conversations)))
        return {conversations[place].place.id for place in aside}

    assert held_out(fewer) <= held_out(more)
    assert 0 < len(held_out(fewer)) < 30


def test_one_conversation_is_held_out_at_least(tmp_path: Path) -> None:
    records = [pair("春の次は？", "夏です。"), pair("夏の次は？", "秋です。")]
    found, _ = read_conversations([write(tmp_path / "data.jsonl", records)])
    for fraction in (1e-9, 1 - 1e-9):
        learned, aside = divide(found, seed=0, fraction=fraction)
        assert len(learned) == len(aside) == 1


def test_the_demos_instructions_are_all_conversations() -> None:
    path = Path(__file__).parents[2] / "recipes" / "data" / "instructions.jsonl"
    found, quarantined = read_conversations([an_input(path)])
    assert len(found) >= 200
    assert not quarantined
