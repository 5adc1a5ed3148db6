"""What a trained vocabulary holds, and that training is reproducible."""

import re
import unicodedata
from pathlib import Path

import pytest
import sentencepiece as spm
from hostile_texts import TEXTS
from hypothesis import given, settings
from small_tokenizers import DOCUMENTS, given_model, written_folder
from transformers import AutoTokenizer

from conftest import japanese_text
from tsumugu.tokenizer.config import TokenizerConfig
from tsumugu.tokenizer.encoder import load_encoder
from tsumugu.tokenizer.existing import write_existing
from tsumugu.tokenizer.presets import BYTES, PRESETS, SPACE, SPECIAL_TOKENS, PresetName
from tsumugu.tokenizer.sampling import Document
from tsumugu.tokenizer.training import train_sentencepiece

NAMES: list[PresetName] = ["japanese-large-lm", "modern"]


def vocabulary(name: str) -> list[str]:
    processor = spm.SentencePieceProcessor(model_proto=given_model(name))
    return [processor.id_to_piece(index) for index in range(processor.get_piece_size())]


@pytest.mark.parametrize("name", NAMES)
def test_the_vocabulary_begins_as_the_preset_says(name: PresetName) -> None:
    preset = PRESETS[name]
    given = [*SPECIAL_TOKENS.values(), *preset.reserved, *preset.pieces, *BYTES]
    pieces = vocabulary(name)
    assert pieces[: len(given)] == given
    assert len(pieces) == 700
    assert set(preset.required_characters) <= set(pieces)


@pytest.mark.parametrize("name", NAMES)
def test_text_without_spaces_leaves_a_space_its_piece(name: PresetName, tmp_path: Path) -> None:
    documents = [Document("test", re.sub(r"\s", "", japanese_text(number))) for number in range(60)]
    model, _ = train_sentencepiece(documents, TokenizerConfig(vocab_size=700, preset=name))
    (tmp_path / "given.model").write_bytes(model)
    write_existing(tmp_path / "given.model", tmp_path / "written", model_max_length=128)
    encoder = load_encoder(tmp_path / "written")
    assert encoder.decode(encoder.encode("古い 地図")) == "古い 地図"


def test_special_tokens_have_line_s_ids_and_chat_tokens_follow() -> None:
    line = ["<unk>", "<s>", "</s>", "<pad>", "<sep>", "<mask>", "<cls>"]
    assert vocabulary("japanese-large-lm")[:8] == [*line, "\n"]
    chat = ["<|system|>", "<|user|>", "<|assistant|>", "<|tool|>", "<|end|>", "<|reserved_0|>"]
    assert vocabulary("modern")[:13] == [*line, *chat]
    assert vocabulary("modern")[31:33] == ["<|reserved_19|>", "\n"]


def test_modern_splits_digits_and_keeps_runs_of_white_space() -> None:
    learned = [piece for piece in vocabulary("modern") if piece not in (*BYTES, *PRESETS["modern"].reserved)]
    assert not [
        piece
        for piece in learned
        if len(piece) > 1 and any(unicodedata.category(one) == "Nd" for one in piece)
    ]
    encoder = load_encoder(written_folder("modern"))
    text = "a 2024 年\n\n        return １２\t\t\u3000\u3000" + " " * 40
    pieces = encoder.pieces(encoder.encode(text))
    for digit in "2024":
        assert digit in pieces
    for run in ("\n\n", SPACE * 8, "\t\t", "\u3000\u3000", SPACE * 16):
        assert run in pieces
    assert len(encoder.encode(" " * 32)) == 2


def test_a_model_of_text_without_spaces_can_still_spell_one() -> None:
    documents = [Document("test", re.sub(r"\s", "", text)) for text in DOCUMENTS]
    model, _ = train_sentencepiece(documents, TokenizerConfig(vocab_size=700, preset="modern"))
    assert spm.SentencePieceProcessor(model_proto=model).encode("会 った", out_type=str)[1] == SPACE


@pytest.mark.parametrize("name", NAMES)
def test_any_text_comes_back_but_for_the_sign_for_a_space(name: str) -> None:
    encoder = load_encoder(written_folder(name))

    @settings(max_examples=300, derandomize=True, database=None)
    @given(TEXTS)
    def check(text: str) -> None:
        ids = encoder.encode(text)
        assert encoder.decode(ids) == text.replace(SPACE, " ")
        assert all(index > 6 for index in ids)

    check()


@pytest.mark.parametrize("name", NAMES)
def test_transformers_loads_the_folder_and_agrees(name: str) -> None:
    encoder = load_encoder(written_folder(name))
    tokenizer = AutoTokenizer.from_pretrained(written_folder(name))
    for text in ("犬</s>  猫<|user|>\n\n", "", "𠮷野家で\u3000\u3000 12", japanese_text(3)):
        assert tokenizer(text, add_special_tokens=False)["input_ids"] == encoder.encode(text)
        assert tokenizer.decode(encoder.encode(text)) == text
    assert (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id) == (1, 2, 3)
    assert (encoder.bos_id, encoder.eos_id, encoder.pad_id, encoder.unk_id) == (1, 2, 3, 0)
    assert len(tokenizer) == encoder.vocab_size


@pytest.mark.parametrize("name", [*NAMES, "SentencePiece's defaults"])
def test_bytes_of_ids_add_up_to_the_bytes_of_the_text(name: str) -> None:
    encoder = load_encoder(written_folder(name))
    lengths = encoder.byte_lengths()
    assert lengths.shape == (encoder.vocab_size,)
    special = {encoder.bos_id, encoder.eos_id, encoder.pad_id, encoder.unk_id}
    assert all(lengths[index] == 0 for index in special if index is not None)
    # A tokenizer that puts a space before every text counts it.
    prefix = int(lengths[encoder.encode_batch(["の"])[0]].sum()) - len("の".encode())
    assert prefix in (0, 1)
    for text in (japanese_text(3), "髙島屋の𠮟る猫🐈と Ünïcode", "1234 x"):
        ids = encoder.encode_batch([text])[0]
        assert lengths[ids].sum() == len(encoder.decode(ids.tolist()).encode()) + prefix
