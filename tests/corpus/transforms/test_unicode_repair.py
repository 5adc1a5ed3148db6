"""Broken Unicode is repaired; whole Unicode is left alone."""

import random

import ftfy.bad_codecs  # noqa: F401 (makes sloppy-windows-1252 known)
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tsumugu.corpus.transforms.unicode_repair import repair_unicode

WESTERN = ["latin-1", "sloppy-windows-1252"]
JAPANESE = st.text("ぁあがっんァヴー々一亜京龠𠮷、。「」・！？（）　ａＺ０①㍿ｶﾞ abc019.,\n", max_size=40)


@pytest.mark.parametrize("encoding", WESTERN)
@settings(max_examples=400)
@given(JAPANESE)
def test_japanese_read_as_western_text_comes_back(encoding: str, text: str) -> None:
    assert repair_unicode(text.encode().decode(encoding))[0] == text


@settings(max_examples=200)
@given(JAPANESE)
def test_japanese_without_mojibake_is_not_touched(text: str) -> None:
    assert repair_unicode(text) == (text, (0, 0))


def test_japanese_read_as_windows_31j_comes_back_where_no_byte_was_lost() -> None:
    draw = random.Random(2)
    checked = 0
    for _ in range(3000):
        text = "".join(draw.choices("あいうえおかきくけこさしすせそたちつてとなにぬねのアイウエオ", k=6))
        try:
            broken = text.encode().decode("cp932")
        except UnicodeDecodeError:
            continue
        assert repair_unicode(broken) == (text, (1, 0))
        checked += 1
    assert checked > 50


def test_one_broken_line_is_repaired_among_good_ones() -> None:
    text = "正しい行\nこれは\n正しい行"
    broken = "正しい行\n" + "これは".encode().decode("latin-1") + "\n正しい行"
    assert repair_unicode(broken) == (text, (1, 0))


@pytest.mark.parametrize(
    "text",
    [
        "Málaga、naïve café、Ærø、São Paulo、“quoted” – €5、Ångström",
        "À «bientôt», dit-elle… Être ou ne pas être",
        "ÅÄÖ är bokstäver. ÄÖÜß sind Buchstaben. É ~ ñ ¿Qué?",
        "糸が縺れる。縺れた縺れ。繧繝縁の畳",
        "葛\U000e0100城市、👨\u200d👩\u200d👧、🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "か\u3099 ﾊﾞ e\u0301 ① ㌔ ﷽ ا\u200cب",
    ],
)
def test_unusual_but_whole_text_is_not_touched(text: str) -> None:
    assert repair_unicode(text) == (text, (0, 0))


def test_real_texts_are_not_taken_for_mojibake(real_texts: list[str]) -> None:
    assert [text[:80] for text in real_texts if repair_unicode(text)[1][0]] == []


@pytest.mark.parametrize("encoding", WESTERN)
def test_real_texts_read_wrongly_come_back_exactly(encoding: str, real_texts: list[str]) -> None:
    checked = 0
    for text in real_texts:
        clean = repair_unicode(text[:3000])[0]
        # Lines in other Latin alphabets are ambiguous by nature; those are ftfy's to judge.
        lines = [line for line in clean.split("\n") if any("\u3040" < mark < "\ufaff" for mark in line)]
        for line in lines:
            assert repair_unicode(line.encode().decode(encoding))[0] == line
        checked += len(lines)
    assert checked > 5000


def test_line_ends_of_every_kind_become_one() -> None:
    assert repair_unicode("一\r\n二\r三\x0b四\x0c五\x85六\u2028七")[0] == "一\n二\n三\n四\n五\n六\n七"


def test_marks_that_turn_the_direction_of_writing_go() -> None:
    assert repair_unicode("\u202eにほん\u202c\u2066ご\u2069\u200f")[0] == "にほんご"


def test_hidden_tags_go_except_in_flags() -> None:
    assert repair_unicode("隠し\U000e0041\U000e0042文")[0] == "隠し文"


def test_lone_surrogates_and_noncharacters_go() -> None:
    assert repair_unicode("あ\ud800い\ufffeう\ufdd0")[0] == "あいう"


def test_lost_characters_are_counted() -> None:
    assert repair_unicode("文字\ufffd\ufffdが\ufffd消えた") == ("文字が消えた", (0, 3))
