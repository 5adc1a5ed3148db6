"""Our Viterbi gives SentencePiece's ids, hostile text included, or is not used."""

from random import Random
from typing import Any

import numpy as np
import pytest
import sentencepiece as spm
from hostile_texts import HANDMADE, TEXTS
from hypothesis import given, settings
from sentencepiece import sentencepiece_model_pb2
from small_tokenizers import MODELS, given_model, written_folder

from conftest import japanese_text
from tsumugu.errors import TsumuguError
from tsumugu.tokenizer.encoder import load_bulk_encoder, load_encoder
from tsumugu.tokenizer.export import KIND
from tsumugu.tokenizer.presets import SPACE
from tsumugu.tokenizer.unigram import MOST_UNITS, Unigram

EXACT = ("japanese-large-lm", "modern")


@pytest.mark.parametrize("name", EXACT)
def test_ids_are_sentencepieces_on_thousands_of_hostile_texts(name: str) -> None:
    assert Unigram.of(given_model(name)) is not None
    ours, theirs = load_bulk_encoder(written_folder(name)), load_encoder(written_folder(name))
    found = zip(HANDMADE, ours.encode_batch(HANDMADE), theirs.encode_batch(HANDMADE), strict=True)
    assert [text for text, one, other in found if not np.array_equal(one, other)] == []


def test_ids_are_sentencepieces_on_any_texts() -> None:
    encoders = [
        (load_bulk_encoder(written_folder(name)), load_encoder(written_folder(name))) for name in EXACT
    ]

    @settings(max_examples=200, derandomize=True, database=None)
    @given(TEXTS, TEXTS)
    def check(first: str, second: str) -> None:
        for ours, theirs in encoders:
            texts = [first, "", second, first + second]
            assert [ids.tolist() for ids in ours.encode_batch(texts)] == [
                ids.tolist() for ids in theirs.encode_batch(texts)
            ]

    check()


def test_long_texts_have_no_end_of_precision() -> None:
    folder = written_folder("japanese-large-lm")
    text = "\n".join(japanese_text(number) + "🏴 (c) 葛󠄀" * (number % 3) for number in range(3000))
    assert len(text) > 400_000
    assert load_bulk_encoder(folder).encode(text) == load_encoder(folder).encode(text)


def test_sums_of_scores_that_no_number_holds_are_not_needed() -> None:
    folder = written_folder("japanese-large-lm")
    encoder = load_bulk_encoder(folder)
    line = japanese_text(1) + "🏴𠮷"
    once = encoder.encode(line)
    assert once == load_encoder(folder).encode(line)
    # A character without a piece costs more than 16, and 2 ** 31 / 64 are less than 34 million.
    assert encoder.encode("𠮷" * 3_000_000 + line) == encoder.encode("𠮷") * 3_000_000 + once


def test_every_length_of_text_around_a_block() -> None:
    folder = written_folder("modern")
    ours, theirs = load_bulk_encoder(folder), load_encoder(folder)
    texts = [("古い地図を" * 300)[:length] for length in (0, 1, *range(505, 520), *range(1015, 1030))]
    for text, ids in zip(texts, ours.encode_batch(texts), strict=True):
        assert ids.tolist() == theirs.encode(text)


@pytest.mark.parametrize("name", [name for name in MODELS if name not in EXACT])
def test_a_model_that_it_cannot_follow_is_left_to_sentencepiece(name: str) -> None:
    assert Unigram.of(given_model(name)) is None
    ours, theirs = load_bulk_encoder(written_folder(name)), load_encoder(written_folder(name))
    assert ours.encode("古い 地図を①") == theirs.encode("古い 地図を①")


def a_model(pieces: dict[str, float]) -> Any:
    """With these scores, and all else as in the preset."""
    proto = sentencepiece_model_pb2.ModelProto.FromString(given_model("japanese-large-lm"))
    kept = [piece for piece in proto.pieces if piece.type != KIND.NORMAL]
    del proto.pieces[:]
    proto.pieces.extend(kept)
    for text, score in pieces.items():
        proto.pieces.add(piece=text, score=score)
    return proto


def same_ids(proto: Any, texts: list[str]) -> bool:
    ours = Unigram.of(proto.SerializeToString())
    theirs = spm.SentencePieceProcessor(model_proto=proto.SerializeToString())
    assert ours is not None
    expected: list[list[int]] = theirs.encode(texts)
    return [ids.tolist() for ids in ours.encode(texts)] == expected


def test_equal_scores_are_decided_as_sentencepiece_does() -> None:
    random = Random(0)
    for _ in range(20):
        words = {"".join(random.choices("あいうえ▁", k=random.randint(1, 6))) for _ in range(60)}
        proto = a_model({word: random.choice([-1.0, -2.0, 0.0, 1.5]) for word in sorted(words | {SPACE})})
        texts = ["".join(random.choices("あいうえ 漢", k=random.randint(0, 700))) for _ in range(20)]
        assert same_ids(proto, texts)


def test_numbers_that_it_cannot_hold_are_left_to_sentencepiece() -> None:
    most = MOST_UNITS / 64
    small = {SPACE: -1.0, "あ": -most, "い": -2.0, "あい": -3.0}
    assert same_ids(a_model(small), ["いあ" * 2000, "あいい" * 2000, "漢あ" * 2000])
    assert Unigram.of(a_model(small | {"あ": -most - 1 / 64}).SerializeToString()) is None
    assert Unigram.of(a_model(small | {"う": -0.1}).SerializeToString()) is None
    assert Unigram.of(a_model(small | {"い" * 256: -1.0}).SerializeToString()) is None
    characters = [chr(0x10000 + number) for number in range(65_534)]
    many = {SPACE: -1.0, **dict.fromkeys(characters, -2.0)}
    assert same_ids(a_model(many), [characters[0] + " " + characters[-1] + "あ"])
    assert Unigram.of(a_model(many | {"あ": -1.0}).SerializeToString()) is None


def test_a_space_without_a_piece_is_left_to_sentencepiece() -> None:
    assert Unigram.of(a_model({"あ": -1.0, "い": -1.0}).SerializeToString()) is None


def test_half_of_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(TsumuguError, match="character 1 of a text is half of a surrogate pair"):
        load_bulk_encoder(written_folder("modern")).encode_batch(["よい", "犬\ud800"])
