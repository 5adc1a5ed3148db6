"""SentencePiece and its fast twin give the same ids, hostile text included; ties are no faults."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hostile_texts import HANDMADE, TEXTS, has_marks
from hypothesis import given, settings
from sentencepiece import sentencepiece_model_pb2
from small_tokenizers import MODELS, given_model, train, written_folder
from tokenizers import Tokenizer, normalizers

from tsumugu.errors import TsumuguError
from tsumugu.files import read_json, write_json
from tsumugu.tokenizer.equality import compare, load_twins, verdicts
from tsumugu.tokenizer.export import FAST, KIND, SPIECE, fast_tokenizer, write_sentencepiece

TRAINED = ("japanese-large-lm", "modern")
Change = Callable[[sentencepiece_model_pb2.ModelProto], None]


@pytest.mark.parametrize("name", MODELS)
def test_ids_are_equal_on_thousands_of_hostile_texts(name: str) -> None:
    found = verdicts(load_twins(written_folder(name)), HANDMADE)
    assert [HANDMADE[index] for index in found["fault"]] == []
    assert all(has_marks(HANDMADE[index]) for index in found["combining_marks"])
    if name in TRAINED:
        assert len(found["equal"]) == len(HANDMADE)
    assert len(found["equal"]) >= 0.99 * len(HANDMADE)


def test_ids_are_equal_on_any_text() -> None:
    twins = {name: load_twins(written_folder(name)) for name in MODELS}

    @settings(max_examples=300, derandomize=True, database=None)
    @given(TEXTS)
    def check(text: str) -> None:
        for name, both in twins.items():
            verdict = compare(both, text)
            assert verdict != "fault", name
            assert verdict == "equal" or name not in TRAINED, name
            assert verdict != "combining_marks" or has_marks(text), name

    check()


def test_a_twin_that_differs_is_noticed(tmp_path: Path) -> None:
    source = written_folder("japanese-large-lm")
    (tmp_path / SPIECE).write_bytes((source / SPIECE).read_bytes())
    twin = Tokenizer.from_file(str(source / FAST))
    twin.normalizer = normalizers.Replace(" ", "_")
    twin.save(str(tmp_path / FAST))
    found = verdicts(load_twins(tmp_path), ["空白 がある", "ない"])
    assert found == {"equal": [1], "tie": [], "combining_marks": [], "fault": [0]}


def test_a_wrong_score_is_a_fault_however_long_the_document(tmp_path: Path) -> None:
    source = written_folder("japanese-large-lm")
    (tmp_path / SPIECE).write_bytes((source / SPIECE).read_bytes())
    model = sentencepiece_model_pb2.ModelProto.FromString((source / SPIECE).read_bytes())
    text = "あ" * 20_000 + "去年の冬、図書館で会った祖母は"
    longest = max(load_twins(source).processor.encode(text, out_type=str), key=len)
    next(piece for piece in model.pieces if piece.piece == longest).score -= 500
    fast_tokenizer(model).save(str(tmp_path / FAST))
    assert compare(load_twins(tmp_path), text) == "fault"


def test_a_tie_that_rounding_decides_is_told_from_a_fault(tmp_path: Path) -> None:
    """SentencePiece scores runs of 2 and 4 spaces 0.5 and 1.1: no sums of those are exact in binary."""
    source = written_folder("identity, user-defined")
    text = " " * 9 + "return"
    assert compare(load_twins(source), text) == "tie"
    data = read_json(source / FAST)
    for piece in data["model"]["vocab"]:
        piece[1] += 0.001 * (piece[0] == "▁")
    (tmp_path / SPIECE).write_bytes((source / SPIECE).read_bytes())
    write_json(tmp_path / FAST, data)
    assert compare(load_twins(tmp_path), text) == "tie"
    for piece in data["model"]["vocab"]:
        piece[1] += 12 * (piece[0] == "▁")
    write_json(tmp_path / FAST, data)
    assert compare(load_twins(tmp_path), text) == "fault"


def _without_piece(model: sentencepiece_model_pb2.ModelProto) -> None:
    index = next(number for number, piece in enumerate(model.pieces) if piece.piece == "年")
    del model.pieces[index]


def _own_table(model: sentencepiece_model_pb2.ModelProto) -> None:
    model.normalizer_spec.name = "user_defined"
    model.normalizer_spec.precompiled_charsmap = b"table"


def _suffix(model: sentencepiece_model_pb2.ModelProto) -> None:
    model.trainer_spec.treat_whitespace_as_suffix = True


def _bpe(model: sentencepiece_model_pb2.ModelProto) -> None:
    model.trainer_spec.model_type = 2


def _hidden_character(model: sentencepiece_model_pb2.ModelProto) -> None:
    model.pieces.add(piece="♪", type=KIND.CONTROL)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_without_piece, "'年'.* have no piece of their own"),
        (_own_table, "table of its own .'user_defined'"),
        (_suffix, "treat_whitespace_as_suffix"),
        (_bpe, "SentencePiece BPE model"),
        (_hidden_character, "'♪'.* one character"),
    ],
)
def test_what_cannot_be_made_exact_is_refused(change: Change, told: str) -> None:
    model = sentencepiece_model_pb2.ModelProto.FromString(given_model("japanese-large-lm"))
    change(model)
    with pytest.raises(TsumuguError, match=told):
        fast_tokenizer(model)


def test_special_tokens_are_spelled_even_where_characters_of_theirs_are_unknown(tmp_path: Path) -> None:
    write_sentencepiece(tmp_path, train(vocab_size=500, character_coverage=0.98))
    twins = load_twins(tmp_path)
    assert twins.processor.piece_to_id("<") == twins.processor.unk_id()
    for text in ("</s>", "犬<s>猫<pad>", "<0x0A>", "<<s>>", "<unk><unk>"):
        assert compare(twins, text) == "equal"
        assert min(twins.fast.encode(text, add_special_tokens=False).ids) > 6
