"""Samples are seeded, weighted by source, and blind to the division into shards."""

from pathlib import Path

import pytest
from document_shards import write_shards

from tsumugu.engine import Resources
from tsumugu.tokenizer.sampling import Amount, Split, count_text, draw_documents, plan_sample

SPLIT = Split(seed=4, fraction=0.2)


ROWS = [(f"id-{n}", "web" if n % 3 else "books", f"{n}番の文章です。" * (1 + n % 5)) for n in range(1200)]


def test_text_is_counted_by_side_and_source(tmp_path: Path) -> None:
    paths = write_shards(tmp_path / "in", ROWS, [500, 700])
    totals = count_text(paths, SPLIT, work=tmp_path / "work", resources=Resources(workers=1))
    for side, held in ((totals.training, False), (totals.held_out, True)):
        for source in ("web", "books"):
            texts = [row[2] for row in ROWS if row[1] == source and SPLIT.held_out(row[0]) == held]
            assert side[source] == Amount(documents=len(texts), characters=sum(map(len, texts)))


def test_the_sample_does_not_depend_on_the_shards(tmp_path: Path) -> None:
    shares = {"web": 0.4, "books": 0.9}
    one = list(draw_documents(write_shards(tmp_path / "1", ROWS, [1200]), shares, SPLIT, held_out=False))
    many = list(draw_documents(write_shards(tmp_path / "2", ROWS, [300] * 4), shares, SPLIT, held_out=False))
    assert one == many
    other = Split(seed=5, fraction=0.2)
    assert one != list(draw_documents([tmp_path / "1/00000.parquet"], shares, other, held_out=False))


def test_both_sides_of_the_split_together_are_everything(tmp_path: Path) -> None:
    paths = write_shards(tmp_path / "in", ROWS, [1200])
    everything = {"web": 1.0, "books": 1.0}
    sides = [
        [document.text for document in draw_documents(paths, everything, SPLIT, held_out=held)]
        for held in (False, True)
    ]
    assert sorted(sides[0] + sides[1]) == sorted(row[2] for row in ROWS)
    assert 150 < len(sides[1]) < 330
    assert list(draw_documents(paths, {"web": 0.0}, SPLIT, held_out=False)) == []


def test_a_sample_holds_what_was_asked_for(tmp_path: Path) -> None:
    paths = write_shards(tmp_path / "in", ROWS, [1200])
    totals = count_text(paths, SPLIT, work=tmp_path / "work", resources=Resources(workers=1))
    for wanted in (300, 3000, 15_000):
        shares = plan_sample(totals.training, characters=wanted)
        drawn = sum(len(document.text) for document in draw_documents(paths, shares, SPLIT, held_out=False))
        documents = wanted / 17
        assert wanted <= drawn <= wanted * (1 + 8 / documents**0.5)


@pytest.mark.parametrize(
    ("characters", "weights", "expected"),
    [
        (10**9, None, {"web": 1.0, "books": 1.0, "code": 1.0}),
        # Half of everything: the same share of each, with the margin on top.
        (5_550_000, None, {"web": 0.503, "books": 0.51, "code": 0.53}),
        # Books have too little for their third; web makes up for it, code was not asked for.
        (4_000_000, {"web": 2.0, "books": 1.0}, {"web": 0.302, "books": 1.0, "code": 0.0}),
        (10**9, {"code": 1.0}, {"web": 0.0, "books": 0.0, "code": 1.0}),
    ],
)
def test_shares_follow_the_weights(
    characters: int, weights: dict[str, float] | None, expected: dict[str, float]
) -> None:
    totals = {
        "web": Amount(documents=1_000_000, characters=10_000_000),
        "books": Amount(documents=100_000, characters=1_000_000),
        "code": Amount(documents=10_000, characters=100_000),
    }
    shares = plan_sample(totals, characters=characters, weights=weights)
    assert shares == pytest.approx(expected, abs=0.015)
