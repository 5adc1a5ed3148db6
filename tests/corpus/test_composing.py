"""A user's own HojiChar profile runs as HojiChar itself would run it."""

from pathlib import Path

import pytest
from hojichar import Document

from conftest import japanese_text
from tsumugu.corpus.composing import add_statistics, load_compose, run_compose, seed_compose
from tsumugu.errors import TsumuguError

PROFILE = '''
from hojichar import Compose, Filter
from hojichar.filters import document_filters as filters


class Shout(Filter):
    """Not one of HojiChar's own."""

    def apply(self, document):
        if "困った" in document.text:
            raise RuntimeError("no")
        document.text += "！"
        return document


FILTER = Compose([filters.DocumentNormalizer(), filters.DiscardRareKuten(), Shout(p=0.5)])


def build():
    return Compose([filters.DocumentLengthFilter(min_doc_len=5)])
'''
TEXTS = [japanese_text(1), "ｶﾅ。", "句点がない" * 40, "困った。", *(japanese_text(n) for n in range(2, 30))]


@pytest.fixture
def profile(tmp_path: Path) -> Path:
    path = tmp_path / "profile.py"
    path.write_text(PROFILE, encoding="utf-8")
    return path


def test_texts_decisions_and_statistics_are_hojichar_s(profile: Path) -> None:
    compose, oracle = load_compose(str(profile)), load_compose(str(profile))
    for one in (compose, oracle):
        seed_compose(one, "00000")
    texts, reasons = run_compose(compose, TEXTS)
    expected = list(oracle.apply_stream([Document(text) for text in TEXTS]))
    assert [bool(reason) for reason in reasons] == [document.is_rejected for document in expected]
    kept = [index for index, reason in enumerate(reasons) if not reason]
    assert [texts[index] for index in kept] == [expected[index].text for index in kept]
    assert texts[1].startswith("カナ。")
    assert reasons[2] == "hojichar_discard_rare_kuten"
    times = {"cumulative_time_ns"}
    ours, theirs = compose.get_total_statistics_map(), oracle.get_total_statistics_map()
    assert [{k: v for k, v in one.items() if k not in times} for one in ours] == [
        {k: v for k, v in one.items() if k not in times} for one in theirs
    ]


def test_what_a_random_filter_does_depends_on_the_shard_alone(profile: Path) -> None:
    def run(shard: str) -> list[str]:
        compose = load_compose(str(profile))
        seed_compose(compose, shard)
        return run_compose(compose, TEXTS)[0]

    assert run("00000") == run("00000")
    assert run("00000") != run("00001")


def test_statistics_of_shards_add_up(profile: Path) -> None:
    total: list[dict[str, object]] = []
    for part in (TEXTS[:10], TEXTS[10:]):
        compose = load_compose(f"{profile}:build")
        run_compose(compose, part)
        total = add_statistics(total, compose.get_total_statistics_map())
    assert total[0]["name"] == "Total"
    assert total[0]["input_num"] == len(TEXTS)
    assert total[0]["discard_num"] == sum(len(text) < 5 for text in TEXTS)


def test_a_compose_that_cannot_be_had_is_named(tmp_path: Path, profile: Path) -> None:
    for reference in (f"{tmp_path}/absent.py", "no.such.module:FILTER", f"{profile}:Absent"):
        with pytest.raises(TsumuguError, match="cannot be loaded"):
            load_compose(reference)
    with pytest.raises(TsumuguError, match="is Shout, not a hojichar.Compose"):
        load_compose(f"{profile}:Shout")
