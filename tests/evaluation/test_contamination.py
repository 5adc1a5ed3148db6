"""A test item counts as read in training where a training document holds a window of it, and only there."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from conftest import japanese_text
from tsumugu.corpus.tables import DOCUMENTS, shard_name, table_writer
from tsumugu.engine import Resources
from tsumugu.errors import TsumuguError
from tsumugu.evaluation.contamination import (
    SEED,
    WINDOW,
    ContaminationResult,
    clean_scores,
    contamination,
    write_contamination,
)
from tsumugu.evaluation.contamination_index import letters
from tsumugu.files import read_json
from tsumugu.tokens.split import is_validation

QUESTION = "電子機器で使用される最も主要な電子回路基板の事をなんと言う？答え：マザーボード"
OTHER = "日本国憲法第九条は戦争の放棄を定めているが、その第二項は何の不保持を定めるか。"


def search(
    folder: Path,
    items: Mapping[str, Sequence[str]],
    documents: Sequence[str],
    *,
    per_shard: int = 2,
    validation_fraction: float = 0.0,
) -> dict[str, ContaminationResult]:
    for number in range(0, len(documents), per_shard):
        with table_writer(folder / "documents" / shard_name(number // per_shard), DOCUMENTS) as write:
            texts = documents[number : number + per_shard]
            ids = [f"d{number + place}" for place in range(len(texts))]
            urls = [f"https://example.jp/{name}" for name in ids]
            same = {name: [""] * len(texts) for name in ("source", "license", "metadata")}
            write({"id": ids, "text": texts, "url": urls, **same})
    return contamination(
        items,
        folder / "documents",
        work=folder / "work",
        resources=Resources(1),
        seed=1,
        validation_fraction=validation_fraction,
    )


def test_a_copied_question_is_found_and_its_document_named(tmp_path: Path) -> None:
    documents = [japanese_text(0), japanese_text(1) + QUESTION + japanese_text(2), japanese_text(3)]
    found = search(tmp_path, {"quiz": [OTHER, QUESTION], "other": [OTHER]}, documents)
    assert found["quiz"].contaminated == (1,)
    assert found["quiz"].share == 0.5
    assert found["other"].contaminated == ()
    (example,) = found["quiz"].examples
    assert (example.item, example.document, example.url) == ("1", "d1", "https://example.jp/d1")
    assert example.text in "".join(map(chr, letters([QUESTION])[0]))


def test_spaces_widths_and_punctuation_do_not_hide_a_copy(tmp_path: Path) -> None:
    copy = "電子機器で、使用される「最も\n主要な」　電子回路基板の事をなんと言う?答え:ﾏｻﾞｰﾎﾞｰﾄﾞ"
    assert search(tmp_path, {"quiz": [QUESTION]}, [japanese_text(0) + copy])["quiz"].contaminated == (0,)


@pytest.mark.parametrize(("characters", "found"), [(WINDOW, True), (WINDOW - 1, False)])
def test_a_whole_window_must_stand_in_one_document(tmp_path: Path, characters: int, found: bool) -> None:
    item = "".join(map(chr, letters([OTHER])[0]))
    documents = ["ん" * 5 + item[3 : 3 + characters] + "ん" * 5, item[20:]]
    assert bool(search(tmp_path, {"law": [OTHER]}, documents)["law"].contaminated) == found


def test_short_items_count_whole_and_very_short_ones_are_not_judged(tmp_path: Path) -> None:
    items = ["日本で最も面積の広い湖はどれ", "日本で最も高い山", "日本で最も長い川はどこにあるか"]
    assert len(items[0]) >= SEED > len(items[1])
    found = search(
        tmp_path, {"quiz": items}, ["さて日本で最も面積の広い湖はどれでしょう。日本で最も高い山は富士山。"]
    )
    assert found["quiz"].contaminated == (0,)
    assert (found["quiz"].items, found["quiz"].judged, found["quiz"].share) == (3, 2, 0.5)


def test_held_out_documents_do_not_count(tmp_path: Path) -> None:
    documents = [f"{number}番。{QUESTION}" if number == 7 else japanese_text(number) for number in range(12)]
    fraction = next(
        share / 1000 for share in range(1000) if is_validation("d7", seed=1, fraction=share / 1000)
    )
    assert search(tmp_path / "a", {"quiz": [QUESTION]}, documents)["quiz"].contaminated == (0,)
    held = search(tmp_path / "b", {"quiz": [QUESTION]}, documents, validation_fraction=fraction)
    assert held["quiz"].contaminated == ()


def test_the_template_of_a_task_is_not_looked_for(tmp_path: Path) -> None:
    template = "次の文章を読んで、その後の質問に対する答えを一つだけ選び、その記号を書きなさい。"
    questions = [
        "".join(chr(0x4E00 + (91 * number + 11 * place) % 5000) for place in range(40))
        for number in range(20)
    ]
    documents = [template + japanese_text(0), questions[4]]
    items = [template + question for question in questions]
    assert search(tmp_path, {"reading": items}, documents)["reading"].contaminated == (4,)


def test_how_documents_are_divided_changes_nothing(tmp_path: Path) -> None:
    documents = [japanese_text(number) + (QUESTION if number % 4 == 3 else "") for number in range(12)]
    items = {"quiz": [QUESTION, OTHER], "law": [OTHER]}
    one = search(tmp_path / "a", items, documents, per_shard=12)
    many = search(tmp_path / "b", items, documents, per_shard=1)
    assert one == many
    assert one["quiz"].examples[0].document == "d3"


def test_a_task_without_items_and_a_corpus_without_hits(tmp_path: Path) -> None:
    found = search(tmp_path, {"none": [], "quiz": [QUESTION], "short": ["富士山"]}, [japanese_text(0)])
    assert [found[name].share for name in ("none", "quiz", "short")] == [None, 0.0, None]
    write_contamination(tmp_path / "contamination.json", found)
    assert read_json(tmp_path / "contamination.json")["quiz"]["contaminated_items"] == []


def test_a_run_without_documents_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(TsumuguError, match="tsumugu corpus RECIPE"):
        search(tmp_path, {"quiz": [QUESTION]}, [])


def test_scores_without_contaminated_items() -> None:
    items = [
        {"id": place, "hash": str(place), "acc": float(place % 2), "f1": place / 4} for place in range(5)
    ]
    found = clean_scores(items, {1, 3})
    assert found["acc"] == {"value": 0.0, "stderr": 0.0, "questions": 3}
    assert found["f1"]["value"] == pytest.approx(0.5)
    assert clean_scores(items, range(5)) == {}
