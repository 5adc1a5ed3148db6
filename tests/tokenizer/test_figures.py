"""Figures of any tokenizer: SentencePiece with bytes, byte-level BPE, WordPiece with unknown words."""

import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from conftest import japanese_text
from tsumugu.files import write_json
from tsumugu.tokenizer.encoder import SPECIAL_TOKENS_MAP, load_encoder
from tsumugu.tokenizer.figures import (
    Pieces,
    Segment,
    Spelling,
    jouyou_kanji,
    kanji_spelling,
    longest_pieces,
    piece_use,
    read_pieces,
    sample_text,
    segments,
    spelling,
)

# 文化審議会答申「改定常用漢字表」(2010): what it added to the table of 1981, and what it took out.
ADDED = (
    "挨曖宛嵐畏萎椅彙茨咽淫唄鬱怨媛艶旺岡臆俺苛牙瓦楷潰諧崖蓋骸柿顎葛釜鎌韓玩伎亀毀畿臼嗅巾僅錦惧串窟熊詣"
    "憬稽隙桁拳鍵舷股虎錮勾梗喉乞傲駒頃痕沙挫采塞埼柵刹拶斬恣摯餌鹿𠮟嫉腫呪袖羞蹴憧拭尻芯腎須裾凄醒脊戚煎"
    "羨腺詮箋膳狙遡曽爽痩踪捉遜汰唾堆戴誰旦綻緻酎貼嘲捗椎爪鶴諦溺塡妬賭藤瞳栃頓貪丼那奈梨謎鍋匂虹捻罵剝箸"
    "氾汎阪斑眉膝肘阜訃蔽餅璧蔑哺蜂貌頰睦勃昧枕蜜冥麺冶弥闇喩湧妖瘍沃拉辣藍璃慄侶瞭瑠呂賂弄籠麓脇"
)
REMOVED = "勺錘銑脹匁"


def test_the_jouyou_kanji_are_those_of_the_table_of_2010() -> None:
    kanji = jouyou_kanji()
    assert len(kanji) == len(set(kanji)) == 2136
    assert len(ADDED) == 196
    assert set(ADDED) < set(kanji)
    assert not set(REMOVED) & set(kanji)
    # 1,945 in the table of 1981.
    assert len(set(kanji) - set(ADDED) | set(REMOVED)) == 1945
    assert list(kanji) == sorted(kanji)
    assert all(unicodedata.name(character).startswith("CJK UNIFIED IDEOGRAPH-") for character in kanji)


@pytest.fixture(scope="module")
def sentencepiece_pieces(finished_run: Path) -> Pieces:
    return read_pieces(load_encoder(finished_run / "tokenizer"))


@pytest.fixture
def as_pieces(tmp_path: Path) -> Callable[..., Pieces]:
    """A tokenizer of the `tokenizers` library as it is opened from a folder."""

    def open_folder(tokenizer: Tokenizer, **special: str) -> Pieces:
        tokenizer.save(str(tmp_path / "tokenizer.json"))
        write_json(tmp_path / SPECIAL_TOKENS_MAP, special)
        return read_pieces(load_encoder(tmp_path))

    return open_folder


@pytest.fixture
def byte_level(as_pieces: Callable[..., Pieces]) -> Pieces:
    """BPE over bytes, as GPT-2's: most kanji are several tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=330,
        special_tokens=["</s>"],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator([japanese_text(1), " the ship and the map" * 9], trainer)
    return as_pieces(tokenizer, eos_token="</s>")


def test_counts_are_those_of_the_tokens(sentencepiece_pieces: Pieces) -> None:
    texts = [japanese_text(900), "鬱", "", "a b"]
    found = spelling(sentencepiece_pieces, texts)
    encoder = sentencepiece_pieces.encoder
    names = [name for text in texts for name in encoder.pieces(encoder.encode(text))]
    assert found == Spelling(
        documents=4,
        characters=sum(map(len, texts)),
        bytes=sum(len(text.encode()) for text in texts),
        tokens=len(names),
        byte_tokens=sum(name.startswith("<0x") for name in names),
    )
    assert found.byte_tokens >= 3
    assert found + Spelling() == found
    assert found.facts()["characters_per_token"] == found.characters / len(names)
    assert Spelling().facts()["bytes_per_token"] == 0


def test_more_texts_than_a_batch_are_all_counted(sentencepiece_pieces: Pieces) -> None:
    found = spelling(sentencepiece_pieces, ["昨日、港町で"] * 700)
    assert found.documents == 700
    assert found.characters == 700 * 6


def test_segments_are_the_text_in_both_kinds_of_bytes(
    sentencepiece_pieces: Pieces, byte_level: Pieces
) -> None:
    text = f"{sample_text()}鬱\U0010ffff\u202e 紡ぐ  e\u0301"
    for pieces in (sentencepiece_pieces, byte_level):
        found = segments(pieces, text)
        assert "".join(segment.text for segment in found) == text
        assert sum(segment.tokens for segment in found) == len(pieces.encoder.encode(text))
        assert all(segment.text for segment in found)
    assert segments(sentencepiece_pieces, "鬱") == [Segment("鬱", 3)]


def test_byte_level_tokens_that_are_less_than_a_character_are_byte_tokens(byte_level: Pieces) -> None:
    found = spelling(byte_level, ["𠮷"])
    assert found.byte_tokens == found.tokens > 1
    assert spelling(byte_level, [" the ship"]).byte_tokens == 0
    assert kanji_spelling(byte_level).one_token_share < 0.1


def test_kanji_alone_are_one_token_or_in_bytes(sentencepiece_pieces: Pieces) -> None:
    found = kanji_spelling(sentencepiece_pieces)
    vocabulary = set(sentencepiece_pieces.encoder.pieces(range(sentencepiece_pieces.encoder.vocab_size)))
    known = [character for character in jouyou_kanji() if character in vocabulary]
    assert found.one_token_share == len(known) / 2136 > 0
    assert set(found.in_bytes) == set(jouyou_kanji()) - set(known)
    # Three bytes each, and four for the one kanji beyond the Basic Multilingual Plane.
    expected = len(known) + 3 * (2136 - len(known)) + ("𠮟" not in known)
    assert found.tokens_per_kanji == expected / 2136


def test_a_space_before_the_text_is_not_part_of_a_kanji(as_pieces: Callable[..., Pieces]) -> None:
    pieces = [("<unk>", 0.0), ("</s>", 0.0), ("▁", -1.0), ("港", -2.0), ("町", -2.0)]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always", split=False)
    tokenizer.decoder = decoders.Metaspace()
    opened = as_pieces(tokenizer, eos_token="</s>", unk_token="<unk>")
    found = kanji_spelling(opened)
    assert found.one_token_share == 1.0
    assert "港" not in found.in_bytes
    assert len(found.in_bytes) == 2134
    assert spelling(opened, ["鬱の港"]).unknown_tokens == 1


def test_use_of_pieces_leaves_out_special_tokens_and_bytes(sentencepiece_pieces: Pieces) -> None:
    size = sentencepiece_pieces.encoder.vocab_size
    frequencies = np.zeros(size, dtype=np.int64)
    ordinary = np.flatnonzero(~sentencepiece_pieces.is_part)
    ordinary = ordinary[ordinary > 6]
    frequencies[:7] = 99
    frequencies[ordinary[:3]] = [5, 9, 5]
    use = piece_use(sentencepiece_pieces, frequencies, special=range(7))
    assert use.pieces == size - 7 - 256
    assert use.most_used == tuple(ordinary[[1, 0, 2]].tolist())
    assert use.unused == tuple(ordinary[3:].tolist())
    assert use.sorted_counts[:4].tolist() == [9, 5, 5, 0]


def test_longest_pieces_are_used_ones(sentencepiece_pieces: Pieces) -> None:
    text = japanese_text(901)
    found = longest_pieces(sentencepiece_pieces, [text], count=5)
    assert len(found) == 5
    assert all(piece in text for piece in found)
    assert list(map(len, found)) == sorted(map(len, found), reverse=True)
