"""The whole of deduplication: which copy stays, whatever the order, the shards and the workers.

Idempotence, exactly: with unverified MinHash and nothing cut from texts, deduplicating what is kept
drops nothing (survivors of different groups share no key; what is contained contains nothing, so it
is not missed; addresses of too many documents are the one exception, since fewer may be left).
"""

import itertools
import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from dedup_texts import (
    ONLY_NEAR,
    clusters,
    data,
    decisions,
    edited,
    jaccard,
    measure,
    near_duplicates,
    ngrams,
)

from conftest import japanese_text
from tsumugu.corpus.config import CorpusConfig, DedupConfig, Input, RepeatedLines, RepeatedSubstrings
from tsumugu.corpus.dedup import decide, key_schema, keys
from tsumugu.corpus.dedup.joining import JoinTask, divide_columns, join
from tsumugu.corpus.dedup.shards import save_array
from tsumugu.engine import Resources, kept_workers


def reasons(decided: list[dict[str, object]]) -> list[object]:
    return [row["reason"] for row in decided]


def test_each_kind_of_duplicate_has_its_reason_and_names_who_stays(tmp_path: Path) -> None:
    text = japanese_text(1)
    near = text + "\n追記をしました。"
    whole = "\n".join(japanese_text(number) for number in (1, 8, 9))
    texts = [text, japanese_text(2), text.replace("、", "、 "), near, near, whole, japanese_text(5), "", ""]
    decided = decisions(tmp_path, texts, DedupConfig(), per_shard=2)
    assert reasons(decided) == [
        None, None, "exact_duplicate", "near_duplicate", "exact_duplicate", None, None, None, None,
    ]  # fmt: skip
    assert [row["duplicate_of"] for row in decided] == [None, None, "d0", "d0", "d0", None, None, None, None]
    assert [row["cluster"] for row in decided] == [0, None, 0, 0, 0, None, None, None, None]
    assert [row["cluster_size"] for row in decided] == [4, None, 4, 4, 4, None, None, None, None]
    texts[1] = japanese_text(8)
    assert reasons(decisions(tmp_path / "again", texts, DedupConfig()))[5] == "contained"


def test_the_rules_reasons_stay_and_their_documents_take_part_in_nothing(tmp_path: Path) -> None:
    texts = [japanese_text(1), japanese_text(1), japanese_text(1)]
    columns = {"reason": ["too_short", "", ""], "url": ["http://example.jp/"] * 3}
    decided = decisions(tmp_path, texts, DedupConfig(), columns=columns)
    assert reasons(decided) == ["too_short", None, "exact_duplicate"]
    assert [row["cluster"] for row in decided] == [None, 1, 1]


def test_the_longest_or_newest_copy_stays_when_asked(tmp_path: Path) -> None:
    text = japanese_text(1)
    texts = [text, text + "\n追記をしました。", text + "。", japanese_text(2), text + "\n追記をしました。"]
    dates = ["2024-01-01", "2023-05-05", "2024-06-01T00:00:00+09:00", "", "いつか"]
    columns = {"metadata": [json.dumps({"date": date}) for date in dates]}
    kept = {}
    for keep in ("first", "longest", "newest"):
        settings = ONLY_NEAR.model_copy(update={"keep": keep})
        decided = decisions(tmp_path / keep, texts, settings, per_shard=2, columns=columns)
        kept[keep] = [row for row, reason in enumerate(reasons(decided)) if reason is None]
        assert {row["duplicate_of"] for row in decided} == {None, f"d{kept[keep][0]}"}
        assert [row["cluster"] for row in decided] == [0, 0, 0, None, 0]
    assert kept == {"first": [0, 3], "longest": [1, 3], "newest": [2, 3]}


def test_one_address_is_one_document_unless_it_is_that_of_a_collection(tmp_path: Path) -> None:
    texts = [japanese_text(number) for number in range(30)]
    urls = ["page.html"] * 30
    urls[1], urls[4] = "https://example.jp/a#1", "http://EXAMPLE.jp/a"
    urls[6:28] = ["https://example.jp/dataset"] * 22
    decided = decisions(tmp_path / "on", texts, DedupConfig(), columns={"url": urls})
    assert reasons(decided) == [None] * 4 + ["url_duplicate"] + [None] * 25
    assert decided[4]["duplicate_of"] == "d1"
    off = DedupConfig(urls=False)
    assert reasons(decisions(tmp_path / "off", texts, off, columns={"url": urls})) == [None] * 30


def test_what_only_shares_an_address_does_not_pull_others_into_its_cluster(tmp_path: Path) -> None:
    # d1 goes because of its address; d2, which only resembles d1, must not go for d0's sake.
    texts = [japanese_text(1), japanese_text(2), japanese_text(2) + "追記。"]
    urls = ["http://example.jp/", "http://example.jp/", "b.html"]
    decided = decisions(tmp_path, texts, DedupConfig(), columns={"url": urls})
    assert reasons(decided) == [None, "url_duplicate", None]


@pytest.mark.parametrize("verify", [None, 0.7])
def test_shuffling_the_input_changes_no_cluster(verify: float | None, tmp_path: Path) -> None:
    texts = sorted(set(near_duplicates(originals=60)))
    settings = ONLY_NEAR.model_copy(update={"verify_jaccard": verify})
    found = []
    for seed in range(3):
        random.Random(seed).shuffle(texts)
        decided = decisions(tmp_path / str(seed), texts, settings, per_shard=40 + seed)
        found.append(clusters(decided, texts))
        kept = Counter(row["cluster"] for row in decided if row["reason"] is None)
        assert {count for cluster, count in kept.items() if cluster is not None} == {1}
    assert len(found[0]) > 20
    assert found[0] == found[1] == found[2]


def test_the_number_of_workers_changes_no_byte(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [f"このサイトの案内をご覧ください。\n{text}" for text in near_duplicates(originals=25)]
    settings = DedupConfig(
        repeated_lines=RepeatedLines(max_documents=5),
        repeated_substrings=RepeatedSubstrings(min_characters=40),
        verify_jaccard=0.7,
        urls=False,
        bands=4,
        rows=5,
    )
    corpus = CorpusConfig(inputs=(Input(path="p", source="s", license="CC0-1.0"),), dedup=settings)
    measured = measure(tmp_path, texts, settings, per_shard=12)
    found = []
    for workers in (1, 2):
        if workers > 1:
            # Small corpora never leave this process; here they must.
            monkeypatch.setattr("tsumugu.corpus.dedup.shards._SMALL", 0)
        with kept_workers():
            work = tmp_path / str(workers)
            outputs = decide(measured, config=corpus, work=work, resources=Resources(workers))
        found.append([path.read_bytes() for path in outputs])
        assert sum(len(pq.read_table(path)["removals"].combine_chunks().flatten()) for path in outputs) > 30
    assert found[0] == found[1]


def test_what_stays_stays_when_asked_again(tmp_path: Path) -> None:
    settings = DedupConfig(repeated_lines=None)
    texts = near_duplicates(originals=80)
    chapters = [japanese_text(90_000 + number) for number in range(12)]
    texts += [*chapters, *("\n".join(chapters[number : number + 3]) for number in range(0, 12, 3))]
    urls = [
        f"https://example.jp/{number - 100 if 100 <= number < 110 else number}"
        for number in range(len(texts))
    ]
    first = decisions(tmp_path / "1", texts, settings, columns={"url": urls})
    assert {"near_duplicate", "contained", "url_duplicate"} <= set(reasons(first))
    left = [row for row, reason in enumerate(reasons(first)) if reason is None]
    second = decisions(
        tmp_path / "2",
        [texts[row] for row in left],
        settings,
        columns={"url": [urls[row] for row in left]},
    )
    assert reasons(second) == [None] * len(left)
    assert all(row["cluster"] is None for row in second)


def test_verified_pairs_are_as_similar_as_asked(tmp_path: Path) -> None:
    # Few rows in a band: nearly everything is a candidate.
    texts = [
        edited(japanese_text(number % 25, sentences=3), number // 25 * 2, random.Random(number))
        for number in range(75)
    ]
    loose = ONLY_NEAR.model_copy(update={"bands": 30, "rows": 2})
    decided = decisions(tmp_path / "loose", texts, loose)
    strict = decisions(tmp_path / "strict", texts, loose.model_copy(update={"verify_jaccard": 0.8}))
    sets = {text: ngrams(text) for text in texts}
    assert len(clusters(decided, texts)) < len(clusters(strict, texts))
    for cluster in clusters(strict, texts):
        # Each member has a partner in its cluster that is similar enough.
        for text in cluster:
            assert max(jaccard(sets[text], sets[other]) for other in cluster - {text}) >= 0.8
    joined = clusters(strict, texts)
    missed = [
        (left, right)
        for left, right in itertools.combinations(sorted(set(texts)), 2)
        if jaccard(sets[left], sets[right]) >= 0.8 and not any({left, right} <= cluster for cluster in joined)
    ]
    assert missed == []


def test_keys_that_do_not_fit_into_memory_are_joined_in_parts(tmp_path: Path) -> None:
    texts = near_duplicates(originals=150)
    measured = tuple(measure(tmp_path, texts, ONLY_NEAR, per_shard=100))
    path = save_array(tmp_path / "alive.npy", np.ones(len(texts), dtype=np.bool_))
    pairs = []
    for at_once in (10_000, 60):
        output = tmp_path / f"{at_once}.parquet"
        join(JoinTask(measured, ("band_003",), None, path, output, at_once=at_once))
        pairs.append(sorted((row["left"], row["right"]) for row in pq.read_table(output).to_pylist()))
    assert pairs[0] == pairs[1]
    assert len(pairs[0]) > 10


def test_short_columns_of_keys_are_read_together(tmp_path: Path) -> None:
    columns = [f"band_{band:03d}" for band in range(20)]
    assert divide_columns(columns, 100) == [tuple(columns[first : first + 5]) for first in (0, 5, 10, 15)]
    assert list(map(len, divide_columns(columns, 2**20 // 3))) == [3, 3, 3, 3, 3, 3, 2]
    assert divide_columns(columns, 2**20 + 1) == [(column,) for column in columns]
    assert divide_columns([], 5) == []

    texts = near_duplicates(originals=60)
    texts += texts[:30]
    measured = tuple(measure(tmp_path, texts, ONLY_NEAR, per_shard=50))
    path = save_array(tmp_path / "alive.npy", np.arange(len(texts)) % 7 != 0)

    def pairs(name: str, columns: tuple[str, ...], check: str | None = None) -> list[dict[str, int]]:
        join(JoinTask(measured, columns, check, path, tmp_path / name))
        found: list[dict[str, int]] = pq.read_table(tmp_path / name).to_pylist()
        return found

    counts = []
    for check in (None, "exact_check"):
        alone = [pair for column in columns[:3] for pair in pairs(column, (column,), check)]
        assert pairs("together", tuple(columns[:3]), check) == alone
        counts.append(len(alone))
    # Near duplicates are not equal.
    assert counts[0] > counts[1] > 30


def test_keys_fit_their_schema() -> None:
    for settings in (DedupConfig(), DedupConfig(bands=3, repeated_lines=RepeatedLines(unit="paragraph"))):
        columns = keys([japanese_text(1), "", "短い"], settings)
        schema = key_schema(settings)
        assert list(columns) == [name for name, _ in schema]
        table = pa.Table.from_pydict(columns, schema=pa.schema(schema))
        assert table.num_rows == 3
        assert table["compared_characters"].to_pylist()[1:] == [0, 2]


def test_no_documents_at_all(tmp_path: Path) -> None:
    assert decisions(tmp_path, []) == []
    assert reasons(decisions(tmp_path, ["", "短"])) == [None, None]


def test_versions_of_real_manuals_leave_one_of_each(tmp_path: Path) -> None:
    documents = data("corpus/perldoc-near-duplicates.jsonl.zst")
    texts = [document["text"] for document in documents if len(document["text"]) < 20_000][:250]
    decided = decisions(tmp_path, texts, per_shard=100)
    kept = [text for text, row in zip(texts, decided, strict=True) if row["reason"] is None]
    assert len(kept) < 0.9 * len(texts)
    sets = [ngrams(text) for text in kept]
    similar = [
        jaccard(left, right)
        for left, right in itertools.combinations(sets, 2)
        if min(len(left), len(right)) >= 0.85 * max(len(left), len(right))
    ]
    # Of what is left, hardly any two are still that close: at J = 0.85 one pair in 50 is missed.
    assert sum(similarity >= 0.85 for similarity in similar) <= 3


def test_copies_stay_where_the_recipe_keeps_them(tmp_path: Path) -> None:
    texts = [japanese_text(1), japanese_text(1), japanese_text(1) + "追記。", japanese_text(2)]
    kept = ONLY_NEAR.model_copy(update={"documents": False})
    assert [row["reason"] for row in decisions(tmp_path / "kept", texts, kept)] == [None] * 4
    assert {row["cluster"] for row in decisions(tmp_path / "again", texts, kept)} == {None}
    dropped = [row["reason"] for row in decisions(tmp_path / "dropped", texts)]
    assert dropped == [None, "exact_duplicate", "near_duplicate", None]
